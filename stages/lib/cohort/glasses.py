"""Glasses: two superellipse rims with lenses, a bridge and temples, fitted to the eyes, brows and ears."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from stages.lib.cohort.identity import Glasses
from stages.lib.cohort.scene import column

SEGMENTS: Final = 28
"""Of a rim."""
BELOW_EYES: Final = 0.03
BEFORE_BROWS: Final = 0.05
APART: Final = 0.012
"""Lens centres lie this much farther apart than the eyes."""


def frame_triangles() -> Tensor:
    """(F, 3) triangles of two rims of SEGMENTS pairs of vertices, then bridge and temples of four vertices each."""
    pair = 2 * torch.arange(SEGMENTS)
    following = pair.roll(-1)
    rim = torch.cat([torch.stack([pair, following, following + 1], 1), torch.stack([pair, following + 1, pair + 1], 1)])
    strip = torch.tensor([[0, 1, 3], [0, 3, 2]])
    strips = [strip + 4 * SEGMENTS + 4 * number for number in range(3)]
    return torch.cat([rim, rim + 2 * SEGMENTS, *strips])


def lens_triangles() -> Tensor:
    """(F, 3) triangles of two fans of SEGMENTS vertices and a centre."""
    edge = torch.arange(SEGMENTS)
    fan = torch.stack([torch.full_like(edge, SEGMENTS), edge, edge.roll(-1)], dim=1)
    return torch.cat([fan, fan + SEGMENTS + 1])


def glasses_vertices(points: Tensor, glasses: Sequence[Glasses]) -> tuple[Tensor, Tensor]:
    """Glasses of B people, whether they wear them or not.

    Args:
        points: (B, 68, 3) landmarks.
        glasses: B glasses.

    Returns:
        Vertices (B, 4 SEGMENTS + 12, 3) of the frames and (B, 2 SEGMENTS + 2, 3) of the lenses.
    """

    def size(name: str) -> Tensor:
        return column(glasses, name, points.device)[:, None]

    width, height, rim = size("half_width"), size("half_height"), size("rim")
    front = points[:, 17:27, 2].amax(1, keepdim=True) + BEFORE_BROWS
    across, up = _superellipse(size("roundness"))
    rims, lenses, temples = [], [], []
    for side, eye, ear in ((-1, points[:, 36:42], points[:, 0]), (1, points[:, 42:48], points[:, 16])):
        centre_x = eye[..., 0].mean(1, keepdim=True) + side * APART
        centre_y = eye[..., 1].mean(1, keepdim=True) - BELOW_EYES
        inner = _on_front(centre_x + across * width, centre_y + up * height, front)
        outer = _on_front(centre_x + across * (width + rim), centre_y + up * (height + rim), front)
        rims.append(torch.stack([inner, outer], dim=2).flatten(1, 2))
        lenses += [inner, _on_front(centre_x, centre_y, front)]
        hinge = _on_front(centre_x + side * (width + rim / 2), centre_y + 0.4 * height, front)
        behind = torch.stack([side * (ear[:, 0].abs() + 0.05), ear[:, 1] + 0.03, ear[:, 2] - 0.15], dim=1)
        temples.append(_strip(hinge[:, 0], behind, rim.clamp(min=0.02)))
    nose = [rims[side].view(-1, SEGMENTS, 2, 3)[:, segment, 1] for side, segment in ((0, 1), (1, SEGMENTS // 2 - 1))]
    return torch.cat([*rims, _strip(nose[0], nose[1], rim), *temples], dim=1), torch.cat(lenses, dim=1)


def _superellipse(power: Tensor) -> tuple[Tensor, Tensor]:
    """(B, SEGMENTS) x and y of |x|^p + |y|^p = 1, counter-clockwise from the right, for (B, 1) powers."""
    angle = torch.arange(SEGMENTS, device=power.device) * (2 * math.pi / SEGMENTS)
    x, y = (part.sign() * part.abs() ** (2 / power) for part in (angle.cos(), angle.sin()))
    return x, y


def _on_front(x: Tensor, y: Tensor, front: Tensor) -> Tensor:
    """(B, N, 3) points of the front of the glasses, which curves back to the sides."""
    return torch.stack([x, y, front - 0.35 * (x.abs() - 0.12).clamp(min=0) ** 1.5], dim=-1)


def _strip(start: Tensor, end: Tensor, width: Tensor) -> Tensor:
    """(B, 4, 3) an upright ribbon between (B, 3) points."""
    half = torch.cat([torch.zeros_like(width), width / 2, torch.zeros_like(width)], dim=1)
    return torch.stack([start + half, start - half, end + half, end - half], dim=1)
