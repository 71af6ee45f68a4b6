"""Intervals by resampling subjects, because pairs that share a subject are not independent.

A replicate draws S subjects with replacement; subject s comes w_s times. A genuine pair of s then counts w_s
times and an impostor pair of s and t counts w_s * w_t times; a subject is never compared with its own copy.
Resampling pairs instead would make the intervals too narrow.

Sources: subsets bootstrap, Bolle, Ratha and Pankanti, CVIU 93 (2004); products of weights, Owen, "The
pigeonhole bootstrap", Annals of Applied Statistics 1 (2007); K - 1 draws, Rao and Wu, JASA 83 (1988).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array

from stages.lib.metrics.det import Bools, Floats, rank_scores
from stages.lib.metrics.protocol import Protocol
from stages.lib.metrics.verification import error_rates, fdr

Ints = NDArray[np.int64]
Replicates = NDArray[np.float64]
BLOCK = 2**18  # weights of pairs held at once: what a processor's cache holds


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval; NaN ends where nothing was resampled."""

    value: float
    low: float = math.nan
    high: float = math.nan


def subject_weights(subjects: int, replicates: int, seed: int) -> Ints:
    """(B, S) how often each of S subjects is drawn in each of B replicates; every row sums to S.

    Draw once and pass the same weights to every model and condition: their differences are then paired.
    """
    chance = np.full(subjects, 1.0 / subjects)
    return np.random.default_rng(seed).multinomial(subjects, chance, size=replicates)


def bootstrap_verification(
    scores: Floats,
    protocol: Protocol,
    weights: Ints,
    fmr_targets: Sequence[float] = (1e-2, 1e-3),
    frozen_threshold: float | None = None,
) -> dict[str, Replicates]:
    """All verification figures in each replicate; scores are sorted once.

    Args:
        scores: (P,) one a pair of the protocol.
        protocol: the pairs.
        weights: (B, S) from `subject_weights`.
        fmr_targets: as in `verification`.
        frozen_threshold: a threshold set elsewhere, whose rates are wanted too.

    Returns:
        The figures of `verification` without its thresholds (and with `fmr@frozen`, `fnmr@frozen`), each (B,).
        NaN in a replicate that drew no genuine or no impostor pair.

    Raises:
        ValueError: `weights` is not (B, S) of this protocol; or as `det.rank_scores`.
    """
    if weights.ndim != 2 or weights.shape[1] != protocol.subjects:
        raise ValueError(f"weights are {weights.shape}: the protocol has {protocol.subjects} subjects")
    exact, genuine = scores.astype(np.float64), protocol.genuine
    mated, other = exact[genuine], exact[~genuine]
    mean_mated = partial(bootstrap_mean, subject=protocol.subject_left[genuine], weights=weights)
    left, right = protocol.subject_left[~genuine], protocol.subject_right[~genuine]
    mean_other = partial(_impostor_mean, left=left, right=right, weights=weights)

    replicates = _error_rates(scores, protocol, weights, fmr_targets)
    moments = (*_moments(mated, mean_mated), *_moments(other, mean_other))
    replicates |= {"genuine_mean": moments[0], "impostor_mean": moments[2], "fdr": fdr(*moments)}
    if frozen_threshold is not None:
        replicates["fmr@frozen"] = mean_other(other >= frozen_threshold)
        replicates["fnmr@frozen"] = mean_mated(mated < frozen_threshold)
    undefined = np.isnan(replicates["fdr"])
    return {name: np.where(undefined, np.nan, values) for name, values in replicates.items()}


def bootstrap_mean(values: Floats | NDArray[np.bool_], subject: Ints, weights: Ints) -> Replicates:
    """Mean of per-face values (rank-1 hits, say) in each replicate.

    Args:
        values: (P,) one a face.
        subject: (P,) subject codes in [0, S).
        weights: (B, S) from `subject_weights`.

    Returns:
        (B,); NaN in a replicate that drew none of these subjects.
    """
    subjects = weights.shape[1]
    total = weights @ np.bincount(subject, weights=values, minlength=subjects)
    count = weights @ np.bincount(subject, minlength=subjects)
    means: Replicates = np.full(len(weights), np.nan)
    np.divide(total, count, out=means, where=count > 0)
    return means


