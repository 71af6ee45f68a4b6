"""Names that people read, and figures as they are printed."""

from __future__ import annotations

import math
from typing import Final

from stages.lib.report.conditions import ALL, CLEAN, DEGRADED, POOLED
from stages.lib.report.pool import Difference, Estimate

_CONDITIONS: Final = {
    ALL: "clean, all test people",
    CLEAN: "clean, people of the grid",
    DEGRADED: "mean of the degraded cells",
    POOLED: "all degraded cells, one threshold",
}
OPERATORS: Final = {
    "clean": "the aligned face as it is",
    "low_resolution": "shrunk and brought back to 112 pixels by changing kernels",
    "blur": "out of focus",
    "motion_blur": "the face or the camera moved",
    "noise": "a dark scene or a cheap sensor",
    "jpeg": "compressed hard",
    "exposure": "too dark or too light",
    "mask": "a face mask drawn over nose and mouth",
    "misalignment": "landmarks off, so the face sits askew in its frame",
}
"""What each operator stands for, in a few words."""


def operator_label(operator: str) -> str:
    """`low_resolution` -> `low resolution`."""
    return operator.replace("_", " ")


def condition_label(condition: str) -> str:
    """`low_resolution-4` -> `low resolution 4`."""
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
