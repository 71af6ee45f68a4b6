"""The mesh of a picture: head, hair, mask and glasses of each person, with one topology for the whole batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import Final, NamedTuple

import torch
from torch import Tensor

from stages.lib.cohort.basis import Basis
from stages.lib.cohort.glasses import frame_triangles, glasses_vertices, lens_triangles
from stages.lib.cohort.hair import hair_triangles, hair_vertices, neutral_scalp, scalp
from stages.lib.cohort.hair_styles import AZIMUTHS, NODES, grow
from stages.lib.cohort.identity import Identity
from stages.lib.cohort.mask import COLUMNS, ROWS, cover, loop_triangles, loop_vertices, mask_triangles, mask_vertices
from stages.lib.cohort.scene import flag
from stages.lib.cohort.shot import Shot

EYES: Final = (7.33, 1.2)
"""Height and depth that the middle of both eyes is moved to: people differ in stature, cameras frame the face."""


class Material(IntEnum):
    """What a triangle is made of; the first ones are `basis.PARTS`."""

    BODY = 0
    EYE = 1
    TEETH = 2
    TONGUE = 3
    HAIR = 4
    MASK = 5
    LOOP = 6
    FRAME = 7
    LENS = 8


class Attributes(NamedTuple):
    """Columns of `Mesh.attributes`."""

    canonical: slice = slice(0, 3)
    lips: int = 3
    inner_mouth: int = 4
    ear: int = 5
    occlusion: int = 6
    lid: int = 7
    u: int = 8
    s: int = 9


ATTRIBUTES: Final = Attributes()


@dataclass(frozen=True, eq=False)
class Topology:
    """What all meshes share.

    Attributes:
        triangles: (F, 3) int64.
        material: (F,) int64 `Material`.
        attributes: (V, 10) columns as in `ATTRIBUTES`: point of the neutral head, decimetres; shares 0..1; u and s,
            coordinates of the material itself: round and along hair; across (-1..1) and down (0..1) a mask.
        parts: vertices of the materials that are not of the head.
    """

    triangles: Tensor
    material: Tensor
    attributes: Tensor
    parts: dict[Material, slice]


@dataclass(frozen=True, eq=False)
class Mesh:
    """B heads before they are posed; V vertices, F triangles, head space in decimetres.

    Attributes:
        vertices: (B, V, 3).
        enabled: (B, V) bool, False for what a picture lacks: hair of the bald, masks not worn.
        turns: (B, V) 0..1, how far a vertex turns with the head rather than with the chest.
        triangles, material, attributes: as in `Topology`.
        landmarks: (68,) int64 vertices.
    """

    vertices: Tensor
    enabled: Tensor
    turns: Tensor
    triangles: Tensor
    material: Tensor
    attributes: Tensor
    landmarks: Tensor


def build_mesh(basis: Basis, weights: Tensor, identities: Sequence[Identity], shots: Sequence[Shot]) -> Mesh:
    """Shape heads, grow hair on them, put masks and glasses on.

    Args:
        basis: head model.
        weights: (B, K) target weights, identity and expression together; see `Basis.weights`.
        identities: B people.
        shots: B shots.

    Returns:
        The mesh on the device of the basis.
    """
    shared = topology(basis)
    head = basis.deform(weights)
    eyes = head[:, basis.landmarks[36:48], 1:].mean(1)
    head = torch.cat([head[..., :1], head[..., 1:] - (eyes - eyes.new_tensor(EYES))[:, None]], dim=2)
    points = head[:, basis.landmarks]
    hair = hair_vertices(scalp(basis, head), [grow(person.hair) for person in identities])
    mask = mask_vertices(head, points, cover(basis), [shot.mask for shot in shots])
    frame, lens = glasses_vertices(points, [person.glasses for person in identities])
    vertices = torch.cat([head, hair, mask, loop_vertices(mask, points), frame, lens], dim=1)
    return Mesh(
        vertices,
        _enabled(shared, identities, shots, len(shared.attributes), vertices.device),
        _turns(shared, vertices),
        shared.triangles,
        shared.material,
        shared.attributes,
        basis.landmarks,
    )


@cache
def topology(basis: Basis) -> Topology:
    """Triangles, materials and attributes of every mesh on this basis; built once."""
    device, count = basis.vertices.device, len(basis.vertices)
    triangles, materials, parts = [basis.triangles], [basis.part], {}
    for material, faces in (
        (Material.HAIR, hair_triangles()),
        (Material.MASK, mask_triangles()),
        (Material.LOOP, loop_triangles()),
        (Material.FRAME, frame_triangles()),
        (Material.LENS, lens_triangles()),
    ):
        parts[material] = slice(count, count + int(faces.max()) + 1)
        triangles.append(faces.to(device) + count)
        materials.append(torch.full((len(faces),), int(material), device=device))
        count = parts[material].stop
    attributes = torch.zeros(count, 10, device=device)
    head = slice(0, len(basis.vertices))
    attributes[:, ATTRIBUTES.occlusion] = 1.0
    attributes[head, ATTRIBUTES.canonical] = basis.neutral
    attributes[head, ATTRIBUTES.lips : ATTRIBUTES.lid + 1] = basis.attributes
    hair, mask = parts[Material.HAIR], parts[Material.MASK]
    attributes[hair, ATTRIBUTES.canonical] = neutral_scalp(basis)
    attributes[hair, ATTRIBUTES.u] = torch.linspace(0, 1, AZIMUTHS + 1, device=device).repeat_interleave(NODES)
    attributes[hair, ATTRIBUTES.s] = torch.linspace(0, 1, NODES, device=device).repeat(AZIMUTHS + 1)
    attributes[mask, ATTRIBUTES.u] = torch.linspace(-1, 1, COLUMNS, device=device).repeat_interleave(ROWS)
    attributes[mask, ATTRIBUTES.s] = torch.linspace(0, 1, ROWS, device=device).repeat(COLUMNS)
    return Topology(torch.cat(triangles), torch.cat(materials), attributes, parts)


def _enabled(
    shared: Topology, identities: Sequence[Identity], shots: Sequence[Shot], count: int, device: torch.device
) -> Tensor:
    """(B, V) which vertices each picture has."""
    hair = torch.tensor([grow(person.hair).sheet for person in identities], device=device)
    scarf = torch.tensor([grow(person.hair).cloth for person in identities], device=device)
    mask = flag(shots, "mask.worn", True, device=device)
    glasses = flag(shots, "glasses_on", True, device=device)
    worn = {
        Material.HAIR: hair,
        Material.MASK: mask,
        Material.LOOP: mask & ~scarf,
        Material.FRAME: glasses,
        Material.LENS: glasses & flag(shots, "sunglasses", True, device=device),
    }
    enabled = torch.ones(len(shots), count, dtype=torch.bool, device=device)
    for material, has in worn.items():
        enabled[:, shared.parts[material]] = has[:, None]
    return enabled


def _turns(shared: Topology, vertices: Tensor) -> Tensor:
    """(B, V) 1 on head, mask and glasses, falling to 0 down the neck.

    It falls below a plane from under the chin to the nape. The body is measured on the neutral head, so that a
    long or open jaw stays rigid; hair, which falls past the neck, where it is.
    """
    place = shared.attributes[:, ATTRIBUTES.canonical].expand(vertices.shape[0], -1, -1).clone()
    hair = shared.parts[Material.HAIR]
    place[:, hair] = vertices[:, hair]
    above = place[..., 1] + 0.2 * place[..., 2] - 6.4
    step = (1 + above / 0.75).clamp(0, 1)
    turns = step * step * (3 - 2 * step)
    turns[:, hair.stop :] = 1.0
    return turns
