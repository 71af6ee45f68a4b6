"""Hair as a sheet of locks over the scalp: from the crown to the hairline, or on and down past it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from stages.lib.cohort.basis import SCALP_ELEVATIONS, Basis
from stages.lib.cohort.hair_styles import AZIMUTHS, NODES, Growth

STEP: Final = float(SCALP_ELEVATIONS[0] - SCALP_ELEVATIONS[1])
LEAVES: Final = 8.0
"""Elevation from which falling locks leave the scalp, degrees: the widest part of the skull."""
SUNK: Final = 0.02
"""How far the edge of the sheet ends under the skin, so that hair fades into the hairline painted there."""
CLEARANCE: Final = 0.012
"""Of the sheet over the scalp, where it has no thickness of its own."""
EARS: Final = (97.0, 34.0, 0.17)
"""Falling locks bulge over the ears: direction from the front and width of it in degrees, and how far."""


def hair_triangles() -> Tensor:
    """(F, 3) triangles of (AZIMUTHS + 1) locks of NODES nodes; the first lock is repeated to close the ring."""
    return grid_triangles(AZIMUTHS + 1, NODES)


def grid_triangles(columns: int, rows: int) -> Tensor:
    """(F, 3) two triangles a cell, vertices numbered down the columns; a front has columns to the right."""
    corner = (torch.arange(columns - 1)[:, None] * rows + torch.arange(rows - 1)).reshape(-1)
    below, right, across = corner + 1, corner + rows, corner + rows + 1
    return torch.cat([torch.stack([corner, below, across], 1), torch.stack([corner, across, right], 1)])


def directions(device: torch.device | str) -> Tensor:
    """(A, E, 3) unit vectors from `CROWN` through the scalp points of `Basis.scalp`."""
    azimuth = (torch.arange(AZIMUTHS, device=device) * (2 * math.pi / AZIMUTHS) - math.pi)[:, None]
    elevation = torch.deg2rad(torch.tensor(SCALP_ELEVATIONS, dtype=torch.float32, device=device))
    level = elevation.cos()
    parts = (azimuth.sin() * level, elevation.sin().expand(AZIMUTHS, -1), azimuth.cos() * level)
    return torch.stack(parts, dim=-1)


def scalp(basis: Basis, head: Tensor) -> Tensor:
    """(B, A, E, 3) points of the scalp of (B, V, 3) heads."""
    corners = head.index_select(1, basis.scalp.view(-1)).view(len(head), *basis.scalp.shape, 3)
    return (corners * basis.scalp_weights[..., None]).sum(3)


def neutral_scalp(basis: Basis) -> Tensor:
    """((A + 1) NODES, 3) where the nodes of short hair lie on the neutral head, for noise that sticks to them."""
    surface = scalp(basis, basis.neutral[None])
    turn = torch.linspace(0, 100, NODES, device=surface.device).expand(1, AZIMUTHS, NODES)
    place, _ = _along(surface, turn)
    return _closed(place)[0]


def hair_vertices(surface: Tensor, growths: Sequence[Growth]) -> Tensor:
    """Locks of B heads of hair.

    Each lock runs over the scalp, at the thickness of its layer, and then, if it falls, straight down to its
    tip. Its nodes are spread by length, so that lying and falling locks meet without folds.

    Args:
        surface: (B, A, E, 3) scalp.
        growths: B growth tables.

    Returns:
        (B, (A + 1) NODES, 3).
    """

    def table(name: str) -> Tensor:
        return torch.stack([torch.from_numpy(getattr(growth, name)) for growth in growths]).to(surface)

    hairline, tip, thickness, displacement = map(table, ("hairline", "tip", "thickness", "displacement"))
    ends = torch.where(tip > 0, hairline.clamp(min=LEAVES), hairline).clamp(-58.0, 88.0)
    edge, _ = _along(surface, (90 - ends)[..., None])
    drop = torch.where(tip > 0, (edge[..., 0, 1] - tip).clamp(min=0), 0.0)
    arc = (90 - ends) * (math.pi / 180 * 0.9)
    share = (arc / (arc + drop))[..., None]
    node = torch.linspace(0, 1, NODES, device=surface.device)
    on_scalp, falling = (node / share).clamp(max=1), ((node - share) / (1 - share).clamp(min=1e-6)).clamp(0, 1)
    falls = functional.hardtanh(drop / 0.35, 0, 1)[..., None]
    place, outward = _along(surface, (90 - ends)[..., None] * on_scalp)
    height = _height(thickness, displacement, on_scalp, falling, falls)
    place = place + outward * height[..., None]
    return _closed(place + _fall(place, drop[..., None] * falling, falling, falls))


def _along(surface: Tensor, turn: Tensor) -> tuple[Tensor, Tensor]:
    """Points of the scalp and outward directions at (B, A, N) degrees down from the crown."""
    row = (turn / STEP).clamp(0, len(SCALP_ELEVATIONS) - 1.001)
    above = row.long()
    part = (row - above)[..., None]
    index = above[..., None].expand(*above.shape, 3)
    ray = directions(surface.device).expand(surface.shape)
    place = torch.lerp(surface.gather(2, index), surface.gather(2, index + 1), part)
    outward = torch.lerp(ray.gather(2, index), ray.gather(2, index + 1), part)
    return place, functional.normalize(outward, dim=-1)


def _height(thickness: Tensor, displacement: Tensor, on_scalp: Tensor, falling: Tensor, falls: Tensor) -> Tensor:
    """(B, A, NODES) of the sheet over the scalp: one height at the crown, under the skin at a lying edge."""
    crown = thickness.mean(1, keepdim=True)[..., None]
    rise = (on_scalp / 0.4).clamp(max=1)
    rise = rise * rise * (3 - 2 * rise)
    layer = crown + (thickness[..., None] - crown) * rise
    lies = 1 - on_scalp**6
    keep = lies + (1 - lies) * falls
    locks = displacement * (on_scalp / 0.15).clamp(max=1) * keep
    thins = 1 - 0.5 * falling
    return (layer * keep * thins + locks).clamp(min=0) + CLEARANCE * keep - SUNK * (1 - keep)


def _fall(place: Tensor, drop: Tensor, falling: Tensor, falls: Tensor) -> Tensor:
    """(B, A, NODES, 3) how falling nodes move from the end of the scalp: down, out over the ears, in to the nape."""
    azimuth = torch.arange(AZIMUTHS, device=place.device) * (2 * math.pi / AZIMUTHS) - math.pi
    across = torch.rad2deg(azimuth.abs())[None, :, None]
    centre, width, size = EARS
    ears = size * torch.exp(-(((across - centre) / width) ** 2)) * torch.sin(math.pi * falling.clamp(max=0.85))
    nape = 0.16 * ((across - 120) / 40).clamp(0, 1) * falling
    out = (ears + 0.05 * falling - nape) * falls
    aside = torch.stack([azimuth.sin(), torch.zeros_like(azimuth), azimuth.cos()], dim=-1)[None, :, None]
    down = place.new_tensor([0.0, -1.0, 0.0])
    return out[..., None] * aside + drop[..., None] * down


def _closed(place: Tensor) -> Tensor:
    """(B, (A + 1) N, 3): the first lock again at the end."""
    return torch.cat([place, place[:, :1]], dim=1).flatten(1, 2)
