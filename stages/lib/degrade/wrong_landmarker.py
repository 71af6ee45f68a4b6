"""What becomes of a face whose five points follow another convention than the template's."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from stages.lib.degrade.keys import Uniform, between, pick
from stages.lib.degrade.operator import Landmarks, Operator, Params
from stages.lib.degrade.realign import fitted, move_classes, move_pixels
from stages.lib.geometry.template import ARCFACE_TEMPLATE

CONVENTIONS: Final = {
    "nose_base": ((0.0, 0.0), (0.0, 0.0), (0.0, 6.5), (0.0, 0.0), (0.0, 0.0)),
    "inner_corners": ((8.6, 0.5), (-8.6, 0.5), (0.0, 6.5), (0.9, 0.3), (-0.9, 0.3)),
    "outer_corners": ((-7.2, -0.1), (7.2, -0.1), (0.0, 6.5), (0.0, 0.0), (0.0, 0.0)),
    "narrow_template": ((8.0, 0.0),) * 5,
}
"""Systematic offset of each of the five points in template pixels, from mild to hard.

The nose at its base and not its tip; eyes and mouth at their inner corners, or eyes at the outer ones: medians over 52
near-frontal faces of the cohort, whose 68 points of iBUG 300-W hold those places, mirrored. `narrow_template`: a
face fitted to the five points of the 96x112 crop on a canvas of 112x112, 8 pixels to the left (Liu et al., SphereFace,
CVPR 2017, had the narrow crop; ArcFace, CVPR 2019, the wide one).
"""
_PLANE = np.linalg.pinv(np.column_stack([ARCFACE_TEMPLATE, np.ones(5)]))[:2]


def sample(u: Uniform) -> Params:
    """Whose convention it is, and how far this landmarker goes with it."""
    return {"convention": pick(u[:, 0], tuple(CONVENTIONS)), "strength": between(u[:, 1], 0.7, 1.3)}


def apply(images: Tensor, params: Params, landmarks: Landmarks) -> Tensor:
    """Align each face again from the other convention's points; the border is continued."""
    return move_pixels(images, transform(params, landmarks))


def relabel(classes: Tensor, params: Params, landmarks: Landmarks) -> Tensor:
    """Take each segmentation along with its face."""
    return move_classes(classes, transform(params, landmarks))


def transform(params: Params, landmarks: Landmarks) -> NDArray[np.float64]:
    """(N, 2, 3) aligned pixel to misaligned pixel.

    The offsets follow the face: they shrink with it where the head is turned.

    Raises:
        ValueError: a face's landmarks coincide.
    """
    points = np.asarray(landmarks, dtype=np.float64)
    offsets = np.array([CONVENTIONS[str(name)] for name in params["convention"]]).reshape(-1, 5, 2)
    to_face = np.einsum("ck,nkd->ncd", _PLANE, points)  # how the face's points change along the template's x and y
    return fitted(points + params["strength"][:, None, None] * np.einsum("npc,ncd->npd", offsets, to_face))


OPERATOR = Operator(
    name="wrong_landmarker",
    levels=tuple({"convention": name} for name in CONVENTIONS),
    draws=2,
    sample=sample,
    apply=apply,
    relabel=relabel,
    moves=True,
)
