"""What a student's map of covers is worth: against the segmentation, and as a sign that something hides the face."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import pyarrow.dataset as ds
from numpy.typing import NDArray

from stages.lib.classes import COVERS
from stages.lib.codec import decode, decode_classes
from stages.lib.deploy.session import Inspection
from stages.lib.metrics.bootstrap import bootstrap_mean
from stages.lib.models.contract import Faces, OcclusionMaps
from stages.lib.report.candidates import Candidate
from stages.lib.report.conditions import CLEAN, Condition
from stages.lib.report.trial import Measurement, Trial
from stages.lib.runtime import Runtime
from stages.lib.table import Table

BATCH = 128
DRAWN = 0.01
"""Share of the square that an operator must cover beyond the clean faces' own before its faces count as covered."""

Shares = NDArray[np.float64]


@runtime_checkable
class Teller(Protocol):
    """A model that may return a map of covers; `deploy.session.FaceModel` is one."""

    @property
    def tells_occlusion(self) -> bool: ...

    def inspect(self, faces: Faces) -> Inspection: ...


@dataclass(frozen=True)
class Covers:
    """What a model says of N faces, and what is so.

    Attributes:
        found: (N,) mean of the map: the share of the square that is said to be covered.
        right: (N,) share of the map's cells on the right side of one half; NaN for a face without a segmentation.
        true: (N,) share of the square that is covered; NaN for a face without a segmentation.
    """

    found: Shares
    right: Shares
    true: Shares

    def take(self, rows: NDArray[np.int64]) -> Covers:
        """The faces of these rows."""
        return Covers(self.found[rows], self.right[rows], self.true[rows])


def look_for_covers(
    table: Table, where: ds.Expression, models: Sequence[Candidate], runtime: Runtime, what: str
) -> dict[str, Covers]:
    """Ask every student that has a map; each face is decoded once.

    Args:
        table: faces of 112x112 pixels. A pixel whose class is not known counts as bare, as in training.
        where: which rows.
        models: those without a map are passed over.
        runtime: for the progress bar.
        what: its label.

    Returns:
        Identity of the candidate -> its covers, rows as in `table.read(columns, where)`.
    """
    opened = {model.identity: model.open() for model in models if model.role == "student"}
    tellers = {key: model for key, model in opened.items() if isinstance(model, Teller) and model.tells_occlusion}
    parts: dict[str, list[Covers]] = {key: [] for key in tellers}
    for shard in runtime.progress(table.shards if tellers else (), what, "shards"):
        for batch in replace(table, shards=(shard,)).scan(["image", "segmentation"], where, BATCH):
            faces = np.stack([decode(image) for image in batch["image"].to_pylist()])
            known = batch["segmentation"].to_pylist()
            for key, model in tellers.items():
                maps = model.inspect(faces).occlusion
                assert maps is not None
                parts[key].append(_judge(maps, known))
    return {key: _joined(found) for key, found in parts.items()}


def measure_covers(clean: Covers, degraded: Covers, cells: Sequence[Condition], trial: Trial) -> dict[str, Measurement]:
    """Figures of the clean faces and of each cell, with their resamples.

    Args:
        clean: of all clean test faces.
        degraded: of the degraded ones, rows as `cells` count them.
        cells: of the grid; where there are none, all clean faces are measured.
        trial: of the faces of the grid.

    Returns:
        Condition -> `cover_found` and `cover_true` (mean shares of the square), `cover_right` (mean share of cells),
        and where something was drawn `cover_auc`: the chance that a face of the cell gets more cover than a clean one.
        Figures that need a segmentation stand only where there is one.
    """
    bare = clean.take(cells[0].templates) if cells else clean
    found = {CLEAN: _figures(bare, trial)}
    for cell in cells:
        assert cell.probes is not None
        faces = degraded.take(cell.probes)
        measured = _figures(faces, trial)
        own = np.nanmean(bare.true) if not np.isnan(bare.true).all() else 0.0
        if measured.values.get("cover_true", 0.0) > own + DRAWN:
            value, replicates = _auc(faces.found, bare.found, trial)
            measured.values["cover_auc"], measured.replicates["cover_auc"] = value, replicates
        found[cell.name] = measured
    return found


def _judge(maps: OcclusionMaps, known: Sequence[bytes | None]) -> Covers:
    rows, columns = maps.shape[1:]
    right, true = np.full(len(maps), np.nan), np.full(len(maps), np.nan)
    for face, data in enumerate(known):
        if data is not None:
            covered = np.isin(decode_classes(data), COVERS)
            height, width = covered.shape
            share = covered.reshape(rows, height // rows, columns, width // columns).mean(axis=(1, 3))
            right[face], true[face] = ((maps[face] > 0.5) == (share > 0.5)).mean(), share.mean()
    return Covers(maps.mean(axis=(1, 2), dtype=np.float64), right, true)


def _joined(parts: Sequence[Covers]) -> Covers:
    empty: Shares = np.empty(0)
    columns = ([empty, *(getattr(part, name) for part in parts)] for name in ("found", "right", "true"))
    return Covers(*map(np.concatenate, columns))


def _figures(covers: Covers, trial: Trial) -> Measurement:
    columns: Mapping[str, Shares] = {
        "cover_found": covers.found,
        "cover_true": covers.true,
        "cover_right": covers.right,
    }
    values, replicates = {}, {}
    for name, column in columns.items():
        known = ~np.isnan(column)
        if known.any():
            values[name] = float(column[known].mean())
            replicates[name] = bootstrap_mean(column[known], trial.subject[known], trial.weights)
    return Measurement(values, replicates, np.empty(0, np.float32))


def _auc(covered: Shares, bare: Shares, trial: Trial) -> tuple[float, NDArray[np.float64]]:
    """Area under the ROC curve, and in each resample; ties count half (Mann-Whitney)."""
    wins = (covered[:, None] > bare).astype(np.float64) + 0.5 * (covered[:, None] == bare)
    subjects = trial.weights.shape[1]
    one_hot = np.eye(subjects)[trial.subject]
    of_people, counts = one_hot.T @ wins @ one_hot, one_hot.sum(axis=0)
    drawn = trial.weights.astype(np.float64)
    return float(wins.mean()), ((drawn @ of_people) * drawn).sum(axis=1) / (drawn @ counts) ** 2
