"""Drawings of face masks on the template face, ready to be warped onto others."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import make_interp_spline

from stages.lib.geometry.template import ARCFACE_TEMPLATE

Grid = NDArray[np.floating[Any]]

SCALE: Final = 2.0  # canvas pixels per template pixel
ORIGIN: Final = -14.0  # template coordinate of the canvas' first pixel, in x and y
CANVAS: Final = 281
AXIS: Final = float(ARCFACE_TEMPLATE[:, 0].mean())  # x of the face's symmetry axis

FITS: Final = {"below_nose": 82.0, "nose": 69.0, "bridge": 60.0}
"""How the mask is worn: y of its upper edge on the axis, in template pixels."""

_CHIN = 124.0
_SUPERSAMPLE = 16  # OpenCV's fixed-point shift of polygon vertices: 4 bits


@dataclass(frozen=True)
class Shape:
    """A kind of mask.

    Attributes:
        outline: half of the rim from the upper to the lower end of the axis: distance from the axis and y in
            template pixels, for the fit "bridge".
        corners: indices of `outline` where the rim has a corner; a strap leaves from each.
        tints: RGB of common fabrics.
    """

    outline: tuple[tuple[float, float], ...]
    corners: tuple[int, ...]
    tints: tuple[tuple[int, int, int], ...]


SHAPES: Final = {
    "surgical": Shape(
        outline=((0, 60), (9, 62), (23, 69), (36, 74), (36.5, 88), (33, 103), (22, 115), (10, 122), (0, 124)),
        corners=(3, 5),
        tints=((150, 190, 215), (120, 175, 205), (235, 238, 240), (150, 205, 185), (40, 42, 46)),
    ),
    "cloth": Shape(
        outline=((0, 60), (8, 61), (20, 68), (40, 71), (42, 84), (39, 99), (26, 114), (11, 122), (0, 124)),
        corners=(3, 5),
        tints=((35, 36, 40), (40, 55, 95), (125, 35, 45), (110, 115, 120), (60, 85, 65), (200, 190, 175)),
    ),
    "n95": Shape(
        outline=((0, 60), (7, 61), (15, 67), (25, 75), (32, 87), (33, 98), (27, 111), (13, 121), (0, 124)),
        corners=(3, 6),
        tints=((238, 238, 234), (225, 222, 212), (205, 215, 222)),
    ),
}


@cache
def drawing(shape: str, fit: str) -> NDArray[np.float32]:
    """A mask on the canvas, symmetric about the axis.

    Returns:
        (3, CANVAS, CANVAS): alpha in [0, 1]; brightness relative to the tint, about 1; shadow on the skin
        around the rim in [0, 1].
    """
    half = _rim(shape, fit)
    outline = np.concatenate([half, half[::-1] * [-1, 1]])
    cover = _filled(outline)
    worn = np.maximum(cover, _straps(shape, fit))
    alpha = cv2.GaussianBlur(worn, (0, 0), 0.6 * SCALE).clip(0, 1)
    shadow = cv2.GaussianBlur(cover, (0, 0), 2.5 * SCALE)
    brightness = _brightness(shape, fit, cover)
    return np.stack([alpha, brightness, shadow]).astype(np.float32)


@cache
def upper_end(shape: str, fit: str) -> float:
    """Template y of the first row of the canvas where the drawing covers or shades anything."""
    alpha, _, shadow = drawing(shape, fit)
    return ORIGIN + float(np.flatnonzero((alpha + shadow).any(axis=1))[0]) / SCALE


def _rim(shape: str, fit: str) -> NDArray[np.float64]:
    """Half of the rim, (n, 2), smooth between its corners; a lower fit squeezes it towards the chin."""
    kind = SHAPES[shape]
    points = np.array(kind.outline)
    ends = [0, *kind.corners, len(points) - 1]
    arcs = []
    for first, last in pairwise(ends):
        knots = points[first : last + 1]
        curve = make_interp_spline(np.arange(len(knots)), knots, k=min(2, len(knots) - 1))
        arcs.append(curve(np.linspace(0, len(knots) - 1, 24)))
    rim = np.concatenate(arcs)
    rim[:, 1] = _CHIN - (_CHIN - rim[:, 1]) * (_CHIN - FITS[fit]) / (_CHIN - FITS["bridge"])
    return rim


def _straps(shape: str, fit: str) -> NDArray[np.float32]:
    """Ear loops: from each corner outwards to the height of the ear."""
    kind = SHAPES[shape]
    canvas = np.zeros((CANVAS, CANVAS), np.float32)
    squeeze = (_CHIN - FITS[fit]) / (_CHIN - FITS["bridge"])
    for corner, ear in zip(kind.corners, ((45.0, 64.0), (45.0, 77.0)), strict=True):
        x, y = kind.outline[corner]
        for side in (-1, 1):
            ends = np.array([(side * x, _CHIN - (_CHIN - y) * squeeze), (side * ear[0], ear[1])])
            cv2.polylines(canvas, [_vertices(ends)], False, 0.8, 2, cv2.LINE_AA, shift=4)
    return canvas


def _brightness(shape: str, fit: str, cover: NDArray[np.float32]) -> NDArray[np.float32]:
    """Light on the fabric: rounded towards the cheeks, a little darker below, and the details of its kind."""
    y, x = (np.indices((CANVAS, CANVAS)) / SCALE + ORIGIN).astype(np.float64)
    side, height = (x - AXIS) / 48, (y - FITS[fit]) / (_CHIN - FITS[fit])
    light = 1.07 - 0.50 * side**2 - 0.16 * np.clip(height, 0, 1) ** 2
    return (light * _DETAILS[shape](x, y, height, cover)).astype(np.float32)


def _pleats(x: Grid, y: Grid, height: Grid, cover: Grid) -> Grid:
    """Three horizontal folds, each a dark crease under a light edge, and the metal strip on the nose."""
    folds = np.ones_like(x)
    bow = 0.05 * ((x - AXIS) / 36) ** 2
    for at in (0.30, 0.50, 0.70):
        distance = (height - at + bow) * 64
        folds += 0.05 * np.exp(-((distance + 1.6) ** 2)) - 0.17 * np.exp(-((distance / 1.1) ** 2))
    return folds - _nose_strip(x, height)


def _sewn(x: Grid, y: Grid, height: Grid, cover: Grid) -> Grid:
    """A seam down the middle, a hem along the rim and soft folds away from the nose."""
    seam = 0.10 * np.exp(-(((x - AXIS) / 0.9) ** 2))
    inside = cv2.distanceTransform((cover > 0.5).astype(np.uint8), cv2.DIST_L2, 5) / SCALE
    hem = 0.14 * np.exp(-((inside - 3.0) ** 2))
    folds = 0.05 * np.sin(0.11 * (np.abs(x - AXIS) + 1.5 * y))
    return 1 - seam - hem + folds


def _cup(x: Grid, y: Grid, height: Grid, cover: Grid) -> Grid:
    """A stiff cup: bright in the middle, a welded rim, a ridge and the metal strip on the nose."""
    bulge = np.exp(-(((x - AXIS) / 20) ** 2) - ((height - 0.45) / 0.35) ** 2)
    inside = cv2.distanceTransform((cover > 0.5).astype(np.uint8), cv2.DIST_L2, 5) / SCALE
    weld = 0.12 * np.exp(-(((inside - 2.5) / 0.7) ** 2))
    ridge = 0.10 * np.exp(-(((height - 0.62 + 0.12 * ((x - AXIS) / 30) ** 2) * 64 / 1.2) ** 2))
    return 0.88 + 0.16 * bulge - weld - ridge - _nose_strip(x, height)


def _nose_strip(x: Grid, height: Grid) -> Grid:
    bend = 0.25 * ((x - AXIS) / 22) ** 2
    along = np.clip(1.4 - np.abs(x - AXIS) / 12, 0, 1)
    return 0.10 * along * np.exp(-(((height - 0.07 - bend) * 64 / 1.2) ** 2))


_DETAILS: Final = {"surgical": _pleats, "cloth": _sewn, "n95": _cup}


def _filled(points: NDArray[np.float64]) -> NDArray[np.float32]:
    canvas = np.zeros((CANVAS, CANVAS), np.float32)
    cv2.fillPoly(canvas, [_vertices(points)], 1.0, cv2.LINE_8, shift=4)
    return np.maximum(canvas, canvas[:, ::-1])


def _vertices(points: NDArray[np.float64]) -> NDArray[np.int32]:
    """Points relative to the axis (x) in template pixels to OpenCV's fixed-point canvas coordinates."""
    absolute = points + np.array([AXIS, 0.0])
    return np.round((absolute - ORIGIN) * SCALE * _SUPERSAMPLE).astype(np.int32)
