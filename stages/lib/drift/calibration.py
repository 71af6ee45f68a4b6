"""How far from its reference a quiet window lies by chance alone: bounds for every statistic, and for all together.

A quiet window is drawn from the reference itself, again and again, and each time the reference is drawn anew as well,
for it is a sample too (two-sample bootstrap; Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 16).
What hangs together is drawn together: whole blocks, an hour of a camera or a person.

Windows may hang together more than the blocks in them: a dull day dims all its hours. Where the reference tells
windows apart, the variance between them is compared with that of the drawn ones, and the drawn distances are stretched
to match: PSI by the ratio of the design effects (Rao and Scott, JASA 76, 1981), Wasserstein distances by its root, and
likewise the logarithms of the tails' odds: where days differ, a tail now and then is much heavier, and never much
lighter.
A few windows tell their variance badly, so it is drawn anew in each resample from what their number leaves open: the
bounds are those of a t and not of a normal distribution.

Each statistic is then told by how far it exceeds the 90 % quantile of its null distribution, in mean excesses over
it: on that scale the tails of all are alike. The largest exceedance of a window is judged by its own null
distribution, so that dependence between statistics is counted (Westfall and Young, Resampling-Based Multiple Testing,
1993). Beyond its 95 % quantile that one is taken as exponential, as the tail of a largest value is to a first
approximation: so chances below one in the number of resamples can be told (Knijnenburg et al., Bioinformatics 25,
2009).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit, logit

from stages.lib.drift.reference import Reference
from stages.lib.drift.statistics import (
    EMBEDDING,
    EMBEDDING_METRICS,
    METRICS,
    compare,
    embedding_distances,
    scalar_products,
)
from stages.lib.errors import ConfigError
from stages.lib.npz import load_arrays, save_arrays

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Test = tuple[str, str]
"""A column and a metric of it."""

UPPER: Final = 0.9  # of a null distribution: excesses over this quantile are its tail
EXPONENTIAL: Final = 0.95  # of the largest exceedances: above this quantile they are taken as exponential
CHUNK: Final = 64  # resamples at once: what a processor's cache holds


@dataclass(frozen=True)
class Judged:
    """One statistic of a window.

    Attributes:
        value: of it.
        bound: a value above it breaches.
        p: share of quiet windows that are at least as far off, of this statistic alone.
    """

    value: float
    bound: float
    p: float

    @property
    def breach(self) -> bool:
        """Whether it is beyond its bound."""
        return self.value > self.bound


@dataclass(frozen=True)
class Bounds:
    """Distances of B quiet windows from their references.

    Attributes:
        tests: T columns and metrics.
        null: (B, T) their distances.
        faces: in each window.
    """

    tests: tuple[Test, ...]
    null: NDArray[np.float32]
    faces: int

    def judge(self, measured: Mapping[Test, float], alpha: float) -> tuple[dict[Test, Judged], float]:
        """Hold a window against quiet ones.

        Args:
            measured: statistics of the window; those that the bounds do not know are left out.
            alpha: chance at which a quiet window may breach one bound or more.

        Returns:
            Each statistic with its bound, and the chance that a quiet window has one so far off: it is at most alpha
            if, and only if, a bound is breached. 1 where nothing is judged.
        """
        kept = [i for i, test in enumerate(self.tests) if test in measured]
        if not kept:
            return {}, 1.0
        values = np.array([measured[self.tests[i]] for i in kept])
        origin, scale = self._origin[kept], self._scale[kept]
        largest = _Tail.of(np.max((self.null[:, kept] - origin) / scale, axis=1))
        limits = origin + scale * largest.quantile(alpha)
        as_far = (1 + (self.null[:, kept] >= values).sum(axis=0)) / (1 + len(self.null))
        judged = {
            self.tests[i]: Judged(float(value), float(limit), float(p))
            for i, value, limit, p in zip(kept, values, limits, as_far, strict=True)
        }
        return judged, largest.chance(float(np.max((values - origin) / scale)))

    def save(self, path: Path) -> None:
        """Write to an .npz file that appears whole or not at all."""
        save_arrays(path, tests=np.array(self.tests), null=self.null, faces=np.array(self.faces))

    @classmethod
    def load(cls, path: Path) -> Bounds:
        """Read what `save` wrote.

        Raises:
            ConfigError: the file holds no bounds.
        """
        names, fix = ("tests", "null", "faces"), "remove it, and it is made again"
        tests, null, faces = load_arrays(path, names, "bounds", fix)
        return cls(
            tuple((str(column), str(metric)) for column, metric in tests),
            null.astype(np.float32, copy=False),
            int(faces),
        )

    @cached_property
    def _origin(self) -> Floats:
        return np.asarray(np.quantile(self.null.astype(np.float64), UPPER, axis=0))

    @cached_property
    def _scale(self) -> Floats:
        excess = self.null - self._origin
        over = excess > 0
        mean = np.where(over, excess, 0.0).sum(axis=0) / np.maximum(over.sum(axis=0), 1)
        return np.maximum(mean, 1.0 / self.faces)  # where quiet windows are all alike, one face is no drift


@dataclass(frozen=True)
class _Tail:
    """Chances of the largest exceedance of a quiet window.

    Attributes:
        ordered: (B,) rising.
        start: where the exponential tail begins.
        mean: excess over it.
    """

    ordered: Floats
    start: float
    mean: float

    @classmethod
    def of(cls, largest: Floats) -> _Tail:
        ordered = np.sort(largest)
        start = float(np.quantile(ordered, EXPONENTIAL))
        over = ordered[ordered > start] - start
        return cls(ordered, start, float(over.mean()) if len(over) else 1.0 / len(ordered))

    def chance(self, value: float) -> float:
        if value > self.start:
            return (1.0 - EXPONENTIAL) * math.exp((self.start - value) / self.mean)
        return 1.0 - float(np.searchsorted(self.ordered, value)) / (1 + len(self.ordered))

    def quantile(self, alpha: float) -> float:
        """Value that is exceeded with this chance."""
        if alpha < 1.0 - EXPONENTIAL:
            return self.start + self.mean * math.log((1.0 - EXPONENTIAL) / alpha)
        rank = math.ceil((1.0 - alpha) * (1 + len(self.ordered)) - 1e-9)  # above it, `chance` is at most alpha
        return float(self.ordered[min(rank, len(self.ordered)) - 1])


def calibrate(reference: Reference, faces: int, resamples: int, seed: int) -> Bounds:
    """Null distributions of all statistics of windows with so many faces.

    Args:
        reference: without its rejected rows; see `Reference.faces`.
        faces: of a window.
        resamples: of reference and window, B.
        seed: of them.

    Raises:
        ConfigError: the reference has no rows.
    """
    if not len(reference):
        raise ConfigError(f"{reference.name}: no face to be compared with; accept a stretch with faces as baseline")
    urn = _Urn.of(reference, faces)
    random = np.random.default_rng([seed, faces])
    orders = {name: _order(values) for name, values in reference.columns.items()}
    turned = _turning_points(reference)
    means, found, further = [], [], []
    gram = None if reference.embeddings is None else scalar_products(reference.embeddings)
    for size in _chunks(resamples):
        window, drawn = urn.draw(size, random)
        found.append(
            np.concatenate(
                [
                    compare(reference.columns[c][order], window[:, order], drawn[:, order])
                    for c, order in orders.items()
                ],
                axis=1,
            )
        )
        means.append(window @ turned / faces)
        if gram is not None:
            further.append(embedding_distances(gram, window, drawn))
    null = _stretched(np.concatenate(found), _ratio(reference, turned, np.concatenate(means), faces, random), faces)
    tests = [(column, metric) for column in orders for metric in METRICS]
    if gram is not None:
        null = np.concatenate([null, np.concatenate(further)], axis=1)
        tests += [(EMBEDDING, metric) for metric in EMBEDDING_METRICS]
    return Bounds(tuple(tests), null.astype(np.float32), faces)


def _chunks(resamples: int) -> Iterator[int]:
    for start in range(0, resamples, CHUNK):
        yield min(CHUNK, resamples - start)


def _order(values: Floats) -> Ints:
    """Positions of the values that are told, by size."""
    order = np.argsort(values, kind="stable")
    return order[: int(np.isfinite(values).sum())]


@dataclass(frozen=True)
class _Pool:
    """The blocks of one stratum, by the phase of a window that they lie in: the first hour of a day, the second, ...

    A window has at most one block of each phase, so that its noon stays a noon. People have no phase.

    Attributes:
        rows: of the reference, block by block.
        starts: (G + 1,) of each block in `rows`; the last one is empty.
        sizes: (G + 1,).
        slots: (phases, D) block of each phase of each of D windows; G where it has none.
        phases: (K,) of the blocks that make one drawn window.
        faces: of a window.
    """

    rows: Ints
    starts: Ints
    sizes: Ints
    slots: Ints
    phases: Ints
    faces: int

    @classmethod
    def of(cls, reference: Reference, part: int, faces: int) -> _Pool:
        inside = np.flatnonzero(reference.stratum == part)
        rows = inside[np.argsort(reference.block[inside], kind="stable")]
        blocks, starts, sizes = np.unique(reference.block[rows], return_index=True, return_counts=True)
        if reference.phase is None or reference.window is None:
            slots = np.arange(len(blocks))[None]
            phases = np.zeros(max(1, round(len(blocks) * faces / len(rows))), np.int64)
        else:
            windows, column = np.unique(reference.window[rows][starts], return_inverse=True)
            kinds, row = np.unique(reference.phase[rows][starts], return_inverse=True)
            slots = np.full((len(kinds), len(windows)), len(blocks))
            slots[row, column] = np.arange(len(blocks))
            # of a reference that was thinned, several windows make up for one
            phases = np.tile(np.arange(len(kinds)), max(1, round(faces * len(windows) / len(rows))))
        return cls(rows, np.append(starts, 0), np.append(sizes, 0), slots, phases, faces)

    def draw(self, count: int, random: np.random.Generator) -> tuple[Ints, Ints]:
        """(count, faces) rows of windows, and (count, G) how often each block is in the reference."""
        kinds, times = self.slots.shape
        blocks = self.slots[self.phases, random.integers(times, size=(count, len(self.phases)))]
        again = self.slots[np.arange(kinds)[:, None], random.integers(times, size=(count, kinds, times))]
        flat = (again.reshape(count, -1) + len(self.sizes) * np.arange(count)[:, None]).ravel()
        drawn = np.bincount(flat, minlength=count * len(self.sizes)).reshape(count, -1)[:, :-1]
        return self._faces(blocks, random), drawn

    def _faces(self, blocks: Ints, random: np.random.Generator) -> Ints:
        """(count, faces) of the rows of (count, K) blocks, each once before any comes twice."""
        ends = self.sizes[blocks].cumsum(axis=1)
        there = np.maximum(ends[:, -1:], 1)
        place = np.arange(int(there.max()))[None]
        order = np.argsort(np.where(place < there, random.random((len(blocks), place.shape[1])), 2.0), axis=1)
        chosen = np.take_along_axis(order, np.arange(self.faces)[None] % there, axis=1)
        which = np.minimum((chosen[:, :, None] >= ends[:, None, :]).sum(axis=2), blocks.shape[1] - 1)
        before = np.take_along_axis(np.pad(ends, ((0, 0), (1, 0))), which, axis=1)
        return self.rows[self.starts[np.take_along_axis(blocks, which, axis=1)] + chosen - before]


@dataclass(frozen=True)
class _Urn:
    """What windows and references are drawn from: pools of blocks, one a stratum."""

    pools: tuple[_Pool, ...]
    rows: int

    @classmethod
    def of(cls, reference: Reference, faces: int) -> _Urn:
        parts = np.unique(reference.stratum)
        shares = [faces // len(parts) + (i < faces % len(parts)) for i in range(len(parts))]
        pools = [_Pool.of(reference, int(part), share) for part, share in zip(parts, shares, strict=True) if share]
        return cls(tuple(pools), len(reference))

    def draw(self, count: int, random: np.random.Generator) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Windows and references as (count, M) counts of the reference's rows."""
        reference = np.zeros((count, self.rows), np.int32)
        faces = []
        for pool in self.pools:
            rows, drawn = pool.draw(count, random)
            faces.append(rows)
            reference[:, pool.rows] = np.repeat(drawn, pool.sizes[:-1], axis=1)
        flat = np.concatenate(faces, axis=1) + self.rows * np.arange(count)[:, None]
        window = np.bincount(flat.ravel(), minlength=count * self.rows).reshape(count, self.rows)
        return window.astype(np.int32), reference


