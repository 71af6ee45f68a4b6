"""Wrong exposure, contrast and white balance."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.lib.degrade.colour import monochrome
from stages.lib.degrade.keys import Uniform, between, pick
from stages.lib.degrade.operator import Landmarks, Operator, Params

_DISPLAY_GAMMA = 2.2


def sample(u: Uniform) -> Params:
    """Error of the exposure in stops and its sign, exponent of the tone curve, shift of the white balance.

    `cast` is in stops: red gains as much as blue loses.
    """
    return {
        "stops": between(u[:, 0], 0.0, 2.0),
        "sign": pick(u[:, 1], (-1, 1)),
        "gamma": between(u[:, 2], 0.8, 1.25),
        "cast": between(u[:, 3], -0.35, 0.35),
    }


def apply(images: Tensor, params: Params, landmarks: Landmarks) -> Tensor:
    """Look each pixel up in its face's tone curves; a monochrome face gets no cast."""
    curves = torch.from_numpy(tone_curves(params)).to(images.device)
    curves = torch.where(monochrome(images).squeeze(-1), curves[:, 1:2], curves)
    return curves.gather(2, images.flatten(2).long()).view_as(images)


def tone_curves(params: Params) -> NDArray[np.uint8]:
    """(N, 3, 256) curves of red, green and blue.

    The gain acts on linear light, taken as pixel ** 2.2, and clips there as a sensor does.
    """
    light = (np.arange(256) / 255) ** _DISPLAY_GAMMA
    cast = params["cast"][:, None] * np.array([1.0, 0.0, -1.0])
    gain = 2.0 ** (params["sign"] * params["stops"])[:, None] * 2.0**cast
    exposed = np.clip(gain[:, :, None] * light, 0, 1) ** (params["gamma"][:, None, None] / _DISPLAY_GAMMA)
    return np.floor(255 * exposed + 0.5).astype(np.uint8)


OPERATOR = Operator(
    name="exposure",
    levels=tuple({"stops": stops} for stops in (0.5, 1.0, 1.5, 2.0)),  # over or under, half the faces each
    draws=4,
    sample=sample,
    apply=apply,
)
