"""A face that was small in the picture: shrunk, stored in 8 bits and enlarged again."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.lib.degrade.fixed_point import to_pixels, to_uint8
from stages.lib.degrade.groups import by_group, rows
from stages.lib.degrade.keys import Uniform, pick
from stages.lib.degrade.operator import SIDE, Landmarks, Operator, Params
from stages.lib.degrade.resize import KERNELS, resize_matrix

SIZES = (8, 12, 16, 20, 24, 28, 32, 56)


def sample(u: Uniform) -> Params:
    """Side of the small face in pixels, kernel down and kernel up.

    A network trained on one kernel fails on another, hence the mix.
    """
    kernels = tuple(KERNELS)
    return {"size": pick(u[:, 0], SIZES), "down": pick(u[:, 1], kernels), "up": pick(u[:, 2], kernels)}


def apply(images: Tensor, params: Params, landmarks: Landmarks) -> Tensor:
    """Resize each face with its own size and kernels."""

    def of_size(size: int, faces: NDArray[np.intp]) -> Tensor:
        down = _matrices(SIDE, size, params["down"][faces], images.device)
        up = _matrices(size, SIDE, params["up"][faces], images.device)
        return to_uint8(_resize(_resize(rows(images, faces).float(), down), up))

    return by_group(params["size"].tolist(), of_size)


def _matrices(source: int, target: int, kernels: NDArray[np.str_], device: torch.device) -> Tensor:
    """(n, 1, target, source): the matrix of each face, for all its channels."""
    stack = np.stack([resize_matrix(source, target, str(kernel)) for kernel in kernels])
    return torch.from_numpy(stack).to(device).unsqueeze(1)


def _resize(images: Tensor, matrix: Tensor) -> Tensor:
    """Along x, then y, in whole pixels between the two, as image libraries do."""
    return to_pixels(matrix @ to_pixels(images @ matrix.mT))


OPERATOR = Operator(
    name="low_resolution",
    # Side of the face in pixels. The kernels stay each face's own draw: a fixed one would measure robustness
    # to that kernel.
    levels=tuple({"size": size} for size in (32, 24, 16, 12, 8)),
    draws=3,
    sample=sample,
    apply=apply,
)
