"""Light on painted surfaces: a key light with cast shadows over an ambient one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from stages.lib.classes import Label
from stages.lib.cohort.fields import rise
from stages.lib.cohort.head import Material, Mesh
from stages.lib.cohort.projection import Projected
from stages.lib.cohort.rasterise import rasterise
from stages.lib.cohort.scene import column
from stages.lib.cohort.shot import Shot
from stages.lib.cohort.surface import Paint, Surface

MAP_SIDE: Final = 96
MAP_EXTENT: Final = 4.4  # decimetres across the shadow map: head, hair and shoulders
_MAP_BACK: Final = 8.0  # decimetres from the map's camera to the face
_BIAS: Final = (0.03, 0.05)  # decimetres: always, and more where light grazes
_PENUMBRA: Final = 0.05  # decimetres behind an occluder over which its shadow sets in
_TAPS: Final = ((0.0, 0.0), (1.3, 0.5), (-1.3, -0.5), (0.5, -1.3), (-0.5, 1.3), (1.0, 1.9), (-1.0, -1.9))

_SKIN_WRAP: Final = (0.38, 0.17, 0.11)  # light that wanders under the skin round the edge of a shadow
_HAIR_WRAP: Final = (0.22, 0.22, 0.22)
_NO_WRAP: Final = (0.0, 0.0, 0.0)
_LIVING: Final = (Label.SKIN, Label.NOSE, Label.LIP, Label.EAR, Label.NECK, Label.MOUTH, Label.BROW)


def key_direction(shots: Sequence[Shot], device: torch.device | str) -> Tensor:
    """(B, 3) unit vectors towards the key light; camera frame: x right, y up, z to the camera."""
    azimuth = torch.deg2rad(column(shots, "light.azimuth", device))
    elevation = torch.deg2rad(column(shots, "light.elevation", device))
    flat = elevation.cos()
    return torch.stack([azimuth.sin() * flat, elevation.sin(), azimuth.cos() * flat], 1)


def _frame(direction: Tensor) -> Tensor:
    """(B, 3, 3) rows: two axes across each unit vector, and the vector."""
    steep = direction[:, 1:2].abs() > 0.95
    up = torch.where(steep, direction.new_tensor([1.0, 0.0, 0.0]), direction.new_tensor([0.0, 1.0, 0.0]))
    across = torch.nn.functional.normalize(torch.linalg.cross(up, direction, dim=1), dim=1)
    return torch.stack([across, torch.linalg.cross(direction, across, dim=1), direction], 1)


def _on_map(points: Tensor, frame: Tensor) -> Tensor:
    """Points (M, 3) by frames (M, 3, 3) -> x and y in texels and depth from the light's side."""
    turned = (frame @ points[..., None])[..., 0]
    scale = MAP_SIDE / MAP_EXTENT
    x, y, z = turned.unbind(-1)
    return torch.stack([MAP_SIDE / 2 + x * scale, MAP_SIDE / 2 - y * scale, _MAP_BACK - z], -1)


def light_visibility(
    mesh: Mesh, projected: Projected, position: Tensor, normal: Tensor, image: Tensor, shots: Sequence[Shot]
) -> Tensor:
    """How much of the key light reaches each pixel, by a shadow map seen from the light.

    Args:
        mesh: the heads; `enabled` tells which vertices cast shadows.
        projected: their posed vertices.
        position: (N, 3) posed positions of the pixels.
        normal: (N, 3) unit normals of the pixels.
        image: (N,) which of the B images each pixel is of.
        shots: B shots.

    Returns:
        (N,) 0 in full shadow (never less than 1 - `Light.shadow`) to 1 in the light.
    """
    key = key_direction(shots, position.device)
    frame = _frame(key)
    casters = _on_map(projected.posed, frame[:, None])
    casters[..., 2] = torch.where(mesh.enabled, casters[..., 2], -1.0)
    solid = mesh.material != Material.LOOP  # too thin for the map: it would cast specks
    culled = (mesh.material == Material.BODY) | (mesh.material == Material.EYE)
    nearest = rasterise(casters, mesh.triangles[solid], MAP_SIDE, MAP_SIDE, culled[solid]).depth
    seen = _on_map(position, frame[image])
    bias = _BIAS[0] + _BIAS[1] * (1.0 - (normal * key[image]).sum(1).clamp(0.0, 1.0))
    lit = torch.zeros_like(bias)
    for right, down in _TAPS:
        column_of = (seen[:, 0] + right).long().clamp(0, MAP_SIDE - 1)
        row_of = (seen[:, 1] + down).long().clamp(0, MAP_SIDE - 1)
        occluder = nearest[image, row_of, column_of].nan_to_num(posinf=99.0)
        lit = lit + rise(_PENUMBRA, 0.0, seen[:, 2] - occluder - bias)
    return 1.0 - (1.0 - lit / len(_TAPS)) * column(shots, "light.shadow", position.device)[image]