def _turning_points(reference: Reference) -> Floats:
    """(M, C * 3) what the statistics of each column turn on: the rank, and whether it lies in either tail.

    A face without the measure stands in the middle.
    """
    found = []
    for values in reference.columns.values():
        told = np.isfinite(values)
        ranks = np.full(len(values), 0.5)
        ranks[told] = (stats.rankdata(values[told]) - 0.5) / told.sum()
        low, high = np.quantile(values[told], [0.05, 0.95], method="inverted_cdf")
        found += [ranks, np.where(told, values < low, 0.0), np.where(told, values > high, 0.0)]
    scores = np.stack(found, axis=1)
    for part in np.unique(reference.stratum):  # that strata differ is no variance of windows
        scores[reference.stratum == part] -= scores[reference.stratum == part].mean(axis=0)
    return scores


def _ratio(reference: Reference, scores: Floats, means: Floats, faces: int, random: np.random.Generator) -> Floats:
    """(B, C, 3) by how much windows vary more than drawn ones, of each turning point; at least 1."""
    shape = (len(means), len(reference.columns), 3)
    if reference.window is None:
        return np.ones(shape)
    count = len(np.unique(reference.window))
    luck = random.chisquare(max(count - 1, 1), size=(*shape[:2], 1)) / max(count - 1, 1)
    wanted = design_effect(scores, reference.window, faces, luck.repeat(3, axis=2).reshape(len(means), -1))
    variance = scores.var(axis=0)
    drawn = np.ones(len(variance))
    np.divide(means.var(axis=0) * faces, variance, out=drawn, where=variance > 0)
    return np.maximum(wanted / np.maximum(drawn, 1.0), 1.0).reshape(shape)


