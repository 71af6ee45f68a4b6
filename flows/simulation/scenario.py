"""What happens in a simulated stretch of days: cameras, and drifts planted on them at known times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

import numpy as np
import pyarrow as pa

from flows.rows import TIME
from stages.lib.degrade import OPERATORS
from stages.lib.errors import ConfigError

TILT: Final = "tilt"
"""An effect beside the operators: the photograph is turned about its centre, with its landmarks."""
BASELINE: Final = 14
"""Quiet days at the beginning, for an operator to accept as normal."""

TRUTH: Final = pa.schema(
    [
        pa.field("day", pa.int64(), nullable=False),
        pa.field("window", TIME, nullable=False),  # midnight of the day
        pa.field("camera", pa.string(), nullable=False),
        pa.field("planted", pa.string(), nullable=False),
        pa.field("strength", pa.float64(), nullable=False),  # 0 to 1, of the full severity
        pa.field("share", pa.float64(), nullable=False),  # of the captures
    ]
)


@dataclass(frozen=True)
class Effect:
    """What befalls a face.

    Attributes:
        operator: a name in `OPERATORS`, or `tilt`.
        severity: of the operator, also between its levels; degrees of a tilt, positive as roll is.
        fixed: parameters of the operator that are no draw.
    """

    operator: str
    severity: float
    fixed: Mapping[str, float | int | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.operator != TILT and self.operator not in OPERATORS:
            raise ConfigError(f"no effect {self.operator!r}: choose from {TILT}, {', '.join(OPERATORS)}")
        if self.operator != TILT and not 0 < self.severity <= (most := len(OPERATORS[self.operator].levels)):
            raise ConfigError(f"{self.operator}: severity {self.severity:g} is not above 0 and at most {most}")


@dataclass(frozen=True)
class Planted:
    """A drift of one camera.

    Attributes:
        name: for tables.
        camera: that drifts.
        effects: what befalls the captures that it touches.
        columns: measures that a monitor may name as its cause.
        start: first day that is not as before, counted from 0.
        ramp: days until it is at its full; 0: at once.
        days: that it lasts; none: to the end.
        share: of the captures that it touches.
        rising: over the ramp, the severity of what is touched, or the share that is.
        at_night: the captures that it touches are taken in the night.
    """

    name: str
    camera: str
    effects: tuple[Effect, ...]
    columns: tuple[str, ...]
    start: int
    ramp: int = 0
    days: int | None = None
    share: float = 1.0
    rising: Literal["severity", "share"] = "severity"
    at_night: bool = False

    def on(self, day: int) -> tuple[float, float]:
        """Share of its full severity, and share of the captures, on a day; both 0 while nothing is planted."""
        if day < self.start or (self.days is not None and day >= self.start + self.days):
            return 0.0, 0.0
        reached = min(1.0, (day - self.start + 1) / self.ramp) if self.ramp else 1.0
        return (reached, self.share) if self.rising == "severity" else (1.0, self.share * reached)


@dataclass(frozen=True)
class Scenario:
    """A stretch of days.

    Attributes:
        cameras: their names.
        planted: drifts.
        days: of it, `BASELINE` included.
        per_day: captures of a camera and day, on average.
        unusable: share of the captures whose picture did not arrive whole.
        first: midnight of day 0.
        seed: of all that is drawn.
    """

    cameras: tuple[str, ...] = ("gate", "lobby", "dock", "lift")
    planted: tuple[Planted, ...] = ()
    days: int = BASELINE + 60
    per_day: int = 120
    unusable: float = 0.02
    first: datetime = datetime(2026, 3, 2, tzinfo=UTC)
    seed: int = 1

    def __post_init__(self) -> None:
        if strange := [one.name for one in self.planted if one.camera not in self.cameras]:
            raise ConfigError(f"{strange[0]} is planted on none of the cameras {', '.join(self.cameras)}")

    def midnight(self, day: int) -> datetime:
        """At which a day begins."""
        return self.first + timedelta(days=day)

    def planted_on(self, camera: str, day: int) -> list[Planted]:
        """The drifts of a camera on a day."""
        return [one for one in self.planted if one.camera == camera and one.on(day)[1] > 0]


def standard(per_day: int = 120, seed: int = 1) -> Scenario:
    """Five drifts, each on a camera that has been quiet before for sixteen days and its baseline.

    The lift's new firmware, which sends harder JPEG (quality 18), is taken back after two weeks, and a week and a half
    later somebody knocks its camera.
    """
    dark = Effect("exposure", 3.5, {"sign": -1, "gamma": 1.0, "cast": 0.0})
    planted = (
        Planted("out of focus", "gate", (Effect("blur", 2),), ("q_sharpness",), start=30, ramp=20),
        Planted("masks", "lobby", (Effect("mask", 2),), ("occlusion",), start=36, ramp=15, share=0.6, rising="share"),
        Planted(
            "night shift",
            "dock",
            (dark, Effect("noise", 2)),
            ("q_brightness", "q_contrast", "q_underexposed"),
            start=44,
            share=0.5,
            at_night=True,
        ),
        Planted("new firmware", "lift", (Effect("jpeg", 3),), ("q_blocks",), start=32, days=14),
        Planted("new tilt", "lift", (Effect(TILT, 12.0),), ("q_roll",), start=56),
    )
    return Scenario(planted=planted, per_day=per_day, seed=seed)


def quiet(per_day: int = 120, seed: int = 2, days: int = BASELINE + 60) -> Scenario:
    """Nothing is planted: every alarm is a false one."""
    return Scenario(per_day=per_day, seed=seed, days=days)


def truth(scenario: Scenario) -> pa.Table:
    """Rows of TRUTH: each day of each drift; what is not there is quiet."""
    rows = [
        {
            "day": day,
            "window": scenario.midnight(day),
            "camera": one.camera,
            "planted": one.name,
            "strength": one.on(day)[0],
            "share": one.on(day)[1],
        }
        for day in range(scenario.days)
        for one in scenario.planted
        if one.on(day)[1] > 0
    ]
    return pa.Table.from_pylist(rows, schema=TRUTH)


def at_severity(operator: str, severity: float) -> dict[str, float | int | str]:
    """The parameters that a severity between an operator's levels fixes; below the first level, the way on to nothing.

    Numbers lie on straight lines between those of the levels, and the line between the first two is drawn on down to
    severity 0, though not below 0. Words are those of the nearest level.
    """
    levels = OPERATORS[operator].levels
    found: dict[str, float | int | str] = {}
    for name, nearest in levels[max(1, round(severity)) - 1].items():
        if isinstance(nearest, str):
            found[name] = nearest
            continue
        values = [float(level[name]) for level in levels]
        nothing = max(0.0, 2 * values[0] - values[1])
        value = float(np.interp(severity, range(len(values) + 1), [nothing, *values]))
        found[name] = round(value) if isinstance(nearest, int) else value
    return found