def _wrap(label: Tensor) -> Tensor:
    """(N, 3) how far diffuse light reaches round the terminator, by class and colour channel."""
    table = torch.zeros(len(Label), 3, device=label.device)
    table[[int(kind) for kind in _LIVING]] = torch.tensor(_SKIN_WRAP, device=label.device)
    table[int(Label.HAIR)] = torch.tensor(_HAIR_WRAP, device=label.device)
    return table[label.long()]


def _dot(left: Tensor, right: Tensor) -> Tensor:
    return (left * right).sum(1)


def _unit(vector: Tensor) -> Tensor:
    return vector / _dot(vector, vector).clamp(min=1e-12).sqrt()[:, None]


def _glossy(normal: Tensor, half: Tensor, toward: Tensor, paint: Paint) -> Tensor:
    """(N,) normalised Blinn-Phong lobe with Schlick's Fresnel term (Akenine-Moller et al., Real-Time Rendering)."""
    lobe = (paint.gloss + 8.0) / 8.0 * _dot(normal, half).clamp(1e-4, 1.0) ** paint.gloss
    grazing = (1.0 - _dot(toward, half).clamp(0.0, 1.0)) ** 5
    return (paint.highlight + (1.0 - paint.highlight) * grazing * (paint.highlight > 0)) * lobe


def _strands(normal: Tensor, half: Tensor, key: Tensor, paint: Paint) -> Tensor:
    """(N, 3) highlight of hair: a ring across the strands (Kajiya and Kay, 1989), white and of the hair's colour.

    Strands are taken to hang: down, in the plane of the surface.
    """
    down = normal * normal[:, 1:2]
    down = torch.stack([down[:, 0], down[:, 1] - 1.0, down[:, 2]], 1)
    strand = _unit(down + 1e-4)
    glint = (1.0 - _dot(strand, half).square()).clamp(1e-4, 1.0)
    tinted = (1.0 - _dot(_unit(strand + 0.15 * normal), half).square()).clamp(1e-4, 1.0)
    facing = rise(-0.25, 0.6, _dot(normal, key))
    white = paint.highlight * glint ** (paint.gloss * 2.0) * facing
    inner = 25.0 * paint.highlight * tinted ** (paint.gloss * 0.5) * facing
    return white[:, None] + paint.albedo * inner[:, None]


def shade(surface: Surface, paint: Paint, shots: Sequence[Shot], eye: Tensor, visibility: Tensor) -> Tensor:
    """Radiance of each pixel towards the camera.

    Args:
        surface: N pixels.
        paint: how they answer light.
        shots: B shots.
        eye: (B, 3) where each camera is, in the frame of `surface.position`.
        visibility: (N,) share of the key light that arrives, of `light_visibility`.

    Returns:
        (N, 3) linear RGB, 0 and more; 1 is a white card that a unit of light falls on.
    """
    image, device = surface.image, surface.normal.device
    key, ambient, gradient = (column(shots, f"light.{name}", device)[image] for name in ("key", "ambient", "gradient"))
    direction = key_direction(shots, device)[image]
    toward = _unit(eye[image] - surface.position)
    normal = surface.normal
    half = _unit(direction + toward)
    cosine = _dot(normal, direction)[:, None]
    wrap = _wrap(paint.label)
    diffuse = ((cosine + wrap) / (1.0 + wrap).square()).clamp(min=0.0)
    lit = visibility[:, None].clamp(1e-4, 1.0) ** (1.0 - wrap)
    open_sky = paint.occlusion[:, None].clamp(1e-3, 1.0) ** (1.0 - 0.8 * wrap)
    around = ambient + (normal[:, :, None] * gradient).sum(1)
    around = torch.maximum(around, 0.05 * ambient) * open_sky
    radiance = paint.albedo * (key * diffuse * lit * (0.5 + 0.5 * open_sky) + around)
    front = cosine.clamp(0.0, 1.0).sqrt()
    spark = _glossy(normal, half, toward, paint)[:, None] * front
    hair = (paint.label == Label.HAIR)[:, None]
    spark = torch.where(hair, _strands(normal, half, direction, paint), spark)
    mirrored = paint.highlight * (0.4 + 2.5 * (1.0 - _dot(normal, toward).clamp(0.0, 1.0)) ** 4)
    return radiance + spark * key * visibility[:, None] + mirrored[:, None] * around
