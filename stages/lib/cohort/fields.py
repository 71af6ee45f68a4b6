"""Soft regions of the head: steps, bands and spots that painters multiply."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stages.lib.cohort.scene import column
from stages.lib.cohort.surface import Surface


def gathered(items: Sequence[object], name: str, surface: Surface) -> Tensor:
    """(N, ...) the field `name` of the item that each pixel belongs to; see `scene.column`."""
    return column(items, name, surface.canonical.device)[surface.image]


def rise(low: float, high: float, value: Tensor) -> Tensor:
    """0 below `low`, 1 above `high`, a cubic in between; the other way round where `high` < `low`."""
    step = ((value - low) / (high - low)).clamp(0.0, 1.0)
    return step * step * (3.0 - 2.0 * step)


def band(low: float, high: float, edge: float, value: Tensor) -> Tensor:
    """1 between `low` and `high`, fading to 0 over `edge` outside them."""
    return rise(low - edge, low, value) * rise(high + edge, high, value)


def spot(canonical: Tensor, centre: tuple[float, float, float], radius: float) -> Tensor:
    """(N,) a Gaussian bump, mirrored to both sides of the face, longer in depth than across.

    Args:
        canonical: (N, 3) points of the neutral head.
        centre: x (0 and more), y, z in head space.
        radius: where it has fallen to 1/e, across.
    """
    x, y, z = canonical.unbind(1)
    distance = (x.abs() - centre[0]) ** 2 + (y - centre[1]) ** 2 + ((z - centre[2]) / 1.5) ** 2
    return torch.exp(-distance / radius**2)


def over(below: Tensor, colour: Tensor, opacity: Tensor) -> Tensor:
    """(N, 3) a colour laid over another with an opacity of (N,) or (N, 1), 0..1."""
    opacity = opacity if opacity.dim() == 2 else opacity[:, None]
    return below + (colour - below) * opacity
