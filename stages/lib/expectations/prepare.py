"""The frame that Great Expectations sees: the columns that a suite reads, those that we derive among them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from stages.lib.errors import ConfigError
from stages.lib.expectations import faults
from stages.lib.table.schema import CORE, DEGRADATION


@dataclass(frozen=True)
class Evidence:
    """What a gate judges.

    Attributes:
        frame: one row per face, metadata columns.
        rejects: faces dropped on the way to the table.
        parents: `face_id`, `subject_id` and `split` of the clean table, where degraded faces are judged.
        grid: operator -> severities of the test grid.
    """

    frame: pd.DataFrame
    rejects: int
    parents: pd.DataFrame | None
    grid: Mapping[str, tuple[int, ...]]


def metadata_columns(columns: Sequence[str]) -> list[str]:
    """The columns that a gate reads: all but encoded images and label maps."""
    blobs = {f.name for f in CORE if pa.types.is_binary(f.type)}
    return [name for name in columns if name not in blobs]


def prepare(evidence: Evidence, columns: Collection[str]) -> pd.DataFrame:
    """The named columns, taken from the frame or derived, beside `row`, `face_id`, `subject_id` and `split`.

    A column that is neither there nor derived comes without values, so that its checks fail and not the run.
    """
    frame = evidence.frame.reset_index(drop=True)
    contract = [*metadata_columns(CORE.names), *DEGRADATION.names]
    stored = [*frame.columns, *contract, *(name for name in columns if name not in DERIVED)]
    frame = frame.reindex(columns=list(dict.fromkeys(stored)))
    whole = Evidence(frame, evidence.rejects, evidence.parents, evidence.grid)
    derived = {name: DERIVED[name](whole) for name in columns if name in DERIVED}
    frame = frame.assign(row=np.arange(len(frame)), **derived)
    wanted = ["row", "face_id", "subject_id", "split", *columns]
    return frame.reindex(columns=list(dict.fromkeys(wanted)))


def _reject_share(evidence: Evidence) -> pd.Series:
    share = evidence.rejects / max(1, len(evidence.frame) + evidence.rejects)
    return pd.Series(share, index=evidence.frame.index, dtype=float)


def _faces_of_person(evidence: Evidence) -> pd.Series:
    people = evidence.frame["subject_id"]
    return people.map(people.value_counts()).astype(float)


def _parent_fault(evidence: Evidence) -> pd.Series:
    if evidence.parents is None:
        raise ConfigError(
            "degraded faces are judged beside their clean table: pass its face_id, subject_id, split as parents"
        )
    return faults.parent_fault(evidence.frame, evidence.parents)


DERIVED: dict[str, Callable[[Evidence], pd.Series]] = {
    "reject_share": _reject_share,
    "faces_of_person": _faces_of_person,
    "split_fault": lambda evidence: faults.split_fault(evidence.frame),
    "landmarks_fault": lambda evidence: faults.landmarks_fault(evidence.frame),
    "quality_fault": lambda evidence: faults.quality_fault(evidence.frame),
    "parent_fault": _parent_fault,
    "grid_cell": lambda evidence: faults.grid_cell(evidence.frame),
    "grid_fault": lambda evidence: faults.grid_fault(evidence.frame, evidence.grid),
}
