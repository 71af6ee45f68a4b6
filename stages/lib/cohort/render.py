"""People and shots -> pictures with exact labels, a batch at a time on any device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stages.lib.cohort.background import background
from stages.lib.cohort.basis import Basis
from stages.lib.cohort.head import ATTRIBUTES, Material, Mesh, build_mesh
from stages.lib.cohort.identity import Identity
from stages.lib.cohort.landmarks import Landmarks, landmarks
from stages.lib.cohort.light import light_visibility, shade
from stages.lib.cohort.materials import paint
from stages.lib.cohort.projection import Projected, pose_and_project
from stages.lib.cohort.rasterise import Raster, rasterise
from stages.lib.cohort.sensor import expose
from stages.lib.cohort.shot import Shot
from stages.lib.cohort.surface import Surface


@dataclass(frozen=True)
class Rendered:
    """Pictures and what is in them.

    Attributes:
        images: (B, 3, H, W) uint8 sRGB.
        segmentation: (B, H, W) uint8, classes of `Label`.
        landmarks: in pixels of the pictures.
    """

    images: Tensor
    segmentation: Tensor
    landmarks: Landmarks


@torch.inference_mode()
def render(basis: Basis, identities: Sequence[Identity], shots: Sequence[Shot], size: int) -> Rendered:
    """Render one picture for each identity and shot.

    Visible surfaces are found first and painted and lit afterwards, pixel by pixel of what is seen.

    Args:
        basis: head model, on the device to render on.
        identities: B people.
        shots: B shots, one of each person at the same place.
        size: width and height, pixels.
    """
    weights = basis.weights([_weights(i, s) for i, s in zip(identities, shots, strict=True)])
    mesh = build_mesh(basis, weights, identities, shots)
    projected = pose_and_project(mesh, shots, size)
    closed = (mesh.material == Material.BODY) | (mesh.material == Material.EYE)
    raster = rasterise(projected.screen, mesh.triangles, size, size, closed)
    surface = _surface(mesh, projected, raster)
    painted = paint(surface, identities, shots)
    lit = light_visibility(mesh, projected, surface.position, surface.normal, surface.image, shots)
    radiance = shade(surface, painted, shots, projected.eye, lit)
    scene = background(shots, size, radiance.device).permute(0, 2, 3, 1).reshape(-1, 3)
    scene[raster.hit] = radiance
    classes = torch.zeros(len(scene), dtype=torch.uint8, device=scene.device)
    classes[raster.hit] = painted.label.to(torch.uint8)
    linear = scene.view(len(shots), size, size, 3).permute(0, 3, 1, 2)
    return Rendered(expose(linear, shots), classes.view(-1, size, size), landmarks(projected, raster))


def _weights(identity: Identity, shot: Shot) -> dict[str, float]:
    return {**identity.shape, **shot.actions}


def _surface(mesh: Mesh, projected: Projected, raster: Raster) -> Surface:
    fixed, position, normal = (
        raster.interpolate(values, mesh.triangles) for values in (mesh.attributes, projected.posed, projected.normals)
    )
    normal = torch.nn.functional.normalize(normal, dim=1)
    facing = ((projected.eye[raster.image] - position) * normal).sum(1) >= 0
    shares = ("lips", "inner_mouth", "ear", "occlusion", "lid")
    return Surface(
        image=raster.image,
        material=mesh.material[raster.hit_triangle],
        canonical=fixed[:, ATTRIBUTES.canonical],
        position=position,
        normal=torch.where(facing[:, None], normal, -normal),  # towards the camera, as light needs it
        facing=facing,
        **{name: fixed[:, getattr(ATTRIBUTES, name)].clamp(0, 1) for name in shares},
        u=fixed[:, ATTRIBUTES.u],
        s=fixed[:, ATTRIBUTES.s],
    )
