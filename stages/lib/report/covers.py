"""What a student's map of covers is worth: against the segmentation, and as a sign that something hides the face."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol, runtime_checkable

import numpy as np
import pandas as pd
import pyarrow.dataset as ds
import torch
from torch.nn import functional as F

from stages.lib.classes import COVERS
from stages.lib.codec import decode, decode_classes
from stages.lib.deploy.session import Inspection
from stages.lib.geometry.template import SIZE
from stages.lib.metrics.bootstrap import Ints, Replicates, bootstrap_mean
from stages.lib.models.contract import Faces, OcclusionMaps
from stages.lib.report.candidates import Candidate
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


@runtime_checkable
class Inspector(Protocol):
    """A model that returns a map of covers; `deploy.session.FaceModel` is one."""

    def inspect(self, faces: Faces) -> Inspection: ...


def look_for_covers(
    table: Table, where: ds.Expression, models: Sequence[Candidate], runtime: Runtime, what: str
) -> dict[str, pd.DataFrame]:
    """Ask every model that has a map; each face is decoded once.

    Args:
        table: faces of 112x112 pixels. A pixel whose class is not known counts as bare, as in training.
        where: which rows.
        models: those without a map are passed over.
        runtime: for the progress bar.
        what: its label.

    Returns:
        Identity of the candidate -> `SHARES`, rows as in `table.read(columns, where)`.
    """
    tellers = {model.identity: model.open() for model in models if model.tells_covers}
    parts: dict[str, list[pd.DataFrame]] = {key: [pd.DataFrame(columns=SHARES, dtype=float)] for key in tellers}
    for shard in runtime.progress(table.shards if tellers else (), what, "shards"):
        for batch in replace(table, shards=(shard,)).scan(["image", "segmentation"], where, BATCH):
            faces = np.stack([decode(image) for image in batch["image"].to_pylist()])
            truth = Truth.of(batch["segmentation"].to_pylist())
            for key, model in tellers.items():
                assert isinstance(model, Inspector)
                maps = model.inspect(faces).occlusion
                assert maps is not None
                parts[key].append(judge(maps, truth))
    return {key: pd.concat(found, ignore_index=True) for key, found in parts.items()}


@dataclass(frozen=True)
class Truth:
    """What segmentations say of some faces.

    Attributes:
        rows: (K,) of the faces, those that have a segmentation.
        hidden: float (K, 1, 112, 112), 1 where the face is covered.
    """

    rows: Ints
    hidden: torch.Tensor

    @classmethod
    def of(cls, segmentations: Sequence[bytes | None]) -> Truth:
        """Decode a batch's; None stands for a face without one."""
        rows = np.array([row for row, data in enumerate(segmentations) if data is not None], np.int64)
        classes = [decode_classes(data) for data in segmentations if data is not None]
        stacked = np.stack(classes) if classes else np.empty((0, SIZE, SIZE), np.uint8)
        return cls(rows, torch.from_numpy(np.isin(stacked, COVERS)).float()[:, None])


def judge(maps: OcclusionMaps, truth: Truth) -> pd.DataFrame:
    """`SHARES` of N faces, from their maps (N, rows, columns) and what is true of them."""
    found = pd.DataFrame({"found": maps.mean(axis=(1, 2), dtype=np.float64)}, columns=SHARES, dtype=float)
    if len(truth.rows):
        share = F.adaptive_avg_pool2d(truth.hidden, (maps.shape[1], maps.shape[2]))[:, 0].numpy()
        covered, said = share > 0.5, maps[truth.rows] > 0.5
        cells = (covered, covered & said, said & ~covered)
        found.loc[truth.rows, "true"] = truth.hidden.mean(dim=(1, 2, 3)).numpy()
        shares = np.stack([cell.mean(axis=(1, 2)) for cell in cells], axis=1)
        found.loc[truth.rows, ["covered", "hit", "false"]] = shares
    return found


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
