"""What image quality costs: FNMR by quarter of each covariate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.lib.metrics.bootstrap import Estimate, bootstrap_mean, interval
from stages.lib.report.trial import Trial

BANDS = 4


@dataclass(frozen=True)
class Band:
    """The probes in one quarter of a covariate's range.

    Attributes:
        column: the covariate.
        index: 0 for the lowest quarter.
        low: lowest value of the covariate in the band.
        high: highest.
        pairs: genuine comparisons in it.
        fnmr: at the threshold given.
    """

    column: str
    index: int
    low: float
    high: float
    pairs: int
    fnmr: Estimate


def fnmr_by_band(
    scores: NDArray[np.float32], trial: Trial, covariates: Mapping[str, NDArray[np.floating]], threshold: float
) -> list[Band]:
    """FNMR of genuine pairs by quarter of the probe's covariate.

    On clean faces a pair has no fixed probe, so it counts twice, once with either face as the probe.

    Args:
        scores: (P,) one a pair of the trial's protocol.
        trial: the comparisons.
        covariates: name -> (N,) value of each face; one without four distinct quarters is passed over.
        threshold: pairs below it are missed.
    """
    genuine = np.flatnonzero(trial.protocol.genuine)
    probe = np.concatenate([trial.protocol.left[genuine], trial.protocol.right[genuine]])
    missed = np.tile(scores[genuine] < threshold, 2)
    found = []
    for column, values in covariates.items():
        of_probe = values[probe]
        edges = np.quantile(of_probe, np.arange(1, BANDS) / BANDS)
        if len(np.unique([of_probe.min(), *edges])) < BANDS or np.isnan(edges).any():
            continue
        band = np.searchsorted(edges, of_probe, side="right")
        for index in range(BANDS):
            inside = band == index
            rate = bootstrap_mean(missed[inside].astype(np.float64), trial.subject[probe[inside]], trial.weights)
            estimate = Estimate(float(missed[inside].mean()), *interval(rate))
            span = of_probe[inside]
            found.append(Band(column, index, float(span.min()), float(span.max()), int(inside.sum()), estimate))
    return found
