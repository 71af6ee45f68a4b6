"""Which faces are searched with which: the clean test faces, and the same faces degraded, cell by cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Ints = NDArray[np.int64]

ALL: Final = "clean_all"
"""Every clean test face."""
CLEAN: Final = "clean"
"""Clean faces of the people in the grid: the column that the degraded cells are compared with."""
DEGRADED: Final = "degraded_mean"
"""Not a condition of its own: the plain mean over the degraded cells."""
TRANSFER: Final = "transfer_"
"""Heads the name of a condition of its own people: those of another source, such as `transfer_orl`."""
BOTH: Final = "both_"
"""Heads the name of a cell in which the templates are degraded as well, such as `both_mask-2`."""
YAW: Final = "yaw_"
"""In the name of a condition of turned heads: `yaw_45-60`, or `transfer_fasseg_yaw_45-60` of another source."""
POOLED: Final = "degraded_pooled"
"""Not a condition of its own: the pairs of all degraded cells in one curve, under one threshold."""


@dataclass(frozen=True)
class Condition:
    """A column of the report: clean templates against probes in one condition.

    Attributes:
        name: `clean_all`, `clean`, or operator and severity such as `blur-2`.
        operator: `clean` or the degradation.
        severity: 0 for clean, else 1 (mildest) and up.
        templates: (N,) rows of the clean test faces.
        probes: (N,) rows of the degraded faces, the same face as `templates` at each place; None where the clean
            faces are the probes too.
    """

    name: str
    operator: str
    severity: int
    templates: Ints
    probes: Ints | None


@dataclass(frozen=True)
class Grid:
    """All conditions, `clean_all` first and `clean` second.

    Attributes:
        conditions: in order of operator (as in the table) and severity.
        faces: clean faces that are there in every cell.
        incomplete: clean faces left out, because a cell lacks them.
    """

    conditions: tuple[Condition, ...]
    faces: int
    incomplete: int

    @property
    def degraded(self) -> tuple[Condition, ...]:
        """The cells of the grid."""
        return self.conditions[2:]


def grid_of(face_ids: pa.Array, degraded: pa.Table) -> Grid:
    """Line up the degraded test faces with their clean parents.

    Args:
        face_ids: (N,) of the clean test faces.
        degraded: `parent_id`, `d_operator` and `d_severity` of the degraded ones, rows as embedded.
    """
    clean_row = {face: row for row, face in enumerate(face_ids.to_pylist())}
    rows: dict[tuple[str, int], dict[int, int]] = {}
    columns = (degraded[c].to_pylist() for c in ("parent_id", "d_operator", "d_severity"))
    for row, (parent, operator, severity) in enumerate(zip(*columns, strict=True)):
        if parent in clean_row:
            rows.setdefault((operator, severity), {})[clean_row[parent]] = row
    seen = set().union(*rows.values())
    complete = sorted(seen.intersection(*rows.values()))
    templates = np.array(complete, np.int64)
    cells = [
        Condition(
            f"{operator}-{severity}", operator, severity, templates, np.array([row[p] for p in complete], np.int64)
        )
        for (operator, severity), row in sorted(rows.items())
    ]
    everyone = Condition(ALL, "clean", 0, np.arange(len(clean_row), dtype=np.int64), None)
    subset = Condition(CLEAN, "clean", 0, templates if cells else everyone.templates, None)
    return Grid((everyone, subset, *cells), len(subset.templates), len(seen) - len(complete))


def is_transfer(condition: str) -> bool:
    """Whether it is all people of another source."""
    return condition.startswith(TRANSFER) and YAW not in condition


def family_of(condition: str) -> str:
    """What makes a condition hard: `pose`, an operator such as `mask` (both cells and one), or empty."""
    return "pose" if YAW in condition else condition.removeprefix(BOTH).rpartition("-")[0]
