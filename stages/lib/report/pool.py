"""Training seeds put together: means with intervals, and differences to a control with a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from stages.lib.metrics.bootstrap import Estimate, interval, paired_difference
from stages.lib.report.trial import NOT_RESAMPLED, Measurement

Verdict = Literal["better", "worse", "unclear"]
HIGH_IS_GOOD = ("tar@", "fdr", "rank1", "accuracy", "genuine_mean")


@dataclass(frozen=True)
class Difference:
    """Treatment minus control, in the figure's own unit.

    Attributes:
        estimate: mean over the training seeds, with its interval.
        seeds: how many seeds both models have.
        verdict: `unclear` where the interval holds 0.
    """

    estimate: Estimate
    seeds: int
    verdict: Verdict


def single(measurement: Measurement) -> dict[str, Estimate]:
    """Figures of one trained model; the interval speaks of the people tested only."""
    return {
        name: Estimate(value, *interval(measurement.replicates[name]))
        if name in measurement.replicates
        else Estimate(value)
        for name, value in measurement.values.items()
    }


def pooled(measurements: Sequence[Measurement]) -> dict[str, Estimate]:
    """Mean over training seeds; the interval speaks of people and seeds at once."""
    if len(measurements) == 1:
        return single(measurements[0])
    names = [name for name in measurements[0].values if not name.startswith(NOT_RESAMPLED)]
    return {name: _over_seeds(measurements, None, name) for name in names}


def differences(treatment: Sequence[Measurement], control: Sequence[Measurement]) -> dict[str, Difference]:
    """Treatment minus control in every figure, seed by seed and resample by resample.

    Args:
        treatment: one measurement a training seed; where there is none, nothing is found.
        control: the same seeds in the same order.
    """
    found = {}
    for name in treatment[0].replicates if treatment else ():
        if name not in control[0].replicates:  # a figure of what the control does not say
            continue
        estimate = _over_seeds(treatment, control, name)
        found[name] = Difference(estimate, len(treatment), verdict(name, estimate))
    return found


def _over_seeds(treatment: Sequence[Measurement], control: Sequence[Measurement] | None, name: str) -> Estimate:
    value = float(np.mean([m.values[name] for m in treatment]))
    if name not in treatment[0].replicates:
        return Estimate(value)
    replicates = np.stack([m.replicates[name] for m in treatment])
    base = np.zeros_like(replicates)  # a plain mean is a difference to nothing
    if control is not None:
        base = np.stack([m.replicates[name] for m in control])
        value -= float(np.mean([m.values[name] for m in control]))
    _, low, high = paired_difference(replicates, base)
    return Estimate(value, low, high)


def verdict(name: str, difference: Estimate) -> Verdict:
    """What a difference in a figure says: `unclear` where its interval holds 0."""
    high = name.endswith("_correlation") or ("_npauc@" not in name and name.startswith(HIGH_IS_GOOD))
    sign = -1.0 if high else 1.0
    if sign * difference.low > 0 and sign * difference.high > 0:
        return "worse"
    if sign * difference.low < 0 and sign * difference.high < 0:
        return "better"
    return "unclear"
