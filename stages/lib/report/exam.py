"""What every model is put through: one set of comparisons for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.lib.errors import ConfigError
from stages.lib.report.conditions import TRANSFER, Grid
from stages.lib.report.lists import PairList, read_lists
from stages.lib.report.pose import pose_trials
from stages.lib.report.transfer import transfer_faces
from stages.lib.report.trial import Trial
from stages.lib.table import Table


@dataclass(frozen=True)
class Rules:
    """How comparisons are drawn and judged.

    Attributes:
        seed: of impostor pairs and resamples.
        replicates: resamples of the people.
        max_impostors: most impostor pairs of one set of people.
        fmr_targets: false match rates at which FNMR is read; the first freezes the threshold.
        both: operators whose cells are measured with both faces degraded too.
    """

    seed: int
    replicates: int
    max_impostors: int
    fmr_targets: tuple[float, ...]
    both: tuple[str, ...]

    def trial(self, people: pa.ChunkedArray, source: str | None = None) -> Trial:
        """Comparisons among faces, from (N,) the person of each; of another source than the test people's if named.

        Raises:
            ConfigError: the people allow no comparison.
        """
        subject = np.unique(people.to_numpy(), return_inverse=True)[1]
        trial = Trial.of(subject, self.max_impostors, self.replicates, self.seed)
        genuine = trial.protocol.genuine
        if genuine.all() or not genuine.any():
            fix = "raise ingest.test_fraction or synthesize.grid_faces"
            if source:
                fix = f"take {source} out of ingest.more"
            raise ConfigError(
                f"{len(subject)} faces of {trial.protocol.subjects} {source or 'test'} people allow no comparison: "
                f"evaluate needs two people and one with two faces; {fix}"
            )
        return trial


@dataclass(frozen=True)
class Exam:
    """What every model is put through.

    Attributes:
        grid: the conditions.
        everyone: comparisons among all clean test faces.
        subset: comparisons among the faces of the grid, the same in every cell.
        lists: published lists.
        transfers: source -> comparisons among its people, of whom no model of ours saw any.
        poses: source, or None for the test people -> name of a condition -> comparisons by pose.
        covariates: name -> (N,) value of each clean test face.
        rules: what else it was set by.
    """

    grid: Grid
    everyone: Trial
    subset: Trial
    lists: Sequence[PairList]
    transfers: Mapping[str, Trial]
    poses: Mapping[str | None, Mapping[str, Trial]]
    covariates: Mapping[str, NDArray[np.floating]]
    rules: Rules


def set_exam(rules: Rules, aligned: Table, faces: pa.Table, grid: Grid, pairs: Path) -> tuple[Exam, list[str]]:
    """Draw all comparisons; with sentences on what was left out.

    Args:
        rules: how.
        aligned: table of clean faces.
        faces: `face_id`, `subject_id`, `source`, `yaw` and `q_*` of the (N,) clean test faces.
        grid: the conditions.
        pairs: Parquet of published pair lists; it may be missing or empty.

    Raises:
        ConfigError: the test people, or those of another source, allow no comparison.
    """
    everyone = rules.trial(faces["subject_id"])
    chosen = faces.take(pa.array(grid.conditions[1].templates))
    subset = everyone if grid.faces == len(faces) else rules.trial(chosen["subject_id"])
    lists, notes = read_lists(pairs, aligned, faces, everyone.subject)
    if grid.incomplete:
        notes.append(f"{grid.incomplete} faces lack a cell of the grid and were left out of all cells")
    for operator in sorted(set(rules.both) - {cell.operator for cell in grid.degraded}):
        notes.append(f"evaluate.both names {operator}, of which the grid has no cell")

    posed, more = pose_trials(everyone, faces, "", "the test people")
    poses: dict[str | None, Mapping[str, Trial]] = {None: posed}
    notes += more
    there = transfer_faces(aligned)
    transfers = {source: rules.trial(rows["subject_id"], source) for source, rows in there.items()}
    for source, trial in transfers.items():
        poses[source], more = pose_trials(trial, there[source], f"{TRANSFER}{source}_", source)
        notes += more
    if not transfers and set(faces["source"].to_pylist()) == {"cohort"}:
        notes.append("All test faces are computed, and no photographs are in the table to check the transfer to them")
    covariates = {c: faces[c].to_numpy() for c in faces.column_names if c.startswith("q_")}
    return Exam(grid, everyone, subset, lists, transfers, poses, covariates, rules), notes