def interval(replicates: Replicates, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval (low, high) of the replicates that are defined; NaN where none is."""
    defined = replicates[~np.isnan(replicates)]
    if not len(defined):
        return np.nan, np.nan
    low, high = np.quantile(defined, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return float(low), float(high)


def paired_difference(
    treatment: Replicates, control: Replicates, level: float = 0.95, seed: int = 0
) -> tuple[float, float, float]:
    """Treatment minus control over training seeds and subjects at once.

    Hierarchical: column b is one resample of the subjects, shared by all models. Within it the training seeds
    are resampled too, and a drawn seed brings both its treatment and its control. K - 1 of the K seeds are
    drawn with replacement, because K draws would understate the variance between seeds by (K - 1) / K. With
    one seed the interval speaks of the subjects only. Seeds alone can carry it no further than their own
    range, which for K = 3 symmetric differences holds the true mean three times in four: report K beside it.

    Args:
        treatment: (K, B) one figure of the model under test, by training seed and replicate.
        control: (K, B) the same of its control, with the same seeds and subject weights.
        level: of the interval.
        seed: of the resampling of training seeds.

    Returns:
        Mean difference, and the ends of its percentile interval.

    Raises:
        ValueError: the shapes differ, so nothing is paired.
    """
    if treatment.shape != control.shape or treatment.ndim != 2:
        raise ValueError(f"treatment {treatment.shape} and control {control.shape} must both be (K, B)")
    difference = treatment - control
    seeds, count = difference.shape
    drawn = np.random.default_rng(seed).integers(seeds, size=(max(seeds - 1, 1), count))
    low, high = interval(np.take_along_axis(difference, drawn, axis=0).mean(axis=0), level)
    return float(np.nanmean(difference)), low, high


def _error_rates(
    scores: Floats, protocol: Protocol, weights: Ints, fmr_targets: Sequence[float]
) -> dict[str, Replicates]:
    """`error_rates` in each replicate, meaningless where one drew no genuine or no impostor pair."""
    ranking = rank_scores(scores, protocol.genuine).corners()
    subject = protocol.subject_left[ranking.genuine]
    left, right = protocol.subject_left[ranking.impostor], protocol.subject_right[ranking.impostor]
    fits = int(weights.max(initial=0)) ** 2 * len(scores) < 2**31  # then half the memory, and twice the speed
    drawn = weights.astype(np.int32 if fits else np.int64)
    found = []
    for block in np.array_split(drawn, max(1, len(drawn) * len(scores) // BLOCK)):
        with np.errstate(invalid="ignore"):
            det = ranking.det(block.take(subject, axis=1), block.take(left, axis=1) * block.take(right, axis=1))
            found.append(error_rates(det, fmr_targets))
    return {name: np.concatenate([part[name] for part in found]) for name in found[0]}


def _impostor_mean(values: Floats | Bools, left: Ints, right: Ints, weights: Ints) -> Replicates:
    """As `bootstrap_mean`, of (P,) values of impostor pairs of the subjects `left` and `right`."""
    shape, drawn = (weights.shape[1],) * 2, weights.T.astype(np.float64)

    def summed(of_pairs: Floats) -> Replicates:  # the pairs of two subjects count alike: add them up first
        table = coo_array((of_pairs, (left, right)), shape=shape).tocsr()
        total: Replicates = ((table @ drawn) * drawn).sum(axis=0)
        return total

    total, count = summed(values.astype(np.float64)), summed(np.ones(len(values)))
    means: Replicates = np.full(len(weights), np.nan)
    np.divide(total, count, out=means, where=count > 0)
    return means


def _moments(scores: NDArray[np.float64], mean: Callable[[Floats], Replicates]) -> tuple[Replicates, Replicates]:
    """Mean and population variance in each replicate."""
    centre = scores.mean()  # near it, squares lose no digits
    first, second = mean(scores - centre), mean((scores - centre) ** 2)
    return first + centre, np.maximum(second - first**2, 0.0)
