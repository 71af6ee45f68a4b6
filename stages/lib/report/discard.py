"""What a model's quality is worth: how fast misses fall as the pairs of lowest quality are turned away."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stages.lib.degrade.registry import OPERATORS
from stages.lib.deploy.session import Inspection
from stages.lib.metrics.bootstrap import bootstrap_mean
from stages.lib.metrics.det import det_curve
from stages.lib.metrics.edc import (
    DiscardCurve,
    bootstrap_normalised_area,
    error_versus_discard,
    error_versus_discard_refitted,
    rank_correlation,
)
from stages.lib.metrics.verification import fnmr_at_fmr
from stages.lib.report.conditions import CLEAN, Condition, Grid
from stages.lib.report.trial import Measurement, Trial

Qualities = Mapping[str, NDArray[np.float32]]

TECHNIQUES: Final = ("quality", "norm")
"""All that a model may say itself of how good a face is."""
LIMITS: Final = (0.2, 0.3)
"""Fractions up to which the partial area is taken."""
REFITTED: Final = 0.3
"""Likewise, of variant B."""
NPAUC_REFITTED: Final = f"npauc_refitted@{REFITTED:g}"
ALIGNED: Final = "aligned"
MISALIGNED: Final = "misaligned"
QUALITY_MISALIGNED: Final = "quality misaligned"
GROUPS: Final = (ALIGNED, MISALIGNED, QUALITY_MISALIGNED)
"""Of conditions. The clean faces are in the first two. In the last one, faces that lie askew are told the quality of,
and the scores are those of the same faces in place: a quality network whose detector is worse than the recogniser's."""


@dataclass(frozen=True)
class Discard:
    """FNMR against the share of pairs that one quality turns away, in one group of conditions.

    Attributes:
        technique: `norm`, `quality` of models that tell it, or the name of another model whose word it is.
        group: one of `GROUPS`.
        curve: of all mated pairs of the group, under one threshold.
    """

    technique: str
    group: str
    curve: DiscardCurve


def qualities_of(said: Inspection) -> dict[str, NDArray[np.float32]]:
    """Technique -> (N,), high is good: all that a model says of how good a face is."""
    return {"norm": said.norms} | ({} if said.quality is None else {"quality": said.quality})


def groups_of(grid: Grid) -> dict[str, list[tuple[str, Condition]]]:
    """Name of a group -> the condition whose scores count, and that of whose faces quality is told, one after another.

    A group without a degraded cell is absent.
    """
    straight, askew = ([c for c in grid.degraded if OPERATORS[c.operator].moves is moves] for moves in (False, True))
    clean = (CLEAN, grid.conditions[1])
    groups = {
        ALIGNED: [clean, *((cell.name, cell) for cell in straight)] if straight else [],
        MISALIGNED: [clean, *((cell.name, cell) for cell in askew)] if askew else [],
        QUALITY_MISALIGNED: [(CLEAN, cell) for cell in askew],
    }
    return {name: members for name, members in groups.items() if members}


def measure_discard(
    scores: Mapping[str, NDArray[np.float32]],
    clean: Qualities,
    degraded: Qualities,
    grid: Grid,
    trial: Trial,
    fmr_target: float,
) -> tuple[dict[str, Measurement], list[Discard]]:
    """Error versus discard (variant A; of B the area alone) of every technique in every group of conditions.

    One threshold for all groups, from all pairs of the clean faces and of all cells. Whether a quality tells good faces
    from bad ones shows where both are: see `GROUPS`.

    Args:
        scores: condition -> (P,) one a pair of the trial's protocol; `CLEAN` and each cell.
        clean: technique -> (N,) of the clean test faces.
        degraded: technique -> (M,) of the degraded ones, rows as the cells count them.
        grid: the conditions.
        trial: of the faces of the grid.
        fmr_target: false match rate that fixes the threshold.

    Returns:
        Group -> `fnmr_undiscarded`, `resolved` (1 where enough pairs miss for the areas to mean something),
        `oracle_npauc@<limit>` (of a quality that knew every score: the more pairs miss, the nearer to 1), for each
        technique `<technique>_npauc@<limit>` (normalised partial areas), `<technique>_correlation` (Spearman's, of a
        mated pair's quality with its score) and `<technique>_npauc_refitted@0.3` (of variant B, whose threshold follows
        the pairs that are left; not resampled, and NaN where a kind of pair runs out before), and
        `beyond_<technique>_npauc@<limit>`, the area of the model's own quality less that of another technique; and the
        curves.
    """
    genuine = trial.protocol.genuine
    groups = groups_of(grid)
    if not groups:
        return {}, []
    pooled = np.concatenate([scores[name] for name in (CLEAN, *(cell.name for cell in grid.degraded))])
    every = np.tile(genuine, len(grid.degraded) + 1)
    threshold = fnmr_at_fmr(det_curve(pooled, every), fmr_target).threshold
    found, curves = {}, []
    for group, members in groups.items():
        pairs = _pairs([name for name, _ in members], scores, trial, (threshold, fmr_target))
        cells = [cell for _, cell in members]
        qualities = {t: _of_pairs(clean[t], degraded[t], grid, cells, trial) for t in clean}
        of_technique = {t: _curve(pairs, quality) for t, quality in qualities.items()}
        found[group] = _worth(pairs, qualities, of_technique, trial)
        curves += [Discard(technique, group, curve) for technique, curve in of_technique.items()]
    return found, curves


