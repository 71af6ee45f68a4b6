"""A face that was cut out by a detector's box alone: nothing puts its eyes level or in their place."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from stages.lib.degrade.keys import Uniform, between, pick
from stages.lib.degrade.operator import SIDE, Landmarks, Operator, Params
from stages.lib.degrade.realign import move_classes, move_pixels

# Means of YuNet's boxes on 250 photographs of LFW, in pixels of the aligned face. Standard deviations of the middle
# are 8.1 and 2.0, mostly with the pose, and of the height 3.6; the width is 82.
_MIDDLE: Final = np.array([56.5, 65.2])
_HEIGHT: Final = 108.7


def sample(u: Uniform) -> Params:
    """Roll of the head in degrees and its sense, side of the square crop by the box's height, error of its middle."""
    return {
        "roll": between(u[:, 0], 0.0, 40.0),
        "sense": pick(u[:, 1], (-1, 1)),
        "margin": between(u[:, 2], 0.95, 1.15),
        "shift": np.stack([between(u[:, 3], -8.0, 8.0), between(u[:, 4], -3.0, 3.0)], axis=1),
    }


def apply(images: Tensor, params: Params, landmarks: Landmarks) -> Tensor:
    """Cut each face out anew; what the aligned face does not show continues its border."""
    return move_pixels(images, transform(params))


def relabel(classes: Tensor, params: Params, landmarks: Landmarks) -> Tensor:
    """Take each segmentation along with its face."""
    return move_classes(classes, transform(params))


def transform(params: Params) -> NDArray[np.float64]:
    """(N, 2, 3) aligned pixel to pixel of the crop: the middle of the box to that of the crop, the head as it hung."""
    turn = np.deg2rad(params["roll"] * params["sense"])
    scale = SIDE / (_HEIGHT * params["margin"])
    linear = scale[:, None, None] * np.stack(
        [np.stack([np.cos(turn), -np.sin(turn)], axis=1), np.stack([np.sin(turn), np.cos(turn)], axis=1)], axis=1
    )
    move = (SIDE - 1) / 2 - np.einsum("nij,nj->ni", linear, _MIDDLE + params["shift"])
    return np.concatenate([linear, move[:, :, None]], axis=2)


OPERATOR = Operator(
    name="box_only",
    levels=tuple({"roll": roll} for roll in (4.0, 20.0, 40.0)),  # degrees, to either side
    draws=5,
    sample=sample,
    apply=apply,
    relabel=relabel,
    moves=True,
)
