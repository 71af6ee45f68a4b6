"""What a landmark error of the detector does to the aligned face."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from stages.lib.degrade.keys import Uniform, between
from stages.lib.degrade.operator import Landmarks, Operator, Params
from stages.lib.degrade.realign import fitted, move_classes, move_pixels


def sample(u: Uniform) -> Params:
    """Amplitude in template pixels and, as shares of it, each point's error, a shift of all, and a zoom.

    The points' own errors largely cancel in the fit; the shift is the detector's bias that does not.
    """
    offsets = between(u[:, :10], -1.0, 1.0).reshape(-1, 5, 2)
    return {
        "pixels": between(u[:, 10], 0.0, 10.0),
        "offsets": offsets,
        "shift": between(u[:, 11:13], -0.5, 0.5),
        "zoom": between(u[:, 13], -1.0, 1.0),
    }


def apply(images: Tensor, params: Params, landmarks: Landmarks) -> Tensor:
    """Align each face again from wrong landmarks; the border is continued."""
    return move_pixels(images, transform(params, landmarks))


def relabel(classes: Tensor, params: Params, landmarks: Landmarks) -> Tensor:
    """Take each segmentation along with its face."""
    return move_classes(classes, transform(params, landmarks))


def transform(params: Params, landmarks: Landmarks) -> NDArray[np.float64]:
    """(N, 2, 3) aligned pixel to misaligned pixel: the similarity fitted to the wrong points.

    The zoom spreads the points about their mean by 1 % of the face per unit and pixel of amplitude.

    Raises:
        ValueError: a face's landmarks coincide.
    """
    points = np.asarray(landmarks, dtype=np.float64)
    amplitude = params["pixels"][:, None, None]
    centre = points.mean(axis=1, keepdims=True)
    spread = 1 + 0.01 * amplitude * params["zoom"][:, None, None]
    error = amplitude * (params["offsets"] + params["shift"][:, None, :])
    wrong = centre + spread * (points - centre) + error
    return fitted(wrong)


OPERATOR = Operator(
    name="misalignment",
    levels=tuple({"pixels": pixels} for pixels in (2.0, 4.0, 7.0, 10.0)),  # amplitude of the landmark error
    draws=14,
    sample=sample,
    apply=apply,
    relabel=relabel,
    moves=True,
)
