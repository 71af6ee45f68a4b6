"""Linear filters in whole numbers, so that the order of summation cannot change a pixel.

Float sums depend on the batch size, the thread count and the device, and one last bit at a rounding boundary
is another pixel. With weights in units of 1/1024 and pixels in 0..255 every product and partial sum is a
whole number below 2**24 and thus exact in float32; both factors also fit the 11 bits of TF32, which a GPU may
use. The price is an error of less than half a grey level on average.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

UNIT = 1024


def quantise(weights: ArrayLike) -> NDArray[np.float32]:
    """Weights that sum to 1 over the last axis, as whole numbers that sum to `UNIT` there.

    What rounding leaves over goes to the largest weight: a flat image keeps its value.
    """
    units = np.round(np.asarray(weights, dtype=np.float64) * UNIT)
    largest = np.abs(units).argmax(axis=-1, keepdims=True)
    rest = UNIT - units.sum(axis=-1, keepdims=True)
    np.put_along_axis(units, largest, np.take_along_axis(units, largest, axis=-1) + rest, axis=-1)
    return units.astype(np.float32)


def to_pixels(weighted: Tensor) -> Tensor:
    """Sums of pixels times quantised weights to whole pixels in 0..255, halves up; in place, stays float32."""
    return weighted.add_(UNIT // 2).div_(UNIT).floor_().clamp_(0, 255)


def to_uint8(values: Tensor) -> Tensor:
    """Grey levels in float32, which are overwritten, to 8 bits: the nearest in 0..255, halves up."""
    # By way of 16 bits: straight from float a CPU takes twice as long.
    return values.add_(0.5).clamp_(0, 255).to(torch.int16).to(torch.uint8)
