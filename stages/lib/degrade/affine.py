"""Affine maps of faces, each face for itself."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.lib.degrade.operator import SIDE


def invert(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverse of affine maps (N, 2, 3), in closed form so that no batched solver decides the last bit."""
    a, b, tx, c, d, ty = np.moveaxis(matrix.reshape(-1, 6), 1, 0)
    rows = np.stack([d, -b, b * ty - d * tx, -c, a, c * tx - a * ty], axis=1)
    return (rows / (a * d - b * c)[:, None]).reshape(-1, 2, 3)


def pixel_maps(matrix: NDArray[np.float64], device: torch.device) -> tuple[Tensor, Tensor]:
    """Where each pixel of the result lies in the source: x and y, (N, 112, 112) float32."""
    m = torch.from_numpy(matrix.astype(np.float32)).to(device)[..., None, None]
    axis = torch.arange(SIDE, dtype=torch.float32, device=device)
    x, y = axis[None, None, :], axis[None, :, None]
    return m[:, 0, 0] * x + m[:, 0, 1] * y + m[:, 0, 2], m[:, 1, 0] * x + m[:, 1, 1] * y + m[:, 1, 2]
