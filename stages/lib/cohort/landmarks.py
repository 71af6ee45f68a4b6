"""Landmarks of rendered faces: exact places, and whether the camera sees them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from stages.lib.cohort.head import Material
from stages.lib.cohort.projection import Projected
from stages.lib.cohort.rasterise import Raster

TOLERANCE: Final = 0.03
"""Depth by which a landmark may lie behind the skin seen next to it: the vertex is off the pixel centre, dm."""
CORNERS: Final = ((-0.5, -0.5), (0.5, -0.5), (-0.5, 0.5), (0.5, 0.5))
"""Steps from a place, in pixels, to reach the four pixels whose centres surround it."""
RIGHT_EYE: Final = slice(36, 42)
LEFT_EYE: Final = slice(42, 48)
NOSE, RIGHT_MOUTH, LEFT_MOUTH = 30, 48, 54


@dataclass(frozen=True)
class Landmarks:
    """B faces, pixels, x then y.

    Attributes:
        points68: (B, 68, 2) in the order of iBUG 300-W.
        visible: (B, 68) bool: inside the picture, and neither the head nor anything worn is before it.
        points5: (B, 5, 2) right eye, left eye, nose, right and left mouth corner of the person.
    """

    points68: Tensor
    visible: Tensor
    points5: Tensor


def landmarks(projected: Projected, raster: Raster) -> Landmarks:
    """Where the landmarks are drawn.

    Args:
        projected: heads.
        raster: of `projected.screen` and all triangles of the mesh.
    """
    place = projected.screen[:, projected.mesh.landmarks]
    points = place[..., :2]
    five = [
        points[:, RIGHT_EYE].mean(1),
        points[:, LEFT_EYE].mean(1),
        *(points[:, point] for point in (NOSE, RIGHT_MOUTH, LEFT_MOUTH)),
    ]
    return Landmarks(points, _visible(place, projected.mesh.material, raster), torch.stack(five, dim=1))


def _visible(place: Tensor, material: Tensor, raster: Raster) -> Tensor:
    """Seen if the pixel shows the head itself, as far away as the landmark.

    What is worn hides however thin it is, so the depth of a mask is never compared; the head is compared with the
    farthest of the four pixels around, since landmarks on an outline lie between pixels. Nothing hides what falls on
    background.
    """
    _, height, width = raster.triangle.shape
    worn = torch.isin(material, material.new_tensor([Material.HAIR, Material.MASK, Material.LENS]))
    covers = torch.where(raster.triangle >= 0, worn[raster.triangle], False).flatten(1)
    depth = torch.where(covers | ~raster.depth.flatten(1).isfinite(), 0.0, raster.depth.flatten(1))

    def pixel(offset: tuple[float, float]) -> Tensor:
        column, row = (place[..., :2] + place.new_tensor(offset)).floor().long().unbind(-1)
        return row.clamp(0, height - 1) * width + column.clamp(0, width - 1)

    around = torch.stack([depth.gather(1, pixel(offset)) for offset in CORNERS])
    x, y = place[..., 0], place[..., 1]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    own = pixel((0.0, 0.0))
    bare = raster.triangle.flatten(1).gather(1, own) < 0
    return inside & ~covers.gather(1, own) & (bare | (place[..., 2] < around.amax(0) + TOLERANCE))
