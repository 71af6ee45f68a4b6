"""Names that people read, and figures as they are printed."""

from __future__ import annotations

import math
from typing import Final

from stages.lib.report.conditions import ALL, CLEAN, DEGRADED, POOLED, TRANSFER
from stages.lib.report.pool import Difference, Estimate

_CONDITIONS: Final = {
    ALL: "clean, all test people",
    CLEAN: "clean, people of the grid",
    DEGRADED: "mean of the degraded cells",
    POOLED: "all degraded cells, one threshold",
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
    "misalignment": "landmarks off by 2, 4, 7, 10 pixels, so the face sits askew in its frame",
}
"""What each operator stands for, severity by severity from 1; pixels are of the 112x112 face."""


def operator_label(operator: str) -> str:
    """`low_resolution` -> `low resolution`."""
    return operator.replace("_", " ")


def condition_label(condition: str) -> str:
    """`low_resolution-4` -> `low resolution 4`, `transfer_orl` -> `transfer to orl`."""
    if condition.startswith(TRANSFER):
        return f"transfer to {condition.removeprefix(TRANSFER)}"
    return _CONDITIONS.get(condition, condition.replace("_", " ").replace("-", " "))


def metric_label(metric: str) -> str:
    """`fnmr@1e-2` -> `FNMR at FMR 1 %`."""
    name, _, target = metric.partition("@")
    known = {"eer": "EER", "rank1": "rank-1", "fnmr": "FNMR", "fmr": "FMR", "tar": "TAR", "fdr": "FDR"}
    label = known.get(name, name)
    if target == "frozen":
        return f"{label} at the clean threshold"
    return f"{label} at FMR {100 * float(target):g} %" if target else label


def span(estimate: Estimate) -> str:
    """An interval in percent: `(3.1 to 5.6)`; empty where there is none."""
    return "" if math.isnan(estimate.low) else f"({100 * estimate.low:.1f} to {100 * estimate.high:.1f})"


def points(difference: Difference) -> str:
    """A difference and its interval in percentage points: `-2.0 (-3.4 to -0.8)`."""
    e = difference.estimate
    return f"{100 * e.value:+.1f} ({100 * e.low:+.1f} to {100 * e.high:+.1f})"
