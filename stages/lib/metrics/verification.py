"""One-to-one comparison: error rates, operating points, class separation, accuracy by folds."""

from __future__ import annotations

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
    "error_rates",
    "fdr",
    "fnmr_at_fmr",
    "fold_accuracy",
    "rates_at",
    "target_name",
    "verification",
]

Values = NDArray[np.float64]


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


def eer(det: Det) -> Values:
    """Equal error rate: where the DET curve, drawn with straight lines between its points, meets FMR = FNMR.

    It depends on the order of the scores only.

    Returns:
        (...), one for each weighting of the curve.
    """
    gap = det.fmr - det.fnmr
    last = np.count_nonzero(gap >= 0.0, axis=-1) - 1  # FMR falls and FNMR rises: the gap crosses 0 once
    before, after = _at(gap, last), _at(gap, last + 1)
    start = _at(det.fmr, last)
    return start + before / (before - after) * (_at(det.fmr, last + 1) - start)


def fnmr_at_fmr(det: Det, target: float) -> OperatingPoint:
    """The lowest threshold with FMR <= target, hence the lowest FNMR.

    Targets 1e-2, 1e-3 and 0 give what the FVC tables call FMR100, FMR1000 and ZeroFMR.

    Args:
        det: a curve under one weighting.
        target: highest FMR.

    Raises:
        ValueError: the target is not in [0, 1).
    """
    first = int(_first_within(det, target))
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


def fdr(genuine_mean: Floats, genuine_variance: Floats, impostor_mean: Floats, impostor_variance: Floats) -> Values:
    """Fisher discriminant ratio (mu_g - mu_i)^2 / (sd_g^2 + sd_i^2) of population moments; high = well separated.

    Infinite where neither class spreads and the means differ, 0 where they are equal too.
    """
    gap, spread = (genuine_mean - impostor_mean) ** 2, genuine_variance + impostor_variance
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: Values = np.where((gap == 0.0) & (spread == 0.0), 0.0, gap / spread)
    return ratio


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


def error_rates(det: Det, fmr_targets: Sequence[float]) -> dict[str, Values]:
    """`eer`, `zerofmr` (FNMR at FMR 0) and, for each target, `fnmr@` and `tar@`; (...), one for each weighting."""
    values = {"eer": eer(det), "zerofmr": _at(det.fnmr, _first_within(det, 0.0))}
    for target in fmr_targets:
        fnmr = _at(det.fnmr, _first_within(det, target))
        values |= {f"fnmr@{target_name(target)}": fnmr, f"tar@{target_name(target)}": 1.0 - fnmr}
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
        The keys of `error_rates`; for each target `threshold@` and `resolved@` (1 or 0); `genuine_mean`,
        `impostor_mean` and `fdr`. Rates are shares in [0, 1], means are scores.

    Raises:
        ValueError: as `det_curve`.
    """
    det = det_curve(scores, genuine, weights)
    values = {name: float(rate) for name, rate in error_rates(det, fmr_targets).items()}
    for target in fmr_targets:
        point = fnmr_at_fmr(det, target)
        values[f"threshold@{target_name(target)}"] = point.threshold
        values[f"resolved@{target_name(target)}"] = float(point.resolved)
    weight = np.ones(len(scores)) if weights is None else np.asarray(weights, dtype=np.float64)
    mated, other = (_moments(scores[c].astype(np.float64), weight[c]) for c in (genuine, ~genuine))
    return values | {
        "genuine_mean": float(mated[0]),
        "impostor_mean": float(other[0]),
        "fdr": float(fdr(*mated, *other)),
    }


def _moments(values: Values, weight: Values) -> tuple[Values, Values]:
    """Weighted mean and population variance."""
    # Not dot products: BLAS splits those by thread count, which changes bits and crowds shared cores.
    total = weight.sum()
    mean = (weight * values).sum() / total
    return mean, (weight * (values - mean) ** 2).sum() / total


def _at(values: Values, index: NDArray[np.integer]) -> Values:
    """values (..., T) at index (...)."""
    found: Values = np.take_along_axis(values, np.asarray(index)[..., None], axis=-1)[..., 0]
    return found


def _first_within(det: Det, target: float) -> NDArray[np.integer]:
    """(...) place of the lowest threshold with FMR <= target, hence of the lowest FNMR."""
    if not 0.0 <= target < 1.0:
        raise ValueError(f"FMR target {target}: give a rate in [0, 1)")
    return np.count_nonzero(det.fmr > target, axis=-1)


def _most_accurate(scores: NDArray[np.float64], same: Bools) -> float:
    det = det_curve(scores, same)
    errors = det.fmr * np.count_nonzero(~same) + det.fnmr * np.count_nonzero(same)
    best = int(np.argmin(np.round(errors)))  # whole counts again, so that equally good thresholds tie
    return float(det.thresholds[max(best - 1, 0) : best + 1].mean())
