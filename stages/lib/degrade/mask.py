"""A synthetic face mask, drawn over the landmarks."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from stages.lib.classes import Label
from stages.lib.degrade.affine import invert, pixel_maps, remap
from stages.lib.degrade.colour import tinted
from stages.lib.degrade.fixed_point import to_uint8
from stages.lib.degrade.groups import by_group, rows
from stages.lib.degrade.keys import Uniform, between, pick
from stages.lib.degrade.mask_shapes import FITS, ORIGIN, SCALE, SHAPES, drawing, upper_end
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
    top, drawings = _warped_drawings(params, landmarks, images.device)
    alpha, brightness, shadow = drawings.split(1, dim=1)
    skin = images[:, :, top:].float().mul_(1 - 0.30 * shadow)
    fabric = (tinted(images, params["tint"]) * brightness).mul_(_light(images))
    covered = to_uint8(fabric.mul_(alpha).add_(skin.mul_(1 - alpha)))
    return torch.cat([images[:, :, :top], covered], dim=2), pad(alpha, (0, 0, top, 0))


def relabel(classes: Tensor, params: Params, landmarks: Landmarks) -> Tensor:
    """Call mask what a mask covers by half or more."""
    top, drawings = _warped_drawings(params, landmarks, classes.device)
    below = torch.where(drawings[:, 0] >= 0.5, int(Label.MASK), classes[:, top:])
    return torch.cat([classes[:, :top], below], dim=1)


def _warped_drawings(params: Params, landmarks: Landmarks, device: torch.device) -> tuple[int, Tensor]:
    """The first row that a mask can reach, and from there on alpha, brightness and shadow of each face's mask.

    Returns:
        row `top` above which no face has mask or shadow; (N, 3, 112 - top, 112).
    """
    kinds = list(zip(params["shape"].tolist(), params["fit"].tolist(), strict=True))
    to_template, nose, shift = _placement(landmarks)
    upper = np.array([upper_end(*kind) for kind in kinds])
    top = _first_row(to_template, shift, upper)
    map_x, map_y = _canvas_maps(to_template, nose, shift, top, device)

    def of_kind(kind: tuple[str, str], faces: NDArray[np.intp]) -> Tensor:
        canvas = torch.from_numpy(drawing(*kind)).to(device).expand(len(faces), -1, -1, -1)
        return remap(canvas, rows(map_x, faces), rows(map_y, faces))

    return top, by_group(kinds, of_kind)


def _placement(landmarks: Landmarks) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Map of the face's plane to the template (N, 2, 3), the nose in it and the shift that it needs (N, 2)."""
    points = np.asarray(landmarks, dtype=np.float64)
    to_template = _plane(points)
    nose = np.einsum("nij,nj->ni", to_template[:, :, :2], points[:, _NOSE]) + to_template[:, :, 2]
    return to_template, nose, np.clip(ARCFACE_TEMPLATE[_NOSE] - nose, -_NOSE_LIMIT, _NOSE_LIMIT)


def _first_row(to_template: NDArray[np.float64], shift: NDArray[np.float64], upper: NDArray[np.float64]) -> int:
    """The first row of the faces with a pixel that lies below the `upper` end of its drawing; 0 if there is none.

    Along a row the plane is lowest at an end, and the bump lowers no pixel by more than its height. Two template
    pixels are for interpolation and rounding.
    """
    along, across, start = to_template[:, 1].T
    lowest = start + np.maximum(along * (SIDE - 1), 0) + np.maximum(shift[:, 1], 0)
    return int((lowest + across * np.arange(SIDE)[:, None] > upper - 2).any(axis=1).argmax())


def _canvas_maps(
    to_template: NDArray[np.float64],
    nose: NDArray[np.float64],
    shift: NDArray[np.float64],
    top: int,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Where each pixel of a face, from the row `top` on, lies on the mask's canvas: x and y, (N, 112 - top, 112).

    An affine map takes the plane of eyes and mouth to the template; around the nose, which leaves that plane
    when the head turns, a bump brings the mask's ridge onto it: 1 at the nose, 1/2 at `_NOSE_REACH`.
    """
    x, y = pixel_maps(to_template, device, top)
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
