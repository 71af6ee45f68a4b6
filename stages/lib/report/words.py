"""Names that people read, and figures as they are printed."""

from __future__ import annotations

import math
from typing import Final

from stages.lib.metrics.bootstrap import Estimate
from stages.lib.report.conditions import ALL, BOTH, CLEAN, DEGRADED, POOLED, TRANSFER, YAW
from stages.lib.report.pool import Difference

_CONDITIONS: Final = {
    ALL: "clean, all test people",
    CLEAN: "clean, people of the grid",
    DEGRADED: "mean of the degraded cells",
    POOLED: "all degraded cells, one threshold",
}
_METRICS: Final = {
    "eer": "EER",
    "rank1": "rank-1",
    "fnmr": "FNMR",
    "fmr": "FMR",
    "tar": "TAR",
    "zerofmr": "ZeroFMR",
    "fdr": "FDR",
    "genuine_mean": "genuine mean",
    "impostor_mean": "impostor mean",
    "cover_auc": "AUC, drawn against bare",
    "cover_recall": "covered cells found, %",
    "cover_false": "bare cells called covered, %",
    "cover_found": "of the square covered: map, %",
    "cover_true": "of the square covered: truth, %",
}
OPERATORS: Final = {
    "clean": "the aligned face as it is",
    "low_resolution": "shrunk to 32, 24, 16, 12, 8 pixels and brought back by changing kernels",
    "blur": "out of focus, by a Gaussian of 1, 2, 3, 4.5 pixels",
    "motion_blur": "the face or the camera moved, by 5, 9, 13, 19 pixels",
    "noise": "a dark scene or a cheap sensor: a deviation of 5, 10, 16, 25 grey levels at mid-grey",
    "jpeg": "compressed hard, to quality 50, 30, 18, 8",
    "exposure": "too dark or too light, by 0.5, 1, 1.5, 2 stops",
    "mask": "a face mask is drawn: below the nose, over its tip, up to its bridge",
    "occlusion": "a hand, a strap or a thing is held before the face, over 6, 12, 22, 36 % of the picture",
    "misalignment": "landmarks off by 2, 4, 7, 10 pixels, so the face sits askew in its frame",
    "wrong_landmarker": "five points of another convention: the nose at its base, the inner corners of the eyes, the "
    "outer ones; all five 8 pixels aside",
    "box_only": "cut out by a detector's box alone, the head rolled by 4, 20, 40 degrees",
}
"""What each operator stands for, severity by severity from 1; pixels are of the 112x112 face."""


def operator_label(operator: str) -> str:
    """`low_resolution` -> `low resolution`."""
    return operator.replace("_", " ")


def condition_label(condition: str) -> str:
    """`both_mask-2` -> `mask 2, both faces`, `transfer_orl_yaw_15-30` -> `transfer to orl, yaw 15 to 30°`."""
    if YAW in condition:
        people, _, degrees = condition.partition(YAW)
        label = f"yaw {degrees.replace('-', ' to ')}°"
        return f"{condition_label(people.rstrip('_'))}, {label}" if people else label
    if condition.startswith(TRANSFER):
        return f"transfer to {condition.removeprefix(TRANSFER)}"
    if condition.startswith(BOTH):
        return f"{condition_label(condition.removeprefix(BOTH))}, both faces"
    return _CONDITIONS.get(condition, condition.replace("_", " ").replace("-", " "))


def metric_label(metric: str) -> str:
    """`fnmr@1e-2` -> `FNMR at FMR 1 %`."""
    name, _, target = metric.partition("@")
    label = _METRICS.get(name, name)
    if target == "frozen":
        return f"{label} at the clean threshold"
    return f"{label} at FMR {100 * float(target):g} %" if target else label


def span(estimate: Estimate) -> str:
    """An interval in percent: `(3.1 to 5.6)`; empty where there is none."""
    return "" if math.isnan(estimate.low) else f"({100 * estimate.low:.1f} to {100 * estimate.high:.1f})"


def plain_span(estimate: Estimate, digits: int = 2) -> str:
    """An interval in the figure's own unit: `(0.31 to 0.56)`; empty where there is none."""
    return "" if math.isnan(estimate.low) else f"({estimate.low:.{digits}f} to {estimate.high:.{digits}f})"


def points(difference: Difference) -> str:
    """A difference and its interval in percentage points: `-2.0 (-3.4 to -0.8)`."""
    e = difference.estimate
    return f"{100 * e.value:+.1f} ({100 * e.low:+.1f} to {100 * e.high:+.1f})"
