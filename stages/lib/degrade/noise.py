"""Sensor noise: shot noise grows with the light, read noise does not."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from torch import Tensor

from stages.lib.degrade.colour import monochrome
from stages.lib.degrade.fixed_point import to_uint8
from stages.lib.degrade.keys import Uniform, between
from stages.lib.degrade.operator import SIDE, Landmarks, Operator, Params

_SHAPE = (3, SIDE, SIDE)


def sample(u: Uniform) -> Params:
    """Read noise (standard deviation in grey levels), shot noise (variance per level), key of the field."""
    return {
        "read": between(u[:, 0], 0.0, 14.0),
        "shot": between(u[:, 1], 0.0, 3.5),
        "field": (u[:, 2] * 2**53).astype(np.int64),
    }


def apply(images: Tensor, params: Params, landmarks: Landmarks) -> Tensor:
    """Add noise of variance read**2 + shot * pixel, independent over pixels and, in colour, over channels."""
    field = _normal_field(params["field"], monochrome(images))
    read, shot = (torch.from_numpy(params[k].astype(np.float32)).to(images.device) for k in ("read", "shot"))
    pixels = images.float()
    spread = (shot[:, None, None, None] * pixels).add_(read[:, None, None, None] ** 2).sqrt_()
    return to_uint8(spread.mul_(field).add_(pixels))


def _normal_field(keys: NDArray[np.int64], grey: Tensor) -> Tensor:
    """(N, 3, 112, 112) standard normal numbers, each face from its own counter-based generator.

    Sixteen random bits index the normal quantiles: the same numbers on every device, up to 4.3 sigmas. Where
    `grey` (N, 1, 1, 1) is true, the channels have the same numbers.
    """
    count = int(np.prod(_SHAPE))
    words = np.stack([np.random.Philox(key=int(key)).random_raw(count // 4) for key in keys])
    bits = words.view(np.uint16).reshape(-1, *_SHAPE)
    alike = np.flatnonzero(grey.cpu().numpy())
    bits[alike, 1:] = bits[alike, :1]
    index = torch.from_numpy(bits.astype(np.int32).ravel()).to(grey.device)
    return _quantiles().to(grey.device).index_select(0, index).reshape(bits.shape)


@cache
def _quantiles() -> Tensor:
    return torch.from_numpy(ndtri((np.arange(2**16) + 0.5) / 2**16).astype(np.float32))


OPERATOR = Operator(
    name="noise",
    levels=tuple(  # at mid-grey: standard deviation of 5, 10, 16 and 25 grey levels
        {"read": read, "shot": shot} for read, shot in ((2.0, 0.2), (4.0, 0.6), (8.0, 1.5), (14.0, 3.5))
    ),
    draws=3,
    sample=sample,
    apply=apply,
)
