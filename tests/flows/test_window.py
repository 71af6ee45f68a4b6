"""Captures in memory: the same whatever order they were read in, and drawn fairly; baselines made of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.baselines import References, accept_baseline, baseline_path
from flows.captures import ParquetLog
from flows.drift_store import DriftStore
from flows.home import Home
from flows.monitor import watch
from flows.rows import CAPTURES, EMBEDDING, MEASURES
from flows.settings import WatchSettings
from flows.window import read_windows
from stages.lib.errors import ConfigError

FIRST = datetime(2026, 3, 2, tzinfo=UTC)
END = FIRST + timedelta(days=400)


@dataclass(frozen=True)
class Shuffled:
    """A log that gives its rows in another order each time."""

    rows: pa.Table
    seed: int

    def scan(self, start: datetime, end: datetime, columns: list[str], camera: str | None) -> Iterator[pa.RecordBatch]:
        order = np.random.default_rng(self.seed).permutation(self.rows.num_rows)
        yield from self.rows.take(order).select(columns).to_batches(max_chunksize=17)


def made(count: int, camera: str = "gate", model: str = "m-1", start: int = 0) -> pa.Table:
    """A capture every hour; every tenth is rejected, and the third measure is never told."""
    random = np.random.default_rng(count)
    gone = np.arange(count) % 10 == 9

    def told(at: int) -> np.ndarray:
        return np.where(gone | (at == 2), np.nan, random.normal(size=count)).astype(np.float32)

    names = (*MEASURES, "match_score")
    measures = {name: pa.array(told(at), from_pandas=True) for at, name in enumerate(names)}
    about = {
        "capture_id": [hashlib.sha256(f"{camera} {i}".encode()).hexdigest()[:32] for i in range(start, start + count)],
        "time": [FIRST + timedelta(hours=i) for i in range(start, start + count)],
        "camera": [camera] * count,
        "model": [model] * count,
        "rejected": ["no face found" if one else None for one in gone],
    }
    return pa.table(about | measures, schema=CAPTURES)


def test_ids_are_read_as_numbers_and_hours_are_counted_since_1970() -> None:
    rows = made(40)
    (window,) = read_windows(Shuffled(rows, 0), FIRST, END, MEASURES).values()
    number = {int(capture[:16], 16): hour for hour, capture in enumerate(rows["capture_id"].to_pylist())}
    first = int(FIRST.timestamp()) // 3600
    assert dict(zip(window.key.tolist(), (window.hour - first).tolist(), strict=True)) == number
    assert (window.captures, window.faces, window.models) == (40, 36, ("m-1",))
    assert len(window.told("q_sharpness")) == 36 and len(window.told(MEASURES[2])) == 0


def test_a_draw_is_the_same_in_any_order_and_only_of_faces() -> None:
    rows = pa.concat_tables([made(200), made(50, "lobby")])
    found = []
    for seed in range(3):
        windows = read_windows(Shuffled(rows, seed), FIRST, END, MEASURES)
        assert list(windows) == ["gate", "lobby"]
        own = windows["gate"]
        drawn = own.drawn("lot", 60)
        assert len(set(drawn.tolist())) == 60 and not own.rejected[drawn].any()
        assert len(own.drawn("lot", 1000)) == 180 and len(own.drawn("lot", 1000, rejected=True)) == 200
        found.append((own.key[drawn].tolist(), own.columns["q_yaw"][drawn].tolist()))
    assert found[0] == found[1] == found[2]


def test_a_draw_is_fair() -> None:
    random, times = np.random.default_rng(0), np.zeros(90)
    (window,) = read_windows(Shuffled(made(100), 0), FIRST, END, MEASURES).values()
    among = np.flatnonzero(~window.rejected)
    for _ in range(2000):  # ids are uniform hashes
        other = replace(window, key=random.integers(2**64, size=100, dtype=np.uint64))
        times += np.isin(among, other.drawn("lot", 30))
    assert np.abs(times / 2000 - 30 / 90).max() < 5 * np.sqrt(1 / 3 * 2 / 3 / 2000)


def test_a_baseline_holds_numbers_and_hours_and_is_the_same_each_time(tmp_path: Path) -> None:
    home, log = Home(tmp_path), ParquetLog(tmp_path / "log")
    log.append(made(24 * 14))
    first = accept_baseline(log, home, "gate", FIRST, END)
    data = baseline_path(home, "gate").read_bytes()
    assert accept_baseline(log, home, "gate", FIRST, END).content_id == first.content_id
    assert baseline_path(home, "gate").read_bytes() == data
    stored = pq.read_table(baseline_path(home, "gate"))
    assert set(stored.column_names) == {"block", "rejected", *MEASURES}
    assert MEASURES[2] not in first.columns and len(first) == 24 * 14 and len(first.faces()) < len(first)
    assert first.window is not None and len(np.unique(first.window)) == 14
    assert first.rejected is not None and first.rejected.mean() == pytest.approx(0.1, abs=0.01)


def test_captures_of_two_models_are_no_baseline(tmp_path: Path) -> None:
    home, log = Home(tmp_path), ParquetLog(tmp_path / "log")
    log.append(made(30))
    log.append(made(30, model="m-2", start=30))
    with pytest.raises(ConfigError, match="m-1, m-2 scored these captures"):
        accept_baseline(log, home, "gate", FIRST, END)
    assert not baseline_path(home, "gate").exists()


@pytest.mark.parametrize("camera", ["../gate", "a/b", "", ".", "*", "门" * 300, "gate\0", " "])
def test_any_name_of_a_camera_has_a_file_of_its_own(tmp_path: Path, camera: str) -> None:
    home = Home(tmp_path)
    path = baseline_path(home, camera)
    assert path.parent == home.baselines
    path.parent.mkdir()
    path.write_bytes(b"")
    others = {baseline_path(home, other) for other in ("gate", "a%2Fb", "%", f"{camera}x")}
    assert path not in others


def test_all_cameras_are_compared_with_equal_parts(tmp_path: Path) -> None:
    home, log = Home(tmp_path / "home"), ParquetLog(tmp_path / "log")
    for camera, count in (("gate", 300), ("lobby", 100)):
        log.append(made(count, camera))
        accept_baseline(log, home, camera, FIRST, END)
    references = References(home, tmp_path, MEASURES, 24)
    whole = references.together(["gate", "lobby"])
    assert np.bincount(whole.stratum).tolist() == [100, 100] and whole.model == "m-1"
    assert len(np.unique(whole.block)) == sum(len(np.unique(whole.block[whole.stratum == part])) for part in (0, 1))
    assert references.together(["gate", "lobby"]) is whole


def test_embeddings_are_compared_only_where_they_are_kept(tmp_path: Path) -> None:
    log, home, kept = ParquetLog(tmp_path / "log"), Home(tmp_path / "home"), Home(tmp_path / "kept")
    random = np.random.default_rng(0)
    rows = made(24 * 40)
    vectors = random.normal(size=(rows.num_rows, 8)) + np.eye(8)[0]
    vectors[24 * 30 :] -= 2 * np.eye(8)[0]  # other people, or another model under the old name
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    gone = rows["rejected"].is_valid().to_pylist()
    told = [None if no else vector for no, vector in zip(gone, vectors.astype(np.float32), strict=True)]
    log.append(rows.append_column(EMBEDDING, pa.array(told, EMBEDDING.type)))
    profile = tmp_path / "profile"
    profile.mkdir()
    (profile / "profile.json").write_text('{"model": "m-1", "bands": {"left_out": "made"}}')
    for own, keep in ((home, False), (kept, True)):
        baseline = accept_baseline(log, own, "gate", FIRST, FIRST + timedelta(days=25), keep)
        assert (baseline.embeddings is not None) is keep
        rare = {"false_alarms_per_month": 0.05, "sample": 20, "fewest": 20, "resamples": 400}
        settings = WatchSettings(**rare, keep_embeddings=keep)
        alarms = watch(log, own, settings, END, profile)
        assert [alarm.causes[0].column for alarm in alarms] == (["embedding"] if keep else [])
        told_of = set(DriftStore(own.drift).read()["metric"].to_pylist())
        assert ({"mean_distance", "covariance_distance"} <= told_of) is keep
    assert alarms[0].since >= FIRST + timedelta(days=30) and "embeddings changed" in alarms[0].words
