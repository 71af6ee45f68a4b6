"""What a student's map of covers is worth: against the segmentation, and as a sign that something hides the face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Protocol, runtime_checkable

import numpy as np
import pandas as pd
import pyarrow.dataset as ds
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from stages.lib.classes import COVERS
from stages.lib.codec import decode, decode_classes
from stages.lib.deploy.session import Inspection
from stages.lib.metrics.bootstrap import Ints, Replicates, bootstrap_mean
from stages.lib.models.contract import Faces, OcclusionMaps
from stages.lib.report.candidates import Candidate
from stages.lib.report.conditions import CLEAN, Condition
from stages.lib.report.trial import Measurement, Trial
from stages.lib.runtime import Runtime
from stages.lib.table import Table

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
            known = batch["segmentation"].to_pylist()
            for key, model in tellers.items():
                assert isinstance(model, Inspector)
                maps = model.inspect(faces).occlusion
                assert maps is not None
                parts[key].append(judge(maps, known))
    return {key: pd.concat(found, ignore_index=True) for key, found in parts.items()}


def judge(maps: OcclusionMaps, known: Sequence[bytes | None]) -> pd.DataFrame:
    """`SHARES` of N faces, from their maps (N, rows, columns) and encoded segmentations."""
    found = pd.DataFrame({"found": maps.mean(axis=(1, 2), dtype=np.float64)}, columns=SHARES, dtype=float)
    rows = [row for row, data in enumerate(known) if data is not None]
    if rows:
        classes = np.stack([decode_classes(data) for data in known if data is not None])
        hidden = torch.from_numpy(np.isin(classes, COVERS)).float()
        share = F.adaptive_avg_pool2d(hidden[:, None], (maps.shape[1], maps.shape[2]))[:, 0].numpy()
        truth, said = share > 0.5, maps[rows] > 0.5
        cells = (truth, truth & said, said & ~truth)
        found.loc[rows, "true"] = hidden.mean(dim=(1, 2)).numpy()
        found.loc[rows, ["covered", "hit", "false"]] = np.stack([cell.mean(axis=(1, 2)) for cell in cells], axis=1)
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
    found = {CLEAN: _measurement(before, trial)}
    bare = np.flatnonzero(before["true"].fillna(0.0) <= BARE)
    for cell in cells:
        assert cell.probes is not None
        after = degraded.iloc[cell.probes].reset_index(drop=True)
        measured = _measurement(after, trial)
        if len(bare) and after["true"].iloc[bare].fillna(0.0).mean() > BARE:
            value, replicates = _auc(after["found"].iloc[bare], before["found"].iloc[bare], trial, bare)
            measured.values["cover_auc"], measured.replicates["cover_auc"] = value, replicates
        found[cell.name] = measured
    return found


def _measurement(shares: pd.DataFrame, trial: Trial) -> Measurement:
    values: dict[str, float] = {}
    replicates: dict[str, Replicates] = {}

    def add(name: str, part: pd.Series, whole: pd.Series) -> None:
        rows = np.flatnonzero(whole.notna())
        if whole.iloc[rows].sum() > 0:
            both = [side.iloc[rows].to_numpy() for side in (part, whole)]
            values[name] = float(both[0].sum() / both[1].sum())
            means = (bootstrap_mean(side, trial.subject[rows], trial.weights) for side in both)
            replicates[name] = _ratio(*means)

    everywhere = pd.Series(1.0, shares.index)
    add("cover_found", shares["found"], everywhere)
    add("cover_true", shares["true"], everywhere.where(shares["true"].notna()))
    add("cover_recall", shares["hit"], shares["covered"])
    add("cover_false", shares["false"], 1.0 - shares["covered"])
    return Measurement(values, replicates, np.empty(0, np.float32))


def _auc(covered: pd.Series, bare: pd.Series, trial: Trial, rows: Ints) -> tuple[float, Replicates]:
    """Area under the ROC curve of these faces, and in each resample; ties count half (Mann-Whitney)."""
    order = np.argsort(trial.subject[rows], kind="stable")
    people, first, counts = np.unique(trial.subject[rows][order], return_index=True, return_counts=True)
    left, right = covered.to_numpy()[order, None], bare.to_numpy()[order]
    wins: NDArray[np.float32] = (left > right).astype(np.float32) + np.float32(0.5) * (left == right)
    of_people = np.add.reduceat(np.add.reduceat(wins, first, axis=0), first, axis=1)
    drawn = trial.weights[:, people].astype(np.float64)
    return float(wins.mean()), _ratio(((drawn @ of_people) * drawn).sum(axis=1), (drawn @ counts) ** 2)


def _ratio(part: Replicates, whole: Replicates) -> Replicates:
    """NaN where a resample drew none of the faces that count."""
    ratios: Replicates = np.full(len(whole), np.nan)
    np.divide(part, whole, out=ratios, where=whole > 0)
    return ratios
