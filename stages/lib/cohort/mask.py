"""Face masks: cloth drawn taut over the lower face, which nose, lips and chin never reach through."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from stages.lib.cohort.basis import PARTS, Basis
from stages.lib.cohort.hair import grid_triangles
from stages.lib.cohort.scene import flag
from stages.lib.cohort.shot import Mask

COLUMNS: Final = 37
ROWS: Final = 17
HALF_ANGLE: Final = math.radians(78)
"""The mask spans this far to either side of the front, seen from its axis."""
AXIS: Final = 0.35
"""Depth of the upright axis, in the middle of the head, from which distances to the cloth are measured."""
CLEARANCE: Final = 0.03
"""Between skin and cloth."""
BULGE: Final = {"pleated": (0.05, 0.55), "cloth": (0.02, 0.60), "ffp2": (0.10, 0.35)}
"""How far a kind stands out in the middle, decimetres, and how wide that is as a share of half the mask."""
STRIDES: Final = (8, 4, 2, 1, 1)
LOOP_WIDTH: Final = 0.034


def mask_triangles() -> Tensor:
    """(F, 3) triangles of the grid."""
    return grid_triangles(COLUMNS, ROWS)


def loop_triangles() -> Tensor:
    """(F, 3) triangles of four straps of four corners."""
    strap = torch.tensor([[0, 1, 3], [0, 3, 2]])
    return torch.cat([strap + 4 * number for number in range(4)])


@cache
def cover(basis: Basis) -> Tensor:
    """(P, 3) triangles of the basis, mouth and tongue included, that a mask must stay outside of."""
    soft = torch.tensor([PARTS.index(name) for name in ("body", "teeth", "tongue")], device=basis.part.device)
    place = basis.neutral[basis.triangles]
    near = (place[..., 1] > 5.9) & (place[..., 1] < 7.6) & (place[..., 2] > 0.3)
    ears = basis.attributes[:, 2][basis.triangles] > 0.05
    return basis.triangles[torch.isin(basis.part, soft) & near.all(1) & ~ears.any(1)]


def mask_vertices(head: Tensor, points: Tensor, covered: Tensor, masks: Sequence[Mask]) -> Tensor:
    """Masks of B people, whether they wear them or not.

    The cloth is a distance from an upright axis, over angle and height. Every point of the face first pushes
    out the cloth around it; then straight chords are drawn between what stands out, along and across, and only
    ever push further.

    Args:
        head: (B, V, 3).
        points: (B, 68, 3) landmarks.
        covered: as `cover` returns it.
        masks: B masks.

    Returns:
        (B, COLUMNS * ROWS, 3).
    """
    angle = torch.linspace(-HALF_ANGLE, HALF_ANGLE, COLUMNS, device=head.device)
    top, bottom = _edges(points, flag(masks, "below_nose", True, device=head.device), angle / HALF_ANGLE)
    skin = _push(_samples(head, covered), top, bottom)
    taut = _stretch(skin, STRIDES)
    snug = _stretch(skin, STRIDES[2:])
    down = torch.linspace(0, 1, ROWS, device=head.device)
    free = (down / 0.2).clamp(max=1) * ((1 - down) / 0.1).clamp(max=1)
    cloth = snug + (taut - snug) * (0.2 + 0.8 * free) + CLEARANCE + _bulge(masks, angle, down)
    smooth = functional.avg_pool2d(functional.pad(cloth[:, None], (1, 1, 1, 1), mode="replicate"), 3, 1)[:, 0]
    radius = torch.maximum(smooth, skin + CLEARANCE)
    height = top[..., None] + (bottom - top)[..., None] * down
    parts = (radius * angle.sin()[:, None], height, AXIS + radius * angle.cos()[:, None])
    return torch.stack(parts, dim=-1).flatten(1, 2)


def _edges(points: Tensor, below_nose: Tensor, aside: Tensor) -> tuple[Tensor, Tensor]:
    """(B, COLUMNS) heights of the upper and lower edge: bridge of the nose, or between nose and lip, and chin."""
    bridge = points[:, 28:30, 1].mean(1) - 0.03
    under = torch.maximum(points[:, 33, 1] - 0.03, points[:, 50:53, 1].amax(1) + 0.06)
    away = aside.abs()
    over_cheek = 0.10 * (away / 0.35).clamp(max=1) + 0.12 * away
    top = torch.where(below_nose, under, bridge)[:, None] - torch.where(below_nose[:, None], 0.1 * away, over_cheek)
    return top, points[:, 8, 1, None] - 0.06 + 0.42 * aside**2


def _samples(head: Tensor, covered: Tensor) -> Tensor:
    """(B, N, 3) corners and middles of the triangles; closer together than the nodes of the cloth."""
    corners = torch.unique(covered)
    middle = head[:, covered].mean(2)
    return torch.cat([head.index_select(1, corners), middle], dim=1)


def _push(place: Tensor, top: Tensor, bottom: Tensor) -> Tensor:
    """(B, COLUMNS, ROWS) distance that each node needs so that no sample is outside of the cells around it."""
    across, ahead = place[..., 0], place[..., 2] - AXIS
    radius, angle = torch.hypot(across, ahead), torch.atan2(across, ahead)
    column = (angle / HALF_ANGLE + 1) * ((COLUMNS - 1) / 2)
    left = column.floor().clamp(0, COLUMNS - 2).long()
    part = column - left
    high, low = (torch.lerp(edge.gather(1, left), edge.gather(1, left + 1), part) for edge in (top, bottom))
    row = (high - place[..., 1]) / (high - low) * (ROWS - 1)
    inside = (column >= 0) & (column <= COLUMNS - 1) & (row > -0.5) & (row < ROWS - 0.5)
    above = row.floor().clamp(0, ROWS - 2).long()
    needed = torch.where(inside, radius, 0.0)
    nodes = torch.full((len(place), COLUMNS * ROWS), 0.3, device=place.device)
    for step in (0, 1, ROWS, ROWS + 1):
        nodes.scatter_reduce_(1, left * ROWS + above + step, needed, "amax")
    return nodes.view(-1, COLUMNS, ROWS)


def _stretch(radius: Tensor, strides: Sequence[int]) -> Tensor:
    """Raise nodes to the chords between nodes some strides away, farthest first.

    A chord between distances a and b at angles d to either side passes the axis at 2 a b cos(d) / (a + b).
    """
    step = 2 * HALF_ANGLE / (COLUMNS - 1)
    for stride in strides:
        before, after = radius[:, : -2 * stride], radius[:, 2 * stride :]
        chord = 2 * math.cos(stride * step) * before * after / (before + after)
        middle = torch.maximum(radius[:, stride:-stride], chord)
        radius = torch.cat([radius[:, :stride], middle, radius[:, -stride:]], dim=1)
        mean = (radius[..., : -2 * stride] + radius[..., 2 * stride :]) / 2
        middle = torch.maximum(radius[..., stride:-stride], mean)
        radius = torch.cat([radius[..., :stride], middle, radius[..., -stride:]], dim=2)
    return radius


def _bulge(masks: Sequence[Mask], angle: Tensor, down: Tensor) -> Tensor:
    """(B, COLUMNS, ROWS) how far each kind stands out."""
    size, width = torch.tensor([BULGE[mask.kind] for mask in masks], device=angle.device)[:, :, None, None].unbind(1)
    aside = (angle / HALF_ANGLE)[:, None]
    return size * torch.exp(-((aside / width) ** 2)) * torch.sin(math.pi * down)


def loop_vertices(mask: Tensor, points: Tensor) -> Tensor:
    """(B, 16, 3) straps from the corners of (B, COLUMNS * ROWS, 3) masks to behind the ears."""
    grid = mask.view(-1, COLUMNS, ROWS, 3)
    half = mask.new_tensor([0.0, LOOP_WIDTH / 2, 0.0])
    straps = []
    for side, column, ear in ((-1, 0, points[:, 0]), (1, COLUMNS - 1, points[:, 16])):
        for row, lift in ((1, 0.10), (ROWS - 2, -0.26)):
            start, end = grid[:, column, row], ear + mask.new_tensor([-0.02 * side, lift, -0.3])
            straps += [start + half, start - half, end + half, end - half]
    return torch.stack(straps, dim=1)
