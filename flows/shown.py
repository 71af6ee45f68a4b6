"""What the page and Evidently's workspace both show, worked out once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import pandas as pd

from flows.rows import ALL_CAMERAS

CHANCE: Final = "p_min"
"""Has a bound as well, but breaches below it."""
MOST: Final = 100.0
"""Multiple of a bound that stands for any larger one: a bound may be 0."""


def camera_name(camera: str) -> str:
    """What people call it."""
    return "all cameras" if camera == ALL_CAMERAS else camera


def cameras_in_order(cameras: Iterable[str]) -> list[str]:
    """Each camera once by name, all of them together last."""
    return sorted(set(cameras), key=lambda name: (name == ALL_CAMERAS, name))


def multiples(rows: pd.DataFrame) -> pd.DataFrame:
    """The judged rows of a drift store, with how many times its bound each value is as a further column, `times`."""
    judged = rows[rows["bound"].notna() & rows["value"].notna() & (rows["metric"] != CHANCE)]
    return judged.assign(times=(judged["value"] / judged["bound"].clip(lower=1e-9)).clip(upper=MOST))


def farthest(rows: pd.DataFrame) -> pd.Series:
    """Multiple of its bound at which the farthest measure of a window lies, by camera and window."""
    return multiples(rows).groupby(["camera", "window"])["times"].max()
