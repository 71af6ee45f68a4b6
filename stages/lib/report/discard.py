"""What a model's quality is worth: how fast misses fall as the pairs of lowest quality are turned away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from stages.lib.deploy.session import Inspection
from stages.lib.metrics.bootstrap import bootstrap_mean
from stages.lib.metrics.edc import DiscardCurve, bootstrap_normalised_area, error_versus_discard
from stages.lib.metrics.verification import target_name, verification
from stages.lib.report.conditions import CLEAN, Condition, Grid
from stages.lib.report.trial import Measurement, Trial

Qualities = Mapping[str, NDArray[np.float32]]

TECHNIQUES: Final = ("quality", "norm")
"""All that a model may say of how good a face is."""
LIMITS: Final = (0.2, 0.3)
"""Fractions up to which the partial area is taken."""
ALIGNED: Final = "aligned"
MISALIGNED: Final = "misaligned"
GROUPS: Final = (ALIGNED, MISALIGNED)
"""Of conditions; the clean faces are in both."""
ASKEW: Final = ("box_only", "misalignment", "wrong_landmarker")
"""Degradations that leave the picture as it is and put the face askew in its frame."""


@dataclass(frozen=True)
class Discard:
    """FNMR against the share of pairs that one quality turns away, in one group of conditions.

    Attributes:
        technique: `norm`, or `quality` of models that tell it.
        group: `aligned` or `misaligned`; the clean faces are in both.
        curve: of all mated pairs of the group, under one threshold.
    """

    technique: str
    group: str
    curve: DiscardCurve


def qualities_of(said: Inspection) -> dict[str, NDArray[np.float32]]:
    """Technique -> (N,), high is good: all that a model says of how good a face is."""
    return {"norm": said.norms} | ({} if said.quality is None else {"quality": said.quality})


def groups_of(grid: Grid) -> dict[str, list[Condition]]:
    """Name of a group -> its degraded cells; a group without any is absent."""
    askew = [cell for cell in grid.degraded if cell.operator in ASKEW]
    groups = {ALIGNED: [cell for cell in grid.degraded if cell.operator not in ASKEW], MISALIGNED: askew}
    return {name: cells for name, cells in groups.items() if cells}


def measure_discard(
    scores: Mapping[str, NDArray[np.float32]],
    clean: Qualities,
    degraded: Qualities,
    grid: Grid,
    trial: Trial,
    fmr_target: float,
) -> tuple[dict[str, Measurement], list[Discard]]:
    """Error versus discard (variant A) of every technique in every group of conditions.

    The pairs of a group are those of its cells and of the clean faces together, under one threshold: whether a
    quality tells good faces from bad ones shows where both are there.

    Args:
        scores: condition -> (P,) one a pair of the trial's protocol; `CLEAN` and each cell.
        clean: technique -> (N,) of the clean test faces.
        degraded: technique -> (M,) of the degraded ones, rows as the cells count them.
        grid: the conditions.
        trial: of the faces of the grid.
        fmr_target: false match rate that fixes the threshold.

    Returns:
        Group -> `fnmr_undiscarded` and for each technique `<technique>_npauc@<limit>` (normalised partial areas) and
        `<technique>_correlation` (Spearman's, of a mated pair's quality with its score); and the curves.
    """
    genuine = trial.protocol.genuine
    found, curves = {}, []
    for group, cells in groups_of(grid).items():
        pooled = np.concatenate([scores[name] for name in (CLEAN, *(cell.name for cell in cells))])
        every = np.tile(genuine, len(cells) + 1)
        figures = verification(pooled, every, fmr_targets=(fmr_target,))
        threshold = figures[f"threshold@{target_name(fmr_target)}"]
        subject = np.tile(trial.subject[trial.protocol.left[genuine]], len(cells) + 1)
        mated = pooled[every].astype(np.float64)
        values = {"fnmr_undiscarded": float((mated < threshold).mean())}
        replicates = {"fnmr_undiscarded": bootstrap_mean(mated < threshold, subject, trial.weights)}
        for technique in clean:
            quality = _of_pairs(clean[technique], degraded[technique], grid, cells, trial)
            curve = error_versus_discard(mated, quality, threshold)
            areas = bootstrap_normalised_area(mated, quality, threshold, subject, trial.weights, LIMITS)
            names = [f"{technique}_npauc@{limit:g}" for limit in LIMITS]
            values |= dict(zip(names, map(curve.normalised_area, LIMITS), strict=True))
            replicates |= dict(zip(names, areas, strict=True))
            values[f"{technique}_correlation"] = float(spearmanr(quality, mated).statistic)
            curves.append(Discard(technique, group, curve))
        found[group] = Measurement(values, replicates, np.empty(0, np.float32))
    return found, curves


def _of_pairs(
    clean: NDArray[np.float32], degraded: NDArray[np.float32], grid: Grid, cells: Sequence[Condition], trial: Trial
) -> NDArray[np.float64]:
    """The smaller quality of the two faces of each mated pair, clean ones first, then cell by cell."""
    genuine = trial.protocol.genuine
    left, right = trial.protocol.left[genuine], trial.protocol.right[genuine]
    enrolled = clean[grid.conditions[1].templates]
    probes = [enrolled, *(degraded[cell.probes] for cell in cells)]
    return np.concatenate([np.minimum(enrolled[left], probe[right]) for probe in probes]).astype(np.float64)


def mean_qualities(clean: Qualities, degraded: Qualities, grid: Grid, trial: Trial) -> dict[str, Measurement]:
    """Condition -> `<technique>_mean` over the faces of the grid: a quality should fall as the faces get worse."""
    rows = {CLEAN: {technique: values[grid.conditions[1].templates] for technique, values in clean.items()}}
    rows |= {cell.name: {t: values[cell.probes] for t, values in degraded.items()} for cell in grid.degraded}
    return {
        name: Measurement(
            {f"{technique}_mean": float(values.mean()) for technique, values in said.items()},
            {f"{t}_mean": bootstrap_mean(values, trial.subject, trial.weights) for t, values in said.items()},
            np.empty(0, np.float32),
        )
        for name, said in rows.items()
    }
