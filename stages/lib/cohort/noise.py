"""Random numbers that are a function of where they are: same pixels on any device, in any batch."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

LATTICE: Final = 32
"""Cells of one period of the value noise along each axis."""
CHANNELS: Final = 4
_WORD: Final = 0xFFFFFFFF
_MULTIPLIERS: Final = (0x7FEB352D, 0x2C1B3C6D)  # odd and below 2**31, so that int64 products cannot overflow
_GOLDEN: Final = 0x1E3779B9
_LATTICE_SEED: Final = 7


def _mix(words: Tensor) -> Tensor:
    """A bijection of 32-bit words in which every input bit moves about half of the output bits."""
    words = words ^ (words >> 16)
    words = (words * _MULTIPLIERS[0]) & _WORD
    words = words ^ (words >> 15)
    words = (words * _MULTIPLIERS[1]) & _WORD
    return words ^ (words >> 16)


def hash_words(seed: Tensor, count: int) -> Tensor:
    """Counter-based random words.

    Args:
        seed: (B,) integers, one an image; their low 62 bits count.
        count: words an image.

    Returns:
        (B, count) int64 in 0..2**32 - 1. Word k depends on (seed, k) alone.
    """
    seed = seed.long()
    key = _mix(_mix(seed & _WORD) ^ ((seed >> 32) & _WORD))
    counter = torch.arange(count, device=seed.device, dtype=torch.int64)
    return _mix(_mix((counter * _GOLDEN) & _WORD) ^ key[:, None])


def hash_uniform(seed: Tensor, count: int) -> Tensor:
    """(B, count) float32 uniform in [0, 1); arguments as in `hash_words`."""
    return (hash_words(seed, count) >> 8).float() * 2.0**-24


def hash_normal(seed: Tensor, count: int) -> Tensor:
    """(B, count) float32 standard normal (Box and Muller, 1958); arguments as in `hash_words`."""
    pairs = (count + 1) // 2
    first, second = hash_uniform(seed, 2 * pairs).view(len(seed), 2, pairs).unbind(1)
    radius = (-2.0 * torch.log1p(-first)).sqrt()
    angle = 2.0 * math.pi * second
    return torch.cat([radius * angle.cos(), radius * angle.sin()], 1)[:, :count]


@lru_cache(maxsize=8)
def _lattice(device: torch.device) -> Tensor:
    """(1, C, L + 1, L + 1, L + 1) standard normal values; the last plane of each axis repeats the first."""
    seed = torch.tensor([_LATTICE_SEED], device=device)
    values = hash_normal(seed, CHANNELS * LATTICE**3).view(1, CHANNELS, LATTICE, LATTICE, LATTICE)
    return F.pad(values, (0, 1, 0, 1, 0, 1), mode="circular")


def value_noise(points: Tensor, frequency: float) -> Tensor:
    """Smooth noise in space, periodic with period 1 / frequency.

    Args:
        points: (N, 3) positions.
        frequency: periods a unit of length; a bump is 1 / (frequency * `LATTICE`) wide.

    Returns:
        (N, `CHANNELS`) independent fields of zero mean and, averaged over space, a variance near 0.3: the
        mean of (1 - 2 t + 2 t**2) over a cell, cubed.
    """
    phase = points * frequency
    phase = (phase - phase.floor()) * 2.0 - 1.0
    sampled = F.grid_sample(_lattice(points.device), phase.view(1, 1, 1, -1, 3), mode="bilinear", align_corners=True)
    return sampled[0, :, 0, 0].T