@dataclass(frozen=True)
class Pairs:
    """Of a group, condition after condition.

    Attributes:
        scores: (P,) of all conditions.
        mated: (P,) whether each pair is mated.
        subject: (M,) whose each mated pair is.
        repeats: how many conditions have the same scores, and tell the quality of other pictures.
        drawn_of: impostor pairs that there are, for each one that was drawn.
        threshold: that scores must reach.
        fmr: false match rate that it is set at.
    """

    scores: NDArray[np.float64]
    mated: NDArray[np.bool_]
    subject: NDArray[np.int64]
    repeats: int
    drawn_of: float
    threshold: float
    fmr: float


def _pairs(
    names: Sequence[str], scores: Mapping[str, NDArray[np.float32]], trial: Trial, set_at: tuple[float, float]
) -> Pairs:
    genuine, faces = trial.protocol.genuine, len(trial.subject)
    subject = np.tile(trial.subject[trial.protocol.left[genuine]], len(names))
    impostors = faces * (faces - 1) / 2 - genuine.sum()  # no mated pair is left out
    pooled, mated = np.concatenate([scores[name] for name in names]).astype(np.float64), np.tile(genuine, len(names))
    return Pairs(pooled, mated, subject, len(names) // len(set(names)), impostors / (~genuine).sum(), *set_at)


def _curve(pairs: Pairs, quality: NDArray[np.float64]) -> DiscardCurve:
    """A miss is one miss, however many of the conditions have its score."""
    curve = error_versus_discard(pairs.scores[pairs.mated], quality[pairs.mated], pairs.threshold)
    return replace(curve, misses=curve.misses // pairs.repeats)


def _worth(
    pairs: Pairs, qualities: Mapping[str, NDArray[np.float64]], curves: Mapping[str, DiscardCurve], trial: Trial
) -> Measurement:
    mated, drawn = pairs.scores[pairs.mated], (pairs.subject, trial.weights)
    missed = mated < pairs.threshold
    oracle = error_versus_discard(mated, mated, pairs.threshold)  # the lowest scores leave first
    values = {"fnmr_undiscarded": float(missed.mean())}
    values |= {f"oracle_npauc@{limit:g}": oracle.normalised_area(limit) for limit in LIMITS}
    replicates = {"fnmr_undiscarded": bootstrap_mean(missed, *drawn)}
    for technique, quality in qualities.items():
        own, curve = quality[pairs.mated], curves[technique]
        values["resolved"] = float(curve.resolved)
        areas = bootstrap_normalised_area(mated, own, pairs.threshold, *drawn, LIMITS)
        for limit, area in zip(LIMITS, areas, strict=True):
            values[f"{technique}_npauc@{limit:g}"] = curve.normalised_area(limit)
            replicates[f"{technique}_npauc@{limit:g}"] = area
        whole, correlations = rank_correlation(mated, own, *drawn)
        values[f"{technique}_correlation"], replicates[f"{technique}_correlation"] = whole, correlations
        impostors = (pairs.scores[~pairs.mated], quality[~pairs.mated])
        refitted, _ = error_versus_discard_refitted(mated, own, *impostors, pairs.fmr, pairs.drawn_of)
        told = refitted.discarded[-1] > REFITTED - 0.05 - 1e-9  # its last step reaches the limit
        values[f"{technique}_{NPAUC_REFITTED}"] = refitted.normalised_area(REFITTED) if told else math.nan
    for other in (t for t in qualities if "quality" in qualities and t != "quality"):
        for limit in LIMITS:
            ours, theirs = (f"{technique}_npauc@{limit:g}" for technique in ("quality", other))
            values[f"beyond_{other}_npauc@{limit:g}"] = values[ours] - values[theirs]
            replicates[f"beyond_{other}_npauc@{limit:g}"] = replicates[ours] - replicates[theirs]
    return Measurement(values, replicates, np.empty(0, np.float32))


def _of_pairs(
    clean: NDArray[np.float32], degraded: NDArray[np.float32], grid: Grid, cells: Sequence[Condition], trial: Trial
) -> NDArray[np.float64]:
    """The smaller quality of the two faces of each pair, condition by condition; templates are clean faces."""
    left, right = trial.protocol.left, trial.protocol.right
    enrolled = clean[grid.conditions[1].templates]
    probes = [enrolled if cell.probes is None else degraded[cell.probes] for cell in cells]
    return np.concatenate([np.minimum(enrolled[left], probe[right]) for probe in probes]).astype(np.float64)


def mean_qualities(clean: Qualities, degraded: Qualities, grid: Grid, trial: Trial) -> dict[str, Measurement]:
    """Condition -> `<technique>_mean` over the faces of the grid: a quality should fall as the faces get worse."""
    rows = {CLEAN: {technique: values[grid.conditions[1].templates] for technique, values in clean.items()}}
    rows |= {cell.name: {t: values[cell.probes] for t, values in degraded.items()} for cell in grid.degraded}
    return {name: _means(said, trial.subject, trial) for name, said in rows.items()}


def mean_by_pose(
    told: Mapping[str | None, Qualities], poses: Mapping[str | None, Mapping[str, Trial]]
) -> dict[str, Measurement]:
    """Condition of turned heads -> `<technique>_mean` over the more turned faces of its pairs.

    Args:
        told: source, or None for the test people -> technique -> (K,) of its clean faces.
        poses: likewise -> name of a condition -> comparisons by pose.
    """
    return {
        name: _means({t: q[trial.probes] for t, q in told[source].items()}, trial.subject[trial.probes], trial)
        for source, trials in poses.items()
        for name, trial in trials.items()
        if len(trial.probes)
    }


def _means(said: Qualities, subject: NDArray[np.int64], trial: Trial) -> Measurement:
    return Measurement(
        {f"{technique}_mean": float(values.mean()) for technique, values in said.items()},
        {f"{technique}_mean": bootstrap_mean(values, subject, trial.weights) for technique, values in said.items()},
        np.empty(0, np.float32),
    )
