"""The drift store: a file a window, the same bytes for the same rows, and what was counted beside them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from flows.drift_store import DriftStore
from flows.rows import DRIFT
from stages.lib.errors import ConfigError
from tests.flows.watched import CAMERAS, FIRST, WINDOWS, drift_rows

DAYS = [FIRST + timedelta(days=day) for day in range(WINDOWS)]


def filled(folder: Path) -> DriftStore:
    store, rows = DriftStore(folder), drift_rows()
    for day, window in enumerate(DAYS):
        store.write(window, 24, rows.filter(pc.equal(rows["window"], window)), {"gate": 100 + day, "<lobby>": 7})
    return store


def test_rows_come_back_in_order_and_as_asked_for(tmp_path: Path) -> None:
    store = filled(tmp_path)
    assert store.read() == drift_rows()
    assert set(store.read(start=DAYS[1], end=DAYS[2])["window"].to_pylist()) == {DAYS[1]}
    verdicts = store.read(metrics=["p_min"], camera="gate")
    assert verdicts["breach"].to_pylist() == [False, True, True] and verdicts.schema == DRIFT
    assert store.read(hours=1).num_rows == DriftStore(tmp_path / "none").read().num_rows == 0


def test_what_was_counted_is_told_and_windows_of_another_length_are_others(tmp_path: Path) -> None:
    store = filled(tmp_path)
    store.write(DAYS[0], 12, drift_rows().slice(0, 3), {"gate": 3})
    assert store.windows(24) == {window: {"gate": 100 + day, "<lobby>": 7} for day, window in enumerate(DAYS)}
    assert store.windows(12) == {DAYS[0]: {"gate": 3}}
    assert store.read(hours=12).num_rows == 3 and store.read(hours=24) == drift_rows()


def test_the_same_rows_are_the_same_bytes(tmp_path: Path) -> None:
    first, second = filled(tmp_path / "a"), filled(tmp_path / "b")
    before = {path.name: path.read_bytes() for path in first.folder.glob("*.parquet")}
    filled(tmp_path / "a")
    for folder in (first.folder, second.folder):
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert len(before) == WINDOWS


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    store = filled(tmp_path)
    (damaged,) = tmp_path.glob("2026-03-03*")
    damaged.write_bytes(b"PAR1")
    for reads in (store.read, lambda: store.windows(24)):
        with pytest.raises(ConfigError, match=r"2026-03-03.*measured again"):
            reads()
    damaged.rename(tmp_path / "other-h.parquet")
    with pytest.raises(ConfigError, match=r"other-h\.parquet is no window"):
        store.windows(24)


def test_rows_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        DriftStore(tmp_path).write(FIRST, 24, pa.table({"camera": list(CAMERAS)}), {})
    assert not list(tmp_path.glob("*.parquet"))
