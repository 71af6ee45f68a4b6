"""Bounds hold the rate that was chosen, on quiet windows that they were not made from, and let drifts through."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import binom

from stages.lib.drift.calibration import Bounds, calibrate, design_effect
from stages.lib.drift.reference import Reference
from stages.lib.drift.statistics import measure
from stages.lib.errors import ConfigError

HOURS, PER_HOUR, COLUMNS = 12, 10, ("a", "b", "c")
FACES = 80
ALPHA = 0.06


def days(count: int, seed: int, shift: float = 0.0) -> list[dict[str, np.ndarray]]:
    """Days of a camera: the faces of an hour hang together, noon is brighter, and each day has its mood."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        mood = random.normal(scale=0.1, size=len(COLUMNS))
        noon = np.sin(np.linspace(0, np.pi, HOURS))[:, None, None] * [0.5, 0.0, 0.0]
        hour = random.normal(scale=0.3, size=(HOURS, 1, len(COLUMNS)))
        values = mood + noon + hour + random.normal(size=(HOURS, PER_HOUR, len(COLUMNS))) + shift * np.eye(3)[1]
        found.append(dict(zip(COLUMNS, values.reshape(-1, len(COLUMNS)).T, strict=True)))
    return found


def reference(seed: int) -> Reference:
    """Three weeks."""
    each = days(21, seed)
    hours = np.concatenate([24 * day + np.repeat(np.arange(HOURS), PER_HOUR) for day in range(len(each))])
    columns = {name: np.concatenate([day[name] for day in each]) for name in COLUMNS}
    rows = pa.table({**columns, "hour": pa.array(hours, pa.int64())})
    return Reference.of(rows, COLUMNS, "hour", "made", "m-1", 24)


def breaches(each: list[dict[str, np.ndarray]], own: Reference, bounds: Bounds, seed: int = 0) -> list[bool]:
    """Whether a sample of each day breaches; p and bounds must agree on it."""
    random = np.random.default_rng(seed)
    found = []
    for day in each:
        rows = random.permutation(HOURS * PER_HOUR)[:FACES]
        judged, p = bounds.judge(measure({name: values[rows] for name, values in day.items()}, own), ALPHA)
        assert (p <= ALPHA) == any(one.breach for one in judged.values())
        found.append(p <= ALPHA)
    return found


def test_quiet_windows_breach_about_as_often_as_was_chosen() -> None:
    total, count = 0, 0
    for seed in range(6):  # a reference is a sample: the rate is held over references, not for each
        own = reference(seed)
        found = breaches(days(100, 1000 + seed), own, calibrate(own, FACES, 500, 1))
        total, count = total + len(found), count + sum(found)
    # twice the rate and more would be seen, and a bound that lets nothing through as well
    assert binom.ppf(1e-3, total, 0.4 * ALPHA) <= count <= binom.ppf(1 - 1e-3, total, 1.5 * ALPHA)


def test_a_shift_of_one_measure_is_found_and_named() -> None:
    own = reference(1)
    bounds = calibrate(own, FACES, 500, 1)
    drifted = days(20, 7, shift=1.0)
    assert sum(breaches(drifted, own, bounds)) >= 18
    judged, _ = bounds.judge(measure(drifted[0], own), ALPHA)
    assert {column for (column, _), one in judged.items() if one.breach} == {"b"}


def test_bounds_come_back_from_the_disk_and_run_no_pickle(tmp_path: Path) -> None:
    own = reference(1)
    bounds = calibrate(own, 40, 200, 1)
    bounds.save(tmp_path / "bounds" / "one.npz")
    back = Bounds.load(tmp_path / "bounds" / "one.npz")
    measured = measure(days(1, 3)[0], own)
    assert back.judge(measured, ALPHA) == bounds.judge(measured, ALPHA)
    assert [file.name for file in (tmp_path / "bounds").iterdir()] == ["one.npz"]
    np.savez(tmp_path / "evil.npz", tests=np.array([object()]), null=np.zeros(1), faces=np.array(1), allow_pickle=True)
    with pytest.raises(ConfigError, match="remove it"):
        Bounds.load(tmp_path / "evil.npz")


def test_the_same_reference_has_the_same_bounds() -> None:
    first, second = (calibrate(reference(2), 40, 200, 1) for _ in range(2))
    np.testing.assert_array_equal(first.null, second.null)


def test_faces_that_hang_together_count_for_less() -> None:
    random = np.random.default_rng(1)
    window = np.repeat(np.arange(40), 25)
    alone = random.normal(size=(1000, 1))
    together = alone + np.repeat(random.normal(size=(40, 1)), 25, axis=0)
    luck = np.ones((1, 1))
    assert design_effect(alone, window, 25, luck)[0, 0] < 1.6
    assert design_effect(together, window, 25, luck)[0, 0] == pytest.approx(1 + 24 * 0.5, rel=0.35)
