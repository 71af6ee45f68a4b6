"""Something before the face: a hand, an arm or a strap, a telephone or a cup."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.lib.classes import Label
from stages.lib.degrade.colour import tinted
from stages.lib.degrade.fixed_point import to_pixels, to_uint8
from stages.lib.degrade.groups import by_group, rows
from stages.lib.degrade.keys import Uniform, between, pick
from stages.lib.degrade.occluder_shapes import SHAPES
from stages.lib.degrade.operator import SIDE, Landmarks, Operator, Params
from stages.lib.degrade.resize import resize_matrix

_SKIN: Final = ((236, 196, 172), (214, 164, 132), (172, 120, 88), (122, 80, 56), (78, 52, 38))
_THINGS: Final = ((30, 32, 36), (240, 238, 232), (150, 40, 45), (45, 80, 140), (70, 110, 75), (190, 150, 90))
_GRAIN: Final = 28  # cells of the texture across the picture


def sample(u: Uniform) -> Params:
    """What is held there and where: middle in pixels, degrees clockwise, share of the picture that it hides.

    `aspect` is of its sides, `soft` the width of its edge in pixels, `tint` its RGB before the light of the scene,
    `grain` the strength of its texture and `field` the key of that.
    """
    shape = pick(u[:, 0], tuple(SHAPES))
    palettes = [_SKIN if name == "hand" else _THINGS for name in shape]
    tint = np.array([palette[int(x * len(palette))] for palette, x in zip(palettes, u[:, 7], strict=True)])
    return {
        "shape": shape,
        "cover": between(u[:, 1], 0.04, 0.4),
        "middle": np.stack([between(u[:, 2], 26.0, 86.0), between(u[:, 3], 40.0, 100.0)], axis=1),
        "angle": between(u[:, 4], -90.0, 90.0),
        "aspect": between(u[:, 5], 0.75, 1.35),
        "soft": between(u[:, 6], 1.0, 3.0),
        "tint": np.clip(tint.reshape(-1, 3) + np.round(between(u[:, 8:11], -14.0, 14.0)), 0, 255).astype(np.int64),
        "grain": between(u[:, 11], 0.0, 0.25),
        "field": (u[:, 12] * 2**53).astype(np.int64),
    }


def apply(images: Tensor, params: Params, landmarks: Landmarks) -> Tensor:
    """Hold the thing before each face."""
    edge = _distance(params, images.device)
    alpha = _alpha(edge, params)
    thing = tinted(images, params["tint"]) * _light(images) * _texture(params, images.device)
    thing.mul_(_shading(edge)).mul_(alpha)
    return to_uint8(thing.add_(images.float().mul_(1 - alpha)))


def relabel(classes: Tensor, params: Params, landmarks: Landmarks) -> Tensor:
    """Call occluder what the thing covers by half or more."""
    alpha = _alpha(_distance(params, classes.device), params)[:, 0]
    return torch.where(alpha >= 0.5, int(Label.OCCLUDER), classes)


def _distance(params: Params, device: torch.device) -> Tensor:
    """(N, 1, 112, 112) pixels to the edge of each face's thing, negative inside."""
    turn, size = np.deg2rad(params["angle"]), SIDE * np.sqrt(params["cover"])
    host = (np.cos(turn), np.sin(turn), *params["middle"].T, size, params["aspect"])
    cos, sin, x0, y0, side, aspect = (_column(values, device) for values in host)
    axis = torch.arange(SIDE, dtype=torch.float32, device=device)
    right, down = axis - x0, axis[:, None] - y0
    x, y = right * cos + down * sin, down * cos - right * sin

    def of_shape(name: str, faces: NDArray[np.intp]) -> Tensor:
        return SHAPES[name](*(rows(values, faces) for values in (x, y, side, aspect)))

    return by_group(params["shape"].tolist(), of_shape)[:, None]


def _alpha(distance: Tensor, params: Params) -> Tensor:
    """(N, 1, 112, 112) how much of each pixel the thing covers, 0 to 1."""
    return (0.5 - distance * _column(1 / params["soft"], distance.device)[:, None]).clamp(0, 1)


def _shading(distance: Tensor) -> Tensor:
    """Darker towards the edge, over 6 pixels, as round things are."""
    return (1.0 + (distance + 6.0) * -0.05).clamp(0.7, 1.0)


def _texture(params: Params, device: torch.device) -> Tensor:
    """(N, 1, 112, 112) brightness about 1: random cells, smooth in between."""
    cells = np.stack([np.random.Philox(key=int(key)).random_raw(_GRAIN**2 // 8) for key in params["field"]])
    field = torch.from_numpy(cells.view(np.uint8).reshape(-1, 1, _GRAIN, _GRAIN)).to(device).float()
    up = torch.from_numpy(np.array(resize_matrix(_GRAIN, SIDE, "bilinear"))).to(device)
    smooth = to_pixels(up @ to_pixels(field @ up.mT))
    return 1.0 + (smooth - 127.5) * _column(params["grain"] / 127.5, device)[:, None]


def _light(images: Tensor) -> Tensor:
    """(N, 1, 1, 1) light of the scene, from the middle of the face; a sum of whole numbers has no order."""
    middle = images[:, :, 40:92, 30:82].long()
    mean = middle.sum(dim=(1, 2, 3)).cpu().numpy() / middle[0].numel()
    return _column(np.clip(0.35 + 0.65 * mean / 140.0, 0.4, 1.1), images.device)[:, None]


def _column(values: NDArray[np.float64], device: torch.device) -> Tensor:
    """(N, 1, 1) float32."""
    return torch.from_numpy(values.astype(np.float32)).to(device)[:, None, None]


OPERATOR = Operator(
    name="occlusion",
    levels=tuple({"cover": cover} for cover in (0.06, 0.12, 0.22, 0.36)),  # share of the picture
    draws=13,
    sample=sample,
    apply=apply,
    relabel=relabel,
)
