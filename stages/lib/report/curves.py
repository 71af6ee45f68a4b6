"""DET curves thinned to what a plot can show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.lib.metrics.verification import det_curve

POINTS = 200


@dataclass(frozen=True)
class Curve:
    """A DET curve in a picture.

    Attributes:
        condition: what the pairs show.
        fmr: (T,) falling, above 0.
        fnmr: (T,) rising, above 0.
    """

    condition: str
    fmr: NDArray[np.float64]
    fnmr: NDArray[np.float64]


def thinned_det(condition: str, scores: NDArray[np.float32], genuine: NDArray[np.bool_]) -> Curve:
    """At most `POINTS` points of a DET curve, evenly spread on the logarithmic FMR axis.

    Args:
        condition: label of the curve.
        scores: (P,) similarities.
        genuine: (P,) whether a pair shows one subject.
    """
    det = det_curve(scores, genuine)
    shown = (det.fmr > 0) & (det.fnmr > 0)  # a logarithmic axis has no 0
    fmr, fnmr = det.fmr[shown], det.fnmr[shown]
    if len(fmr) > POINTS:
        wanted = np.geomspace(fmr[0], fmr[-1], POINTS)
        rows = np.unique(np.clip(np.searchsorted(-fmr, -wanted), 0, len(fmr) - 1))
        fmr, fnmr = fmr[rows], fnmr[rows]
    return Curve(condition, fmr, fnmr)
