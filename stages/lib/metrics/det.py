"""The detection error trade-off curve, built so that one sort serves any number of weightings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]
Weights = NDArray[np.float64] | NDArray[np.integer]


@dataclass(frozen=True)
class Det:
    """Error rates at each threshold; a pair is accepted when score >= threshold.

    Attributes:
        thresholds: (T,) ascending: each distinct score, then one step above the highest, where nothing is
            accepted. Tied scores are one threshold: they are accepted or rejected together.
        fmr: (..., T) share of impostor weight accepted; falls from 1 to 0. One row for each weighting, if there are
            several.
        fnmr: (..., T) share of genuine weight rejected; rises from 0 to 1.
    """

    thresholds: Floats
    fmr: NDArray[np.float64]
    fnmr: NDArray[np.float64]


@dataclass(frozen=True)
class Ranking:
    """Scores sorted once.

    Attributes:
        thresholds: (T,) as in `Det`.
        genuine: (G,) positions of the genuine pairs by ascending score.
        impostor: (I,) positions of the impostor pairs by ascending score.
        genuine_below: (T,) number of genuine scores below each threshold.
        impostor_below: (T,) number of impostor scores below each threshold.
    """

    thresholds: Floats
    genuine: NDArray[np.int64]
    impostor: NDArray[np.int64]
    genuine_below: NDArray[np.int64]
    impostor_below: NDArray[np.int64]

    def det(self, genuine_weight: Weights, impostor_weight: Weights) -> Det:
        """The curve under weights in the order of `genuine` (..., G) and `impostor` (..., I); each sums above 0."""
        impostor, genuine = _running(impostor_weight), _running(genuine_weight)
        impostors, mated = impostor[..., -1:], genuine[..., -1:]
        # Subtract before dividing: 1 - 99/100 exceeds 0.01 in floating point, (100 - 99)/100 does not.
        fmr = (impostors - impostor.take(self.impostor_below, axis=-1)) / impostors
        return Det(self.thresholds, fmr, genuine.take(self.genuine_below, axis=-1) / mated)

    def corners(self) -> Ranking:
        """The same scores with only those thresholds at which FNMR is about to rise or has just risen.

        Between two of them FNMR stands still, so the EER and the FNMR at any FMR are those of the whole curve,
        under any weights. Where impostors are many, almost all thresholds go.
        """
        rises = np.flatnonzero(np.diff(self.genuine_below))
        kept = np.unique(np.concatenate([[0], rises, rises + 1, [len(self.thresholds) - 1]]))
        return Ranking(
            self.thresholds[kept], self.genuine, self.impostor, self.genuine_below[kept], self.impostor_below[kept]
        )


def rank_scores(scores: Floats, genuine: Bools) -> Ranking:
    """Sort P scores and find every threshold at which an error rate can change.

    Raises:
        ValueError: shapes differ, a score is not finite, or there is no genuine or no impostor pair.
    """
    check_pairs(scores, genuine)
    distinct = np.unique(scores)
    thresholds = np.append(distinct, np.nextafter(distinct[-1], np.asarray(np.inf, distinct.dtype)))
    mated, other = _ascending(scores, genuine), _ascending(scores, ~genuine)
    return Ranking(
        thresholds,
        mated,
        other,
        np.searchsorted(scores[mated], thresholds, side="left"),
        np.searchsorted(scores[other], thresholds, side="left"),
    )


def det_curve(scores: Floats, genuine: Bools, weights: ArrayLike | None = None) -> Det:
    """Error rates of P scored pairs at every threshold.

    Args:
        scores: (P,) similarities, high = same subject.
        genuine: (P,) whether the pair shows one subject.
        weights: (P,) how often each pair counts, >= 0; 0 removes it. Whole weights equal repeated pairs.

    Raises:
        ValueError: as `rank_scores`; or a weight is negative or not finite.
    """
    if weights is None:
        weight = np.ones(len(scores))
    else:
        weight = np.asarray(weights, dtype=np.float64)
        if weight.shape != scores.shape or not np.all(np.isfinite(weight) & (weight >= 0)):
            raise ValueError("weights: give one finite number >= 0 a pair")
        used = weight > 0
        scores, genuine, weight = scores[used], genuine[used], weight[used]
    ranking = rank_scores(scores, genuine)
    return ranking.det(weight[ranking.genuine], weight[ranking.impostor])


def check_pairs(scores: Floats, genuine: Bools) -> None:
    """Refuse scores that no error rate can be computed from (ValueError)."""
    if scores.shape != genuine.shape or scores.ndim != 1 or genuine.dtype != np.bool_:
        raise ValueError(f"scores {scores.shape} and boolean genuine {genuine.shape} must both be (P,)")
    if not np.all(np.isfinite(scores)):
        raise ValueError("a score is NaN or infinite: the embedding behind it is broken")
    if genuine.all() or not genuine.any():
        raise ValueError("error rates need at least one genuine and one impostor pair")


def _ascending(scores: Floats, chosen: Bools) -> NDArray[np.int64]:
    position = np.flatnonzero(chosen)
    return position[np.argsort(scores[position], kind="stable")]


def _running(weight: Weights) -> Weights:
    total = np.zeros((*weight.shape[:-1], weight.shape[-1] + 1), weight.dtype)
    np.cumsum(weight, axis=-1, out=total[..., 1:])
    return total
