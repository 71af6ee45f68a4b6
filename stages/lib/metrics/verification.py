"""One-to-one comparison: error rates, operating points, class separation, accuracy by folds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stages.lib.metrics.det import Bools, Det, Floats, check_pairs, det_curve

__all__ = [
    "Det",
    "OperatingPoint",
    "det_curve",
    "eer",
    "fdr",
    "fnmr_at_fmr",
    "fold_accuracy",
    "rates_at",
    "separation",
    "target_name",
    "trade_off",
    "verification",
]


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold and its error rates.

    Attributes:
        threshold: accept at or above it.
        fmr: false match rate there.
        fnmr: false non-match rate there.
        resolved: False where the target lies below the smallest non-zero FMR that these pairs can show (about
            one over the number of impostor pairs). `fnmr` is then the one at FMR = 0, which rests on the
            single highest impostor score and may be pessimistic.
    """

    threshold: float
    fmr: float
    fnmr: float
    resolved: bool


def eer(det: Det) -> float:
    """Equal error rate: where the DET curve, drawn with straight lines between its points, meets FMR = FNMR.

    It depends on the order of the scores only.
    """
    gap = det.fmr - det.fnmr
    last = len(gap) - int(np.searchsorted(gap[::-1], 0.0, side="left")) - 1
    step = gap[last] / (gap[last] - gap[last + 1])
    return float(det.fmr[last] + step * (det.fmr[last + 1] - det.fmr[last]))


def fnmr_at_fmr(det: Det, target: float) -> OperatingPoint:
    """The lowest threshold with FMR <= target, hence the lowest FNMR.

    Targets 1e-2, 1e-3 and 0 give what the FVC tables call FMR100, FMR1000 and ZeroFMR.

    Raises:
        ValueError: the target is not in [0, 1).
    """
    if not 0.0 <= target < 1.0:
        raise ValueError(f"FMR target {target}: give a rate in [0, 1)")
    first = len(det.fmr) - int(np.searchsorted(det.fmr[::-1], target, side="right"))
    fmr = float(det.fmr[first])
    return OperatingPoint(float(det.thresholds[first]), fmr, float(det.fnmr[first]), fmr > 0.0)


def rates_at(scores: Floats, genuine: Bools, threshold: float) -> tuple[float, float]:
    """(FMR, FNMR) at a threshold frozen elsewhere, as a deployment would feel them.

    Raises:
        ValueError: as `det.rank_scores`.
    """
    check_pairs(scores, genuine)
    accepted = scores.astype(np.float64) >= threshold
    return float(accepted[~genuine].mean()), float(1.0 - accepted[genuine].mean())


def fdr(scores: Floats, genuine: Bools, weights: ArrayLike | None = None) -> float:
    """Fisher discriminant ratio of P scored pairs, as `separation`; weights as in `det_curve`."""
    check_pairs(scores, genuine)
    weight = np.ones(len(scores)) if weights is None else np.asarray(weights, dtype=np.float64)
    exact = scores.astype(np.float64)
    return separation(exact[genuine], weight[genuine], exact[~genuine], weight[~genuine])


def separation(
    genuine: NDArray[np.float64],
    genuine_weight: NDArray[np.float64],
    impostor: NDArray[np.float64],
    impostor_weight: NDArray[np.float64],
) -> float:
    """(mu_g - mu_i)^2 / (sd_g^2 + sd_i^2) with population variances; high = well separated.

    Infinite where neither class spreads and the means differ.
    """
    mean_g, variance_g = _moments(genuine, genuine_weight)
    mean_i, variance_i = _moments(impostor, impostor_weight)
    gap, spread = (mean_g - mean_i) ** 2, variance_g + variance_i
    if spread == 0.0:
        return math.inf if gap else 0.0
    return gap / spread


def fold_accuracy(scores: Floats, same: Bools, fold: NDArray[np.integer]) -> tuple[float, float]:
    """Accuracy of each fold at the threshold that is best on all others (the LFW protocol).

    Candidates lie midway between neighbouring training scores, and the lowest of equally good ones is taken.

    Args:
        scores: (P,) similarities.
        same: (P,) whether the pair shows one subject.
        fold: (P,) fold of each pair, at least two folds.

    Returns:
        Mean over folds and their sample standard deviation (divisor folds - 1), both as shares.

    Raises:
        ValueError: fewer than two folds, or folds that leave one kind of pair only for training.
    """
    exact, folds = scores.astype(np.float64), np.unique(fold)
    if len(folds) < 2:
        raise ValueError("accuracy by folds needs at least two folds")
    accuracy = np.empty(len(folds))
    for index, held_out in enumerate(folds):
        test = fold == held_out
        threshold = _most_accurate(exact[~test], same[~test])
        accuracy[index] = np.mean((exact[test] >= threshold) == same[test])
    return float(accuracy.mean()), float(accuracy.std(ddof=1))


def target_name(target: float) -> str:
    """How a FMR target is spelt in the keys of a report: 0.01 -> `1e-2`."""
    return np.format_float_scientific(target, trim="-", exp_digits=1)


def trade_off(det: Det, fmr_targets: Sequence[float]) -> dict[str, float]:
    """`eer` and, for each target, `fnmr@`, `tar@`, `threshold@` and `resolved@` (1 or 0)."""
    values = {"eer": eer(det)}
    for target in fmr_targets:
        name, point = target_name(target), fnmr_at_fmr(det, target)
        values[f"fnmr@{name}"] = point.fnmr
        values[f"tar@{name}"] = 1.0 - point.fnmr
        values[f"threshold@{name}"] = point.threshold
        values[f"resolved@{name}"] = float(point.resolved)
    return values


def verification(
    scores: Floats,
    genuine: Bools,
    weights: ArrayLike | None = None,
    fmr_targets: Sequence[float] = (1e-2, 1e-3),
) -> dict[str, float]:
    """All verification figures of one condition.

    Args:
        scores: (P,) similarities, high = same subject.
        genuine: (P,) whether the pair shows one subject.
        weights: (P,) how often each pair counts; every pair once if None.
        fmr_targets: false match rates at which FNMR is read.

    Returns:
        The keys of `trade_off` and `fdr`; rates are shares in [0, 1].

    Raises:
        ValueError: as `det_curve`.
    """
    det = det_curve(scores, genuine, weights)
    return trade_off(det, fmr_targets) | {"fdr": fdr(scores, genuine, weights)}


def _moments(values: NDArray[np.float64], weight: NDArray[np.float64]) -> tuple[float, float]:
    """Weighted mean and population variance."""
    # Not dot products: BLAS splits those by thread count, which changes bits and crowds shared cores.
    total = weight.sum()
    mean = (weight * values).sum() / total
    return float(mean), float((weight * (values - mean) ** 2).sum() / total)


def _most_accurate(scores: NDArray[np.float64], same: Bools) -> float:
    det = det_curve(scores, same)
    errors = det.fmr * np.count_nonzero(~same) + det.fnmr * np.count_nonzero(same)
    best = int(np.argmin(np.round(errors)))  # whole counts again, so that equally good thresholds tie
    return float(det.thresholds[max(best - 1, 0) : best + 1].mean())