def design_effect(scores: Floats, window: Ints, faces: int, luck: Floats) -> Floats:
    """By how much faces of one window hanging together enlarges the variance of a window's mean.

    One-way analysis of variance with random effects (Searle, Casella and McCulloch, Variance Components, 1992, ch. 3):
    1 + (faces - 1) rho (Kish, Survey Sampling, 1965).

    Args:
        scores: (M, S) of each face.
        window: (M,) which it fell into.
        faces: of the windows that it is wanted for.
        luck: (B, S) by how much the variance between windows that was seen exceeds the true one; chi-squared over its
            degrees of freedom, of which a draw each makes the results a fiducial sample.

    Returns:
        (B, S), at least 1; 1 where there is a single window.
    """
    _, code, sizes = np.unique(window, return_inverse=True, return_counts=True)
    count, rows = len(sizes), len(window)
    if count < 2 or rows <= count:
        return np.ones(luck.shape)
    sums = np.zeros((count, scores.shape[1]))
    np.add.at(sums, code, scores - scores.mean(axis=0))
    between = (sums**2 / sizes[:, None]).sum(axis=0)
    total = ((scores - scores.mean(axis=0)) ** 2).sum(axis=0)
    typical = (rows - (sizes**2).sum() / rows) / (count - 1)
    within = np.maximum(total - between, np.finfo(float).tiny) / (rows - count)
    excess = np.maximum(between / (count - 1) / within / luck - 1.0, 0.0)
    return np.where(total > 0, 1.0 + (faces - 1) * excess / (excess + typical), 1.0)


def _stretched(null: Floats, ratio: Floats, faces: int) -> Floats:
    """Distances as they would be if drawn windows varied as real ones do.

    Args:
        null: (B, C * 4) of drawn ones.
        ratio: (B, C, 3) of variances; see `_ratio`.
        faces: of a window.
    """
    by_column = null.reshape(len(null), -1, len(METRICS)).copy()
    by_column[:, :, 0] *= ratio[:, :, 0]
    by_column[:, :, 1] *= np.sqrt(ratio[:, :, 0])
    odds = logit((by_column[:, :, 2:] * faces + 0.5) / (faces + 1))
    by_column[:, :, 2:] = expit(odds.mean(axis=0) + (odds - odds.mean(axis=0)) * np.sqrt(ratio[:, :, 1:]))
    return by_column.reshape(null.shape)
