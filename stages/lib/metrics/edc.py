"""Error versus discard: how fast misses fall as the pairs of lowest quality are turned away.

Variant A fixes the threshold once and turns mated pairs away; it is the one to report. Variant B turns pairs of both
kinds away and sets the threshold anew at each fraction, as many papers plot it. The quality of a pair is the smaller
one of its two faces; high is good.

Sources: Grother and Tabassi, "Performance of biometric quality measures", IEEE TPAMI 29 (2007); ISO/IEC 29794-1:2024,
which calls A the error versus discard characteristic; the partial area up to a fraction, Schlett et al.,
"Considerations on the evaluation of biometric quality assessment algorithms", IEEE TBIOM 2023.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from stages.lib.metrics.bootstrap import Ints, Replicates
from stages.lib.metrics.det import Floats

FEWEST_MISSES: Final = 20
"""Below this many, a curve follows single faces and says little."""
PAPER_FRACTIONS: Final = tuple(k / 20 for k in range(20))
"""Of variant B."""
BLOCK: Final = 2**21  # weights of pairs held at once


@dataclass(frozen=True)
class DiscardCurve:
    """FNMR in steps: `fnmr[k]` holds from `discarded[k]` up to, and without, `discarded[k + 1]`.

    Attributes:
        discarded: (K,) share of the pairs turned away, rising from 0.
        fnmr: (K,) share of the remaining mated pairs that miss.
        misses: mated pairs that miss before any is turned away.
    """

    discarded: NDArray[np.float64]
    fnmr: NDArray[np.float64]
    misses: int

    @property
    def resolved(self) -> bool:
        """Whether enough pairs miss for the curve to mean something."""
        return self.misses >= FEWEST_MISSES

    def at(self, fraction: float) -> float:
        """FNMR when this share is turned away, in [0, 1)."""
        return float(self.fnmr[np.searchsorted(self.discarded, fraction + 1e-12, side="right") - 1])

    def area(self, limit: float) -> float:
        """Area under the steps (no trapezoids) from 0 to `limit`, the partial AUC."""
        return float(_areas(self.discarded[None], self.fnmr[None], limit)[0])

    def normalised_area(self, limit: float) -> float:
        """`area` over that of a quality that knows nothing: about 1 is random, lower is better.

        NaN where no pair misses.
        """
        whole = limit * self.fnmr[0]
        return self.area(limit) / whole if whole > 0 else float("nan")


def error_versus_discard(mated: Floats, quality: Floats, threshold: float) -> DiscardCurve:
    """Variant A: the curve at a fixed threshold.

    Args:
        mated: (P,) scores of mated pairs.
        quality: (P,) of each pair. Pairs of equal quality leave together, once the fraction holds them all.
        threshold: set elsewhere, on all pairs; a score at or above it matches.

    Raises:
        ValueError: no pairs, shapes that differ, or numbers that are not finite.
    """
    _check(mated, quality)
    weights = np.ones((1, len(mated)))
    discarded, fnmr = _curves(mated < threshold, quality, weights)
    return DiscardCurve(discarded[0], fnmr[0], int((mated < threshold).sum()))


def bootstrap_normalised_area(
    mated: Floats, quality: Floats, threshold: float, subject: Ints, weights: Ints, limits: Sequence[float]
) -> list[Replicates]:
    """`normalised_area` of variant A in resamples of the people.

    Args:
        mated: (P,) scores of mated pairs.
        quality: (P,) of each pair.
        threshold: a setting, the same in every replicate.
        subject: (P,) whose pair it is, in [0, S).
        weights: (B, S) from `bootstrap.subject_weights`; the same ones for all techniques pair their differences.
        limits: as of `DiscardCurve.area`.

    Returns:
        (B,) for each limit; NaN in a replicate in which no pair misses.
    """
    _check(mated, quality)
    missed = mated < threshold
    parts: list[list[Replicates]] = [[] for _ in limits]
    for block in np.array_split(weights, max(1, weights.shape[0] * len(mated) // BLOCK)):
        discarded, fnmr = _curves(missed, quality, block[:, subject].astype(np.float64))
        for part, limit in zip(parts, limits, strict=True):
            with np.errstate(invalid="ignore"):
                part.append(_areas(discarded, fnmr, limit) / (limit * fnmr[:, 0]))
    return [np.concatenate(part) for part in parts]


def rank_correlation(mated: Floats, quality: Floats, subject: Ints, weights: Ints) -> tuple[float, Replicates]:
    """Spearman's correlation of scores and qualities, and the same in resamples of the people.

    Ranks are of all pairs; a resample weighs them and does not rank anew, which moves little and costs no sort.

    Args:
        mated: (P,) scores of mated pairs.
        quality: (P,) of each pair.
        subject: (P,) whose pair it is, in [0, S).
        weights: (B, S) from `bootstrap.subject_weights`.

    Returns:
        The correlation in -1..1 and (B,) replicates; NaN where one side is constant.
    """
    _check(mated, quality)
    ranks = [rankdata(side) for side in (mated, quality)]
    one, other = (own - own.mean() for own in ranks)
    moments = (np.ones(len(one)), one, other, one * one, other * other, one * other)
    sums = np.stack([np.bincount(subject, weights=m, minlength=weights.shape[1]) for m in moments])
    drawn = np.vstack([np.ones((1, weights.shape[1])), weights]) @ sums.T
    with np.errstate(invalid="ignore", divide="ignore"):
        n, x, y, xx, yy, xy = drawn.T
        found = (xy / n - x * y / n**2) / np.sqrt((xx / n - (x / n) ** 2) * (yy / n - (y / n) ** 2))
    return float(found[0]), found[1:]


def error_versus_discard_refitted(
    mated: Floats, quality: Floats, impostor: Floats, impostor_quality: Floats, fmr: float, drawn_of: float = 1.0
) -> tuple[DiscardCurve, NDArray[np.float64]]:
    """Variant B: at each of `PAPER_FRACTIONS` the threshold is set anew on the impostor pairs that are left.

    Pairs of equal quality leave together here too, or their order in the input would decide who goes.

    Args:
        mated: (P,) scores of mated pairs.
        quality: (P,) of each.
        impostor: (I,) scores of impostor pairs.
        impostor_quality: (I,) of each.
        fmr: the share of impostor pairs that the threshold lets through, in [0, 1); a score above it matches.
        drawn_of: how many impostor pairs each one stands for, where they are a sample and mated pairs are none.

    Returns:
        The curve as far as pairs of both kinds are left (beyond, it has no meaning), and the threshold at each point.

    Raises:
        ValueError: no pairs, shapes that differ, numbers that are not finite, or `fmr` out of its range.
    """
    _check(mated, quality)
    _check(impostor, impostor_quality)
    if not 0.0 <= fmr < 1.0:
        raise ValueError(f"fmr is {fmr}: give a share of at least 0 and below 1")
    every = np.concatenate([quality, impostor_quality])
    ranking = np.argsort(every)
    gone = np.cumsum(np.repeat([1.0, drawn_of], [len(quality), len(impostor_quality)])[ranking])
    order = np.argsort(-impostor)  # once: those that are left stay in this order
    likest, quality_of_likest = impostor[order], impostor_quality[order]
    points = []
    for fraction in PAPER_FRACTIONS:
        worst_kept = every[ranking[np.searchsorted(gone, fraction * gone[-1] + 1e-9, side="right")]]
        own, other = mated[quality >= worst_kept], likest[quality_of_likest >= worst_kept]
        if not (len(own) and len(other)):
            break
        threshold = other[min(int(fmr * len(other) + 1e-9), len(other) - 1)]
        points.append((fraction, (own <= threshold).mean(), threshold))
    discarded, fnmr, thresholds = np.array(points).T
    return DiscardCurve(discarded, fnmr, round(fnmr[0] * len(mated))), thresholds


def _curves(
    missed: NDArray[np.bool_], quality: Floats, weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(B, K) share turned away and FNMR of the rest, after each group of equal quality, none first."""
    order = np.argsort(quality, kind="stable")
    last = np.flatnonzero(np.diff(quality[order], append=np.inf))  # of each group
    gone = np.cumsum(weights[:, order], axis=1)
    gone_missed = np.cumsum(weights[:, order] * missed[order], axis=1)
    total, misses = gone[:, -1:], gone_missed[:, -1:]
    groups = last[:-1]  # with the last one gone nothing is left
    left = total - np.pad(gone[:, groups], ((0, 0), (1, 0)))
    left_missed = misses - np.pad(gone_missed[:, groups], ((0, 0), (1, 0)))
    with np.errstate(invalid="ignore", divide="ignore"):
        return 1.0 - left / total, np.where(left > 0, left_missed / left, 0.0)


def _areas(discarded: NDArray[np.float64], fnmr: NDArray[np.float64], limit: float) -> NDArray[np.float64]:
    """(B,) areas under (B, K) steps from 0 to `limit`."""
    ends = np.pad(discarded, ((0, 0), (0, 1)), constant_values=limit).clip(max=limit)
    areas: NDArray[np.float64] = (fnmr * np.diff(ends, axis=1)).sum(axis=1)
    return areas


def _check(scores: Floats, quality: Floats) -> None:
    if not len(scores) or scores.shape != quality.shape:
        raise ValueError(f"scores {scores.shape} and qualities {quality.shape}: give one of each for every pair")
    if not (np.isfinite(scores).all() and np.isfinite(quality).all()):
        raise ValueError("a score or quality is NaN or infinite: leave its pair out, and say how many are")
