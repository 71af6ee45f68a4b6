"""What a face table must keep to pass its gate. Every limit is inclusive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from stages.lib.errors import ConfigError
from stages.lib.expectations.result import Severity


@dataclass(frozen=True)
class Band:
    """An interval that a column must keep.

    Attributes:
        low: smallest value, in the column's unit.
        high: largest value.
        mostly: share of the faces, in (0, 1], that must lie inside; below 1 it bounds quantiles.
        severity: a broken `critical` band fails the gate, a `warning` is only reported.

    Raises:
        ConfigError: the interval is empty or `mostly` is no share.
    """

    low: float
    high: float
    mostly: float = 1.0
    severity: Severity = "critical"

    def __post_init__(self) -> None:
        if not (self.low <= self.high and 0 < self.mostly <= 1):
            raise ConfigError(f"{self}: need low <= high and 0 < mostly <= 1")


@dataclass(frozen=True, kw_only=True)
class FacesBounds:
    """Bounds of `faces`, and of every table after it.

    Attributes:
        min_rows: fewest faces.
        min_subjects: fewest people.
        max_reject_share: rejects / (faces + rejects), in [0, 1].
        splits: the values that `split` may take.
        min_faces_per_split: fewest faces of the splits that it names.
        compared_splits: splits in which faces are compared with each other. Each needs two people for an impostor
            pair, and one person with two faces for a genuine one.
        min_side: smallest width and height, pixels.
        max_side: largest width and height, pixels.
    """

    min_rows: int
    min_subjects: int
    max_reject_share: float
    splits: tuple[str, ...] = ("train", "val", "test", "transfer")
    min_faces_per_split: Mapping[str, int] = field(default_factory=dict)
    compared_splits: tuple[str, ...] = ()
    min_side: int = 16
    max_side: int = 20_000

    def __post_init__(self) -> None:
        unknown = {*self.min_faces_per_split, *self.compared_splits} - set(self.splits)
        if unknown:
            raise ConfigError(f"bounds name the splits {sorted(unknown)}, not among {list(self.splits)}")


@dataclass(frozen=True, kw_only=True)
class AlignedBounds(FacesBounds):
    """Bounds of `aligned`.

    Attributes:
        size: width and height of every face, pixels.
        ranges: hard limits of `q_*` columns.
        typical: where most faces lie; it catches a shift of the whole table that `ranges` lets through.
    """

    size: int = 112
    ranges: Mapping[str, Band] = field(default_factory=dict)
    typical: Mapping[str, Band] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class VariantsBounds(FacesBounds):
    """Bounds of `variants` and of `grid`.

    Attributes:
        operators: the values that `d_operator` may take.
        grid: operator -> severities of the test grid; no grid is asked for where empty.
        size: width and height of every face, pixels.
    """

    operators: tuple[str, ...]
    grid: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    size: int = 112
