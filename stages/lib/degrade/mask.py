"""A synthetic face mask, drawn over the landmarks."""

from __future__ import annotations

import numpy as np
import torch
from kornia.geometry.transform import remap
from numpy.typing import NDArray
from torch import Tensor

from stages.lib.classes import Label
from stages.lib.degrade.affine import invert, pixel_maps
from stages.lib.degrade.colour import monochrome
from stages.lib.degrade.keys import Uniform, between, pick
from stages.lib.degrade.mask_shapes import FITS, ORIGIN, SCALE, SHAPES, drawing
from stages.lib.degrade.operator import SIDE, Landmarks, Operator, Params
from stages.lib.geometry.template import ARCFACE_TEMPLATE

_CORNERS = [0, 1, 3, 4]  # eyes and mouth: the plane of the face
_NOSE = 2
_NOSE_REACH = 22.0  # template pixels over which the nose's own shift fades by half
_NOSE_LIMIT = 14.0  # template pixels; a larger shift would fold the mask


def sample(u: Uniform) -> Params:
    """Kind of mask, how it is worn, and its tint as RGB before the light of the scene."""
    shape = pick(u[:, 0], tuple(SHAPES))
    palettes = [SHAPES[str(name)].tints for name in shape]
    tint = np.array([palette[int(x * len(palette))] for palette, x in zip(palettes, u[:, 2], strict=True)])
    tint = np.clip(np.round(tint.reshape(-1, 3) + between(u[:, 3:6], -14.0, 14.0)), 0, 255).astype(np.int64)
    return {"shape": shape, "fit": pick(u[:, 1], tuple(FITS)), "tint": tint}


def apply(images: Tensor, params: Params, landmarks: Landmarks) -> Tensor:
    """Put a mask on each face."""
    return wear(images, params, landmarks)[0]


def wear(images: Tensor, params: Params, landmarks: Landmarks) -> tuple[Tensor, Tensor]:
    """Put a mask on each face, and say where.

    Args:
        images: (N, 3, 112, 112) uint8 RGB; not modified, and the result shares no memory with it.
        params: as from `sample`.
        landmarks: (N, 5, 2) in aligned pixels.

    Returns:
        masked: (N, 3, 112, 112) uint8 RGB.
        occluder: (N, 1, 112, 112) float32, how much of the pixel is mask, 0 to 1.

    Raises:
        ValueError: a face's eye and mouth landmarks lie on a line.
    """
    alpha, brightness, shadow = _warped_drawings(params, landmarks, images.device).split(1, dim=1)
    skin = images.float() * (1 - 0.30 * shadow)
    fabric = _tint(images, params["tint"]) * brightness * _light(images)
    blended = alpha * fabric + (1 - alpha) * skin
    return blended.add_(0.5).floor_().clamp_(0, 255).to(torch.uint8), alpha


def relabel(classes: Tensor, params: Params, landmarks: Landmarks) -> Tensor:
    """Call mask what a mask covers by half or more."""
    alpha = _warped_drawings(params, landmarks, classes.device)[:, 0]
    return torch.where(alpha >= 0.5, int(Label.MASK), classes)


def _warped_drawings(params: Params, landmarks: Landmarks, device: torch.device) -> Tensor:
    """(N, 3, 112, 112): alpha, brightness and shadow of each face's mask, at its landmarks."""
    map_x, map_y = _canvas_maps(landmarks, device)
    out = torch.empty((len(landmarks), 3, SIDE, SIDE), device=device)
    for shape, fit in set(zip(params["shape"].tolist(), params["fit"].tolist(), strict=True)):
        same = np.flatnonzero((params["shape"] == shape) & (params["fit"] == fit))
        where = torch.from_numpy(same).to(device)
        canvas = torch.from_numpy(drawing(shape, fit)).to(device).expand(len(same), -1, -1, -1)
        out[where] = remap(canvas, map_x[where], map_y[where], align_corners=True)
    return out


def _canvas_maps(landmarks: Landmarks, device: torch.device) -> tuple[Tensor, Tensor]:
    """Where each pixel of a face lies on the mask's canvas: x and y, (N, 112, 112).

    An affine map takes the plane of eyes and mouth to the template; around the nose, which leaves that plane
    when the head turns, a bump brings the mask's ridge onto it: 1 at the nose, 1/2 at `_NOSE_REACH`.
    """
    points = np.asarray(landmarks, dtype=np.float64)
    to_template = _plane(points)
    nose = np.einsum("nij,nj->ni", to_template[:, :, :2], points[:, _NOSE]) + to_template[:, :, 2]
    shift = np.clip(ARCFACE_TEMPLATE[_NOSE] - nose, -_NOSE_LIMIT, _NOSE_LIMIT)
    x, y = pixel_maps(to_template, device)
    centre, move = (torch.from_numpy(v.astype(np.float32)).to(device)[..., None, None] for v in (nose, shift))
    distance = (x - centre[:, 0]) ** 2 + (y - centre[:, 1]) ** 2
    bump = _NOSE_REACH**2 / (_NOSE_REACH**2 + distance)
    return (x + move[:, 0] * bump - ORIGIN) * SCALE, (y + move[:, 1] * bump - ORIGIN) * SCALE


def _plane(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 2, 3) affine maps, face to template, that fit eyes and mouth corners best."""
    corners = np.column_stack([ARCFACE_TEMPLATE[_CORNERS], np.ones(len(_CORNERS))])
    to_face = np.einsum("ck,nkd->ndc", np.linalg.pinv(corners), points[:, _CORNERS])
    area = to_face[:, 0, 0] * to_face[:, 1, 1] - to_face[:, 0, 1] * to_face[:, 1, 0]
    flat = np.flatnonzero(np.abs(area) < 1e-3)
    if flat.size:
        raise ValueError(f"eyes and mouth of faces {flat[:5].tolist()} of the batch lie on a line: no mask fits")
    return invert(to_face)


def _tint(images: Tensor, tint: NDArray[np.int64]) -> Tensor:
    """(N, 3, 1, 1) colour of the fabric; grey on a monochrome photograph."""
    colour = torch.from_numpy(tint.astype(np.float32)).to(images.device)[..., None, None]
    grey = 0.299 * colour[:, :1] + 0.587 * colour[:, 1:2] + 0.114 * colour[:, 2:]
    return torch.where(monochrome(images), grey, colour)


def _light(images: Tensor) -> Tensor:
    """(N, 1, 1, 112) light of the scene on the mask, from the middle of the face: its level and its fall-off.

    Sums are of whole numbers, thus the same in any order.
    """
    middle = images[:, :, 56:92, 30:82].long()
    right, left = (half.sum(dim=(1, 2, 3)).float() for half in middle.chunk(2, dim=-1))
    total = right + left
    level = (0.40 + 0.60 * total / (middle[0].numel() * 140.0)).clamp(0.45, 1.08)
    slope = ((left - right) / total.clamp(min=1.0)).clamp(-0.35, 0.35)
    across = torch.linspace(-1.0, 1.0, images.shape[-1], device=images.device)
    return (level[:, None] * (1 + slope[:, None] * across))[:, None, None, :]


OPERATOR = Operator(
    name="mask",
    levels=tuple({"fit": fit} for fit in FITS),  # below the nose, over its tip, up to the bridge
    draws=6,
    sample=sample,
    apply=apply,
    relabel=relabel,
)
