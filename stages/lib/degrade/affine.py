"""Affine maps of faces, each face for itself, and pictures taken along maps."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import grid_sample

from stages.lib.degrade.operator import SIDE


def invert(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverse of affine maps (N, 2, 3), in closed form so that no batched solver decides the last bit."""
    a, b, tx, c, d, ty = np.moveaxis(matrix.reshape(-1, 6), 1, 0)
    rows = np.stack([d, -b, b * ty - d * tx, -c, a, c * tx - a * ty], axis=1)
    return (rows / (a * d - b * c)[:, None]).reshape(-1, 2, 3)


def pixel_maps(matrix: NDArray[np.float64], device: torch.device, top: int = 0) -> tuple[Tensor, Tensor]:
    """Where each pixel of the result from row `top` on lies in the source: x and y, (N, 112 - top, 112) float32."""
    m = torch.from_numpy(matrix.astype(np.float32)).to(device)[..., None, None]
    axis = torch.arange(SIDE, dtype=torch.float32, device=device)
    x, y = axis[None, None, :], axis[None, top:, None]
    return m[:, 0, 0] * x + m[:, 0, 1] * y + m[:, 0, 2], m[:, 1, 0] * x + m[:, 1, 1] * y + m[:, 1, 2]


def remap(values: Tensor, map_x: Tensor, map_y: Tensor, mode: str = "bilinear", padding_mode: str = "zeros") -> Tensor:
    """Values (N, C, H, W) at the pixels that the maps (N, h, w) name: (N, C, h, w).

    To the last bit Kornia's `remap` with `align_corners`; its interleaving of the two maps takes a CPU as long as
    the sampling.
    """
    grid = map_x.new_empty((*map_x.shape, 2))
    torch.mul(map_x, 2 / (values.shape[3] - 1), out=grid[..., 0])
    torch.mul(map_y, 2 / (values.shape[2] - 1), out=grid[..., 1])
    return grid_sample(values, grid.sub_(1), mode=mode, padding_mode=padding_mode, align_corners=True)
