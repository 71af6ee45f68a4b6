"""Blur: out of focus (Gaussian) and moved during the exposure (a line)."""

from __future__ import annotations

import numpy as np
import torch
from kornia.filters import filter2d, get_gaussian_kernel1d
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from stages.lib.degrade.fixed_point import quantise, to_pixels, to_uint8
from stages.lib.degrade.keys import Uniform, between
from stages.lib.degrade.operator import SIDE, Landmarks, Operator, Params

MAX_SIGMA = 4.5
MAX_LENGTH = 21


def gaussian_sample(u: Uniform) -> Params:
    """Standard deviation of the blur in pixels."""
    return {"sigma": between(u[:, 0], 0.5, MAX_SIGMA)}


def gaussian(images: Tensor, params: Params, landmarks: Landmarks) -> Tensor:
    """Blur each face with its own sigma; a fixed window of three sigmas at the largest."""
    window = 2 * int(3 * MAX_SIGMA) + 1
    sigma = torch.from_numpy(params["sigma"].astype(np.float64))
    kernel = quantise(get_gaussian_kernel1d(window, sigma.unsqueeze(1)).numpy())
    kernel = kernel[:, kernel.any(axis=0)]  # of small sigmas most weights are zeros; those left are still centred
    return to_uint8(convolve(convolve(images.float(), kernel[:, None, :]), kernel[:, :, None]))


def motion_sample(u: Uniform) -> Params:
    """Length of the path in pixels and its angle in degrees, counter-clockwise from the right."""
    return {"length": between(u[:, 0], 3.0, MAX_LENGTH - 2.0), "angle": between(u[:, 1], 0.0, 180.0)}


def motion(images: Tensor, params: Params, landmarks: Landmarks) -> Tensor:
    """Blur each face along its own straight path."""
    kernel = line_kernel(params["length"], params["angle"])
    weights = quantise(kernel.reshape(len(kernel), -1)).reshape(kernel.shape)
    blurred = convolve(images.float(), weights) if images.is_cuda else shifted(images.float(), weights)
    return to_uint8(blurred)


def shifted(images: Tensor, weights: NDArray[np.float32]) -> Tensor:
    """As `convolve`, from shifted copies: nine tenths of a line's weights are zeros, which a CPU can spare itself.

    Args:
        images: (N, 3, 112, 112) float32 of whole pixels.
        weights: (N, MAX_LENGTH, MAX_LENGTH) in units of `fixed_point.UNIT`.
    """
    rim = MAX_LENGTH // 2
    padded = pad(images, (rim, rim, rim, rim), "reflect")
    sums = torch.zeros_like(images)
    for face, total, weight in zip(padded, sums, weights.reshape(len(weights), -1), strict=True):
        for place in np.flatnonzero(weight).tolist():
            y, x = divmod(place, MAX_LENGTH)
            total.add_(face[:, y : y + SIDE, x : x + SIDE], alpha=float(weight[place]))
    return to_pixels(sums)


def line_kernel(length: NDArray[np.float64], angle: NDArray[np.float64]) -> NDArray[np.float64]:
    """Blur kernels of straight paths, one pixel wide with linear fall-off at the rim.

    Args:
        length: (N,) pixels, at most `MAX_LENGTH`.
        angle: (N,) degrees, counter-clockwise from the right.

    Returns:
        (N, MAX_LENGTH, MAX_LENGTH), each sums to 1.
    """
    axis = np.arange(MAX_LENGTH) - MAX_LENGTH // 2
    turn = np.deg2rad(angle)[:, None, None]
    along = axis[None, None, :] * np.cos(turn) - axis[None, :, None] * np.sin(turn)
    across = axis[None, None, :] * np.sin(turn) + axis[None, :, None] * np.cos(turn)
    reach = (length[:, None, None] + 1) / 2
    weight = np.clip(reach - np.abs(along), 0, 1) * np.clip(1 - np.abs(across), 0, 1)
    return weight / weight.sum(axis=(1, 2), keepdims=True)


def convolve(images: Tensor, kernel: NDArray[np.float32]) -> Tensor:
    """Whole pixels of (N, 3, 112, 112) faces under a kernel each, (N, h, w) in units of `fixed_point.UNIT`."""
    weights = torch.from_numpy(kernel).to(images.device)
    # The rounding takes back the error of a convolution that does not sum term by term.
    return to_pixels(filter2d(images, weights, border_type="reflect").round_())


BLUR = Operator(
    name="blur",
    levels=tuple({"sigma": sigma} for sigma in (1.0, 2.0, 3.0, 4.5)),  # pixels
    draws=1,
    sample=gaussian_sample,
    apply=gaussian,
)

MOTION_BLUR = Operator(
    name="motion_blur",
    levels=tuple({"length": length} for length in (5.0, 9.0, 13.0, 19.0)),  # pixels
    draws=2,
    sample=motion_sample,
    apply=motion,
)
