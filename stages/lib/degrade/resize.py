"""Image resizing as matrices."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stages.lib.degrade.fixed_point import quantise

KERNELS = {
    "nearest": Image.Resampling.NEAREST,
    "area": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@cache
def resize_matrix(source: int, target: int, kernel: str) -> NDArray[np.float32]:
    """Weights that bring a column of `source` pixels to `target` pixels, in units of `fixed_point.UNIT`.

    Resizing the identity yields Pillow's own filter: where it shrinks, widened against aliases, save nearest.

    Returns:
        (target, source), each row sums to `UNIT`.
    """
    identity = Image.fromarray(np.eye(source, dtype=np.float32))
    matrix = quantise(np.asarray(identity.resize((source, target), KERNELS[kernel])))
    matrix.setflags(write=False)
    return matrix
