"""What a gate found, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Severity = Literal["critical", "warning"]
Scalar = str | int | float | bool | None
Observed = Scalar | tuple[Scalar, Scalar]


@dataclass(frozen=True)
class Failing:
    """One face that broke a check.

    Attributes:
        face_id: its id, or its row in the table where it has none.
        value: what was found there.
    """

    face_id: str
    value: Scalar


@dataclass(frozen=True)
class Check:
    """One expectation and its outcome.

    Attributes:
        name: short and unique within a suite.
        topic: the heading that it stands under.
        column: the column or columns that it reads; empty for the whole table.
        success: whether it held.
        observed: a figure, what was lacking, the ends of a numeric column, or None where only rows tell.
        expected: the rule, for people.
        severity: `critical` fails the gate, `warning` does not.
        failing: the first faces outside, in table order; where the rule holds they are the tolerated share.
        failing_count: all faces outside.
        error: why it could not be computed; empty where it was.
    """

    name: str
    topic: str
    column: str
    success: bool
    observed: Observed
    expected: str
    severity: Severity
    failing: tuple[Failing, ...] = ()
    failing_count: int = 0
    error: str = ""

    def __str__(self) -> str:
        """Name, what was found and the rule, on one line."""
        faces = f"{self.failing_count:,} face{'s' * (self.failing_count != 1)} at fault"
        found = self.error or (faces if self.failing_count else figure(self.observed))
        return f"{self.name}: {found}, {self.expected}"


@dataclass(frozen=True)
class GateResult:
    """The verdict on a table.

    Attributes:
        table: its name.
        success: no critical check failed.
        rows: faces in the table.
        rejects: faces dropped on the way to it.
        subjects: people in it.
        splits: faces per split.
        checks: in the order of the suite.
    """

    table: str
    success: bool
    rows: int
    rejects: int
    subjects: int
    splits: Mapping[str, int]
    checks: tuple[Check, ...]

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that did not hold, warnings included."""
        return tuple(check for check in self.checks if not check.success)

    def complaint(self, advice: Mapping[str, str]) -> str:
        """What failed the gate, on one line; warnings are left to the report.

        Args:
            advice: name of a check -> what a reader can turn to pass it; put behind what was found.
        """
        broken = [check for check in self.failed if check.severity == "critical"]
        return "; ".join(" ".join([str(check), advice.get(check.name, "")]).rstrip() for check in broken)


def figure(value: Observed) -> str:
    """Four digits of a figure, and both ends of an extent where they differ."""
    if isinstance(value, tuple):
        return " to ".join(dict.fromkeys(figure(end) for end in value))
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    return "missing" if value in (None, "nan") else str(value)
