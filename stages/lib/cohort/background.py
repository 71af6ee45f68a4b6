"""Places out of focus behind the head: walls, rooms, gardens and lights at night."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.lib.cohort.noise import hash_normal, hash_uniform
from stages.lib.cohort.scene import column
from stages.lib.cohort.shot import Shot

_SIDE: Final = 64  # pixels: enough for what is out of focus
_NUMBERS: Final = 128  # uniform numbers that a place is made of, some to spare
_PANELS: Final = 7  # doors, windows, shelves and frames
_LAMPS: Final = 6
_WALLS: Final = (
    (0.62, 0.60, 0.56),
    (0.48, 0.44, 0.38),
    (0.30, 0.29, 0.28),
    (0.55, 0.50, 0.42),
    (0.36, 0.42, 0.46),
    (0.20, 0.17, 0.14),
    (0.44, 0.46, 0.40),
    (0.12, 0.12, 0.13),
)
_THINGS: Final = (
    (0.20, 0.11, 0.06),
    (0.35, 0.22, 0.12),
    (0.06, 0.06, 0.07),
    (0.70, 0.68, 0.64),
    (0.16, 0.22, 0.28),
    (0.14, 0.20, 0.10),
    (0.32, 0.12, 0.08),
    (0.90, 0.95, 1.00),
)


class _Draws:
    """Uniform numbers of a batch, handed out in order; (B, ...) each."""

    def __init__(self, seed: Tensor, count: int) -> None:
        self._numbers = hash_uniform(seed, count)
        self._next = 0

    def take(self, low: float, high: float, count: int = 1) -> Tensor:
        """(B, count) uniform numbers between two bounds."""
        taken = self._numbers[:, self._next : self._next + count]
        self._next += count
        return low + (high - low) * taken


def _picked(palette: Sequence[tuple[float, float, float]], draw: Tensor) -> Tensor:
    """(B, 3, 1, 1) a colour of the palette by (B, 1) numbers in 0..1."""
    colours = draw.new_tensor(palette)
    return colours[(draw[:, 0] * len(palette)).long().clamp(max=len(palette) - 1)][:, :, None, None]


def _plane(draw: Tensor) -> Tensor:
    """(B, 1) -> (B, 1, 1, 1)."""
    return draw[:, :, None, None]


def _clouds(seed: Tensor, cells: int) -> Tensor:
    """(B, 3, S, S) smooth noise of about unit variance, mostly the same in all channels."""
    values = hash_normal(seed, 4 * cells * cells).view(len(seed), 4, cells, cells)
    values = 0.95 * values[:, :1] + 0.12 * values[:, 1:]
    return F.interpolate(values, (_SIDE, _SIDE), mode="bicubic", align_corners=True)


def _panel(x: Tensor, y: Tensor, draws: _Draws, focus: Tensor) -> Tensor:
    """(B, 1, S, S) 0..1: an upright rectangle with edges as soft as the place is out of focus."""
    middle_x, middle_y = _plane(draws.take(-0.1, 1.1)), _plane(draws.take(0.0, 1.0))
    half_x, half_y = _plane(draws.take(0.03, 0.28)), _plane(draws.take(0.08, 0.5))
    inside_x = torch.sigmoid((half_x - (x - middle_x).abs()) / focus)
    return inside_x * torch.sigmoid((half_y - (y - middle_y).abs()) / focus)


def _room(x: Tensor, y: Tensor, draws: _Draws, focus: Tensor) -> Tensor:
    """(B, 3, S, S) a wall lit from one side, with furniture before it."""
    wall = _picked(_WALLS, draws.take(0.0, 1.0)) * _plane(draws.take(0.6, 1.2))
    lean_x, lean_y = _plane(draws.take(-0.7, 0.7)), _plane(draws.take(-0.2, 0.6))
    picture = wall * (1.0 + lean_x * (x - 0.5) + lean_y * (0.5 - y)).clamp(min=0.15)
    crowded = _plane(draws.take(-0.35, 1.0)).clamp(min=0.0)
    for _ in range(_PANELS):
        cover = _panel(x, y, draws, focus) * (_plane(draws.take(0.0, 1.0)) < crowded)
        thing = _picked(_THINGS, draws.take(0.0, 1.0)) * _plane(draws.take(0.5, 1.3))
        thing = thing * 0.75 + 0.25 * wall
        picture = picture + (thing - picture) * cover * _plane(draws.take(0.5, 1.0))
    return picture


def _garden(x: Tensor, y: Tensor, draws: _Draws, seed: Tensor, focus: Tensor) -> Tensor:
    """(B, 3, S, S) sky over leaves or a street, in blurred patches."""
    horizon = _plane(draws.take(0.0, 0.7)) + 0.08 * _clouds(seed ^ 11, 4)[:, :1]
    sky = x.new_tensor([0.62, 0.74, 0.92]).view(1, 3, 1, 1) * _plane(draws.take(0.6, 1.3))
    leaves = x.new_tensor([0.15, 0.19, 0.08]).view(1, 3, 1, 1)
    street = x.new_tensor([0.30, 0.28, 0.26]).view(1, 3, 1, 1)
    ground = torch.lerp(leaves, street, _plane(draws.take(0.0, 1.0))) * _plane(draws.take(0.6, 1.5))
    ground = ground * (0.30 * _clouds(seed ^ 12, 7) + 0.20 * _clouds(seed ^ 13, 13)).clamp(-1.5, 1.0).exp()
    return ground + (sky - ground) * torch.sigmoid((horizon - y) / focus)


def _lamps(x: Tensor, y: Tensor, draws: _Draws) -> Tensor:
    """(B, 3, S, S) discs of light out of focus, to be added."""
    total = torch.zeros_like(x).expand(1, 3, _SIDE, _SIDE)
    warm = x.new_tensor([1.0, 0.75, 0.45]).view(1, 3, 1, 1)
    for _ in range(_LAMPS):
        middle_x, middle_y = _plane(draws.take(0.0, 1.0)), _plane(draws.take(0.0, 0.8))
        radius, power = _plane(draws.take(0.015, 0.055)), _plane(draws.take(0.05, 0.6))
        distance = ((x - middle_x).square() + (y - middle_y).square() + 1e-9).sqrt()
        colour = torch.lerp(warm, torch.ones_like(warm), _plane(draws.take(0.0, 1.0)))
        total = total + colour * power * torch.sigmoid((radius - distance) / 0.008)
    return total


def background(shots: Sequence[Shot], size: int, device: torch.device | str) -> Tensor:
    """What stands behind each head, out of focus.

    Args:
        shots: B shots; `Shot.background` is the seed, the light sets the level.
        size: width and height in pixels; the place stays the same at any size.
        device: where the picture goes.

    Returns:
        (B, 3, size, size) linear RGB radiance before exposure.
    """
    seed = column(shots, "background", device, torch.int64)
    draws = _Draws(seed, _NUMBERS)
    axis = (torch.arange(_SIDE, device=seed.device) + 0.5) / _SIDE
    y, x = axis.view(1, 1, -1, 1), axis.view(1, 1, 1, -1)
    focus = _plane(draws.take(0.010, 0.05))
    kind, night = _plane(draws.take(0.0, 1.0)), _plane(draws.take(0.0, 1.0))
    room, garden = _room(x, y, draws, focus), _garden(x, y, draws, seed, focus)
    picture = torch.where(kind < 0.72, room, garden)
    picture = picture + torch.where((night < 0.12) & (kind < 0.72), _lamps(x, y, draws), 0.0)
    picture = picture * (1.0 + 0.06 * _clouds(seed ^ 21, 5)).clamp(min=0.2)
    light = 0.55 * column(shots, "light.key", device) + column(shots, "light.ambient", device)
    # The place has light of its own: some are darker or brighter than the face.
    level = light * draws.take(-1.2, 0.15).exp()
    picture = (picture * level[:, :, None, None]).clamp(min=0.0)
    return F.interpolate(picture, (size, size), mode="bilinear", align_corners=False)
