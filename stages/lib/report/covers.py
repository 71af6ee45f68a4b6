"""What a student's map of covers is worth: against the segmentation, and as a sign that something hides the face."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pandas as pd
import pyarrow.dataset as ds
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from stages.lib.classes import COVERS
from stages.lib.codec import Pixels, decode_classes
from stages.lib.deploy.session import Inspection
from stages.lib.metrics.bootstrap import Ints, Replicates, bootstrap_mean
from stages.lib.models.contract import OcclusionMaps
from stages.lib.report.conditions import CLEAN, Condition
from stages.lib.report.trial import Measurement, Trial
from stages.lib.runtime import Runtime
from stages.lib.table import Table

Figure = tuple[float, Replicates]

BATCH: Final = 128
BARE: Final = 0.01
"""Largest covered share of the square of a face that counts as bare."""
SHARES: Final = ("found", "true", "covered", "hit", "false")
"""Columns of a table of covers, a row each face, all shares in 0..1: of the square, what the map and the segmentation
call covered; of the map's cells, those that are covered by more than half, of these those that the map calls covered
too, and the bare ones that it calls covered. All but `found` are NaN without a segmentation."""


@dataclass(frozen=True)
class Truth:
    """What segmentations say of N faces.

    Attributes:
        hidden: (N,) covered share of the square; NaN for a face without a segmentation.
        cells: (N, rows, columns) covered share of each cell of a map; NaN likewise.
    """

    hidden: NDArray[np.float64]
    cells: NDArray[np.float32]


Truths = Mapping[tuple[int, ...], Truth]
"""By the shape of the maps."""


def read_truth(
    table: Table, where: ds.Expression, shapes: Iterable[tuple[int, ...]], runtime: Runtime, what: str
) -> Truths:
    """Read the segmentations, each once.

    Args:
        table: faces of 112x112 pixels. A pixel whose class is not known counts as bare, as in training.
        where: which rows.
        shapes: rows and columns of the maps that are to be judged; none reads nothing.
        runtime: for the progress bar.
        what: its label.

    Returns:
        By shape, rows as in `table.read(columns, where)`.
    """
    parts: dict[tuple[int, ...], list[Truth]] = {shape: [_truth([], shape)] for shape in shapes}
    for shard in runtime.progress(table.shards if parts else (), what, "shards"):
        for batch in replace(table, shards=(shard,)).scan(["segmentation"], where, BATCH):
            known = [None if data is None else decode_classes(data) for data in batch["segmentation"].to_pylist()]
            for shape, found in parts.items():
                found.append(_truth(known, shape))
    return {
        shape: Truth(np.concatenate([t.hidden for t in found]), np.concatenate([t.cells for t in found]))
        for shape, found in parts.items()
    }


def _truth(known: Sequence[Pixels | None], shape: tuple[int, ...]) -> Truth:
    hidden, cells = np.full(len(known), np.nan), np.full((len(known), *shape), np.nan, np.float32)
    rows = [row for row, classes in enumerate(known) if classes is not None]
    if rows:
        covered = np.isin(np.stack([classes for classes in known if classes is not None]), COVERS)
        hidden[rows] = covered.mean(axis=(1, 2))
        square = torch.from_numpy(covered).float()[:, None]
        cells[rows] = F.adaptive_avg_pool2d(square, (shape[0], shape[1]))[:, 0].numpy()
    return Truth(hidden, cells)


def judge(maps: OcclusionMaps, truth: Truth) -> pd.DataFrame:
    """`SHARES` of N faces, from their maps (N, rows, columns) and what is true of them."""
    found = pd.DataFrame({"found": maps.mean(axis=(1, 2), dtype=np.float64), "true": truth.hidden}, columns=SHARES)
    known = np.isfinite(truth.hidden)
    covered, said = truth.cells[known] > 0.5, maps[known] > 0.5
    cells = (covered, covered & said, said & ~covered)
    found[["covered", "hit", "false"]] = np.nan
    found.loc[known, ["covered", "hit", "false"]] = np.stack([cell.mean(axis=(1, 2)) for cell in cells], axis=1)
    return found.astype(float)


def judge_covers(
    clean: Inspection, degraded: Inspection, bare: Truths, hidden: Truths, cells: Sequence[Condition], trial: Trial
) -> dict[str, Measurement]:
    """`measure_covers` of what a model says of the clean and of the degraded faces; nothing of one without a map."""
    if clean.occlusion is None or degraded.occlusion is None:
        return {}
    shape = clean.occlusion.shape[1:]
    return measure_covers(judge(clean.occlusion, bare[shape]), judge(degraded.occlusion, hidden[shape]), cells, trial)


def measure_covers(
    clean: pd.DataFrame, degraded: pd.DataFrame, cells: Sequence[Condition], trial: Trial
) -> dict[str, Measurement]:
    """Figures of the clean faces and of each cell, with their resamples.

    Args:
        clean: `SHARES` of all clean test faces.
        degraded: of the degraded ones, rows as `cells` count them.
        cells: of the grid; where there are none, all clean faces are measured.
        trial: of the faces of the grid.

    Returns:
        Condition -> `cover_found` and `cover_true` (mean shares of the square), `cover_recall` (of the covered cells),
        `cover_false` (of the bare cells), and where something was drawn `cover_auc`: of the faces that were bare
        before, the chance that one of the cell gets more cover than a clean one. What needs a segmentation, or a
        covered cell, stands only where there is one.
    """
    before = clean.iloc[cells[0].templates].reset_index(drop=True) if cells else clean
    found = {CLEAN: _measurement(_figures(before, trial))}
    bare = np.flatnonzero(before["true"].fillna(0.0) <= BARE)
    for cell in cells:
        assert cell.probes is not None
        after = degraded.iloc[cell.probes].reset_index(drop=True)
        figures = _figures(after, trial)
        if len(bare) and after["true"].iloc[bare].fillna(0.0).mean() > BARE:
            figures["cover_auc"] = _auc(
                after["found"].iloc[bare], before["found"].iloc[bare], trial.subject[bare], trial
            )
        found[cell.name] = _measurement(figures)
    return found


def _measurement(figures: Mapping[str, Figure]) -> Measurement:
    values = {name: value for name, (value, _) in figures.items()}
    return Measurement(values, {name: own for name, (_, own) in figures.items()}, np.empty(0, np.float32))


def _figures(shares: pd.DataFrame, trial: Trial) -> dict[str, Figure]:
    everywhere = pd.Series(1.0, shares.index)
    parts = {
        "cover_found": (shares["found"], everywhere),
        "cover_true": (shares["true"], everywhere.where(shares["true"].notna())),
        "cover_recall": (shares["hit"], shares["covered"]),
        "cover_false": (shares["false"], 1.0 - shares["covered"]),
    }
    return {name: _share(part, whole, trial) for name, (part, whole) in parts.items() if whole.sum() > 0}


def _share(part: pd.Series, whole: pd.Series, trial: Trial) -> Figure:
    rows = np.flatnonzero(whole.notna())
    both = [side.iloc[rows].to_numpy() for side in (part, whole)]
    means = (bootstrap_mean(side, trial.subject[rows], trial.weights) for side in both)
    return float(both[0].sum() / both[1].sum()), _ratio(*means)


def _auc(covered: pd.Series, bare: pd.Series, subject: Ints, trial: Trial) -> Figure:
    """Area under the ROC curve of these faces, and in each resample; ties count half (Mann-Whitney)."""
    order = np.argsort(bare.to_numpy(), kind="stable")
    ranks = [np.searchsorted(bare.to_numpy()[order], covered.to_numpy(), side) for side in ("left", "right")]
    wins, totals = [], []
    for weights in [np.ones((1, trial.weights.shape[1])), *np.array_split(trial.weights, 16)]:
        drawn = weights[:, subject].astype(np.float64)
        below = np.cumsum(np.pad(drawn[:, order], ((0, 0), (1, 0))), axis=1)  # weight of the bare ones up to each rank
        wins.append((drawn * (below[:, ranks[0]] + below[:, ranks[1]]) / 2).sum(axis=1))
        totals.append(drawn.sum(axis=1) ** 2)
    whole, *resampled = _ratio(np.concatenate(wins), np.concatenate(totals))
    return float(whole), np.array(resampled)


def _ratio(part: Replicates, whole: Replicates) -> Replicates:
    """NaN where a resample drew none of the faces that count."""
    ratios: Replicates = np.full(len(whole), np.nan)
    np.divide(part, whole, out=ratios, where=whole > 0)
    return ratios
