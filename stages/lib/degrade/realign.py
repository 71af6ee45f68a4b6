"""Faces taken to where another alignment would have put them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, uint8

from stages.lib.degrade.affine import invert, pixel_maps, remap
from stages.lib.degrade.fixed_point import to_uint8
from stages.lib.geometry.template import similarity


def fitted(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 2, 3) similarities that bring the points that a landmarker gave (N, 5, 2) to the template.

    Raises:
        ValueError: a face's landmarks coincide.
    """
    matrix = similarity(points)[0]
    if not np.isfinite(matrix).all():
        raise ValueError("the landmarks of a face coincide: it cannot be aligned; reject it before it is degraded")
    return matrix


def move_pixels(images: Tensor, matrix: NDArray[np.float64]) -> Tensor:
    """Take faces (N, 3, 112, 112) uint8 through their own maps (N, 2, 3); the border is continued."""
    return to_uint8(_warp(images.float(), matrix, "bilinear"))


def move_classes(classes: Tensor, matrix: NDArray[np.float64]) -> Tensor:
    """The same for segmentations (N, 112, 112) uint8: no class is made up between two others."""
    return _warp(classes[:, None].float(), matrix, "nearest")[:, 0].to(uint8)


def _warp(values: Tensor, matrix: NDArray[np.float64], mode: str) -> Tensor:
    map_x, map_y = pixel_maps(invert(matrix), values.device)
    return remap(values, map_x, map_y, mode=mode, padding_mode="border")
