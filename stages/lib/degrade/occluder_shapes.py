"""Outlines of what is held before a face, as distances to their edge.

Pixel by pixel, with sums, products and square roots only: each is rounded in one way on every device.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Final

import torch
from torch import Tensor

Point = tuple[float, float]

# A hand with its fingers up, in units of its own size: where each finger begins and ends, and half its width.
_FINGERS: Final[tuple[tuple[Point, Point, float], ...]] = (
    ((-0.36, 0.05), (-0.46, -0.75), 0.105),
    ((-0.12, 0.0), (-0.15, -0.98), 0.115),
    ((0.13, 0.0), (0.15, -0.92), 0.115),
    ((0.36, 0.05), (0.45, -0.62), 0.10),
    ((0.40, 0.60), (0.92, 0.02), 0.13),
)
_WRIST: Final = ((0.0, 0.6), (0.0, 4.0), 0.33)  # the arm leaves the picture
_PALM: Final = ((0.0, 0.42), (0.48, 0.48), 0.2)


def patch(x: Tensor, y: Tensor, size: Tensor, aspect: Tensor) -> Tensor:
    """Distance to the edge of a rectangle with round corners, such as a telephone or a cup; negative inside.

    Args:
        x: (N, H, W) pixels from its middle, along its first side.
        y: the same along the other.
        size: (N, 1, 1) square root of its area in pixels.
        aspect: (N, 1, 1) square root of first by second side.
    """
    return _rounded_box(x, y, 0.5 * size * aspect, 0.5 * size / aspect, 0.15 * size)


def bar(x: Tensor, y: Tensor, size: Tensor, aspect: Tensor) -> Tensor:
    """The same for a band across the picture, such as an arm or a strap, of the area of a square of that size."""
    return y.abs() - size * size * (0.5 / x.shape[-1])


def hand(x: Tensor, y: Tensor, size: Tensor, aspect: Tensor) -> Tensor:
    """The same for a hand with spread fingers and its arm, as large as a square of that size save for the arm."""
    unit = 0.72 * size
    u, v = x / unit, y / unit
    (middle_u, middle_v), (half_u, half_v), radius = _PALM
    half = (torch.full_like(size, value) for value in (half_u, half_v, radius))
    parts = [_rounded_box(u - middle_u, v - middle_v, *half)]
    parts += [_capsule(u, v, *finger) for finger in (*_FINGERS, _WRIST)]
    return reduce(torch.minimum, parts) * unit


SHAPES: Final[dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]]] = {
    "hand": hand,
    "bar": bar,
    "patch": patch,
}


def _rounded_box(x: Tensor, y: Tensor, half_x: Tensor, half_y: Tensor, radius: Tensor) -> Tensor:
    past_x, past_y = x.abs() - (half_x - radius), y.abs() - (half_y - radius)
    corner = _length(past_x.clamp(min=0), past_y.clamp(min=0))
    return corner + torch.maximum(past_x, past_y).clamp(max=0) - radius


def _capsule(x: Tensor, y: Tensor, start: Point, end: Point, radius: float) -> Tensor:
    along = end[0] - start[0], end[1] - start[1]
    square = along[0] ** 2 + along[1] ** 2
    from_start = x - start[0], y - start[1]
    share = (from_start[0] * (along[0] / square) + from_start[1] * (along[1] / square)).clamp(0, 1)
    return _length(from_start[0] - share * along[0], from_start[1] - share * along[1]) - radius


def _length(x: Tensor, y: Tensor) -> Tensor:
    return (x * x + y * y).sqrt()
