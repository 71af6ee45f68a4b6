"""A capture is one row, whoever appends it, however often, at the same time as whom, and wherever it is killed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from flows import captures
from flows.captures import CaptureLog, open_log, window_of
from flows.rows import CAPTURES, EMBEDDING, MEASURES, capture_id
from stages.lib.errors import ConfigError, TransientError

POSTGRES = "TEST_POSTGRES_URL"
START = datetime(2026, 11, 27, 22, 30, tzinfo=UTC)
FOREVER = (datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))

# Appends a file of captures in slices, with few parts a day, and says so after each.
WRITER = """
import sys
import pyarrow.parquet as pq
from flows import captures
captures.MOST_SMALL = 3
where, source, step = sys.argv[1], sys.argv[2], int(sys.argv[3])
log, rows = captures.open_log(where), pq.read_table(source)
for start in range(0, rows.num_rows, step):
    log.append(rows.slice(start, step))
    print(start, flush=True)
"""


def made(count: int, minutes: float = 7, embeddings: bool = False) -> pa.Table:
    """Captures of three cameras from 22:30 on; every fifth is rejected."""
    random = np.random.default_rng(count)
    rows: list[dict[str, Any]] = []
    for index in range(count):
        moment, camera = START + timedelta(minutes=minutes * index), f"gate-{index % 3}"
        rejected = index % 5 == 4
        measures = random.normal(size=len(MEASURES)).astype(np.float32).tolist()
        rows.append(
            {
                "capture_id": capture_id(camera, moment, b"%d" % index),
                "time": moment,
                "camera": camera,
                "model": "v1",
                "rejected": "no face found" if rejected else None,
                **({} if rejected else dict(zip(MEASURES, measures, strict=True))),
                **({"embedding": None if rejected else measures[:4]} if embeddings else {}),
            }
        )
    return pa.Table.from_pylist(rows, schema=pa.schema([*CAPTURES, EMBEDDING]) if embeddings else CAPTURES)


def held(log: CaptureLog, **asked: Any) -> list[dict[str, Any]]:
    """All rows of a log, in order of their ids."""
    batches = log.scan(*FOREVER, **asked)
    return sorted((row for batch in batches for row in batch.to_pylist()), key=lambda row: str(row["capture_id"]))


def in_order(rows: pa.Table) -> list[dict[str, Any]]:
    return rows.sort_by("capture_id").to_pylist()


@pytest.fixture(scope="module", params=["parquet", "sqlite", "postgresql"])
def address(request: pytest.FixtureRequest) -> Callable[[Path], str]:
    """Where an empty log of this kind lies, given a folder of its own."""
    if request.param == "postgresql" and POSTGRES not in os.environ:
        pytest.skip(f"{POSTGRES} names no database; one that holds nothing of worth is emptied here")

    def make(folder: Path) -> str:
        if request.param == "postgresql":
            open_log(os.environ[POSTGRES]).forget(FOREVER[1])
            return os.environ[POSTGRES]
        return str(folder / "log") if request.param == "parquet" else f"sqlite:///{folder / 'log.db'}"

    return make


@pytest.fixture
def log(address: Callable[[Path], str], tmp_path: Path) -> CaptureLog:
    return open_log(address(tmp_path))


@settings(max_examples=12)
@given(orders=st.lists(st.lists(st.integers(0, 29), min_size=1, max_size=12), min_size=1, max_size=8))
def test_any_split_and_any_repetition_give_the_same_rows(
    address: Callable[[Path], str], orders: list[list[int]]
) -> None:
    rows = made(30)
    ids = rows["capture_id"].to_pylist()
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(captures, "MOST_SMALL", 2)
        log, seen = open_log(address(Path(folder))), set()
        for order in orders:
            new = {ids[index] for index in order} - seen
            assert log.append(rows.take(order)) == len(new)
            seen |= new
        assert held(log) == [row for row in in_order(rows) if row["capture_id"] in seen]


def test_the_first_row_of_a_capture_stays(log: CaptureLog) -> None:
    rows = made(4)
    later = rows.set_column(3, CAPTURES.field("model"), pa.array(["v2"] * 4))
    assert log.append(pa.concat_tables([rows.slice(0, 2), later.slice(0, 2)])) == 2
    assert log.append(later) == 2
    assert [row["model"] for row in in_order(rows)] == ["v1"] * 4
    assert Counter(row["model"] for row in held(log)) == {"v1": 2, "v2": 2}


def test_scan_gives_what_was_asked_for(log: CaptureLog) -> None:
    rows = made(60, minutes=30)
    assert log.span() is None and held(log) == [] and log.append(rows.slice(0, 0)) == 0
    log.append(rows.slice(20))
    log.append(rows.slice(0, 20))
    times = rows["time"].to_pylist()
    assert log.span() == (times[0], times[-1])
    start, end = times[7], times[41]
    found = list(log.scan(start, end, ["camera", "time", "norm"], "gate-1"))
    assert {tuple(batch.schema.names) for batch in found} == {("camera", "time", "norm")}
    assert all(batch.schema.field("camera") == CAPTURES.field("camera") for batch in found)
    wanted = [row for row in rows.to_pylist() if start <= row["time"] < end and row["camera"] == "gate-1"]
    got = sorted((row for batch in found for row in batch.to_pylist()), key=lambda row: row["time"])
    assert got == [{name: row[name] for name in ("camera", "time", "norm")} for row in wanted]
    assert {batch.schema for batch in log.scan(*FOREVER)} == {CAPTURES}


def test_embeddings_are_kept_where_they_are_given_and_read_where_they_are_named(
    log: CaptureLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(captures, "MOST_SMALL", 2)
    rows = made(12, embeddings=True)
    for start in range(0, 9, 3):
        log.append(rows.slice(start, 3))
    log.append(rows.slice(9).drop_columns("embedding"))
    assert "embedding" not in held(log)[0]
    kept = {row["capture_id"]: row["embedding"] for row in held(log, columns=["capture_id", "embedding"])}
    lost = set(rows.slice(9)["capture_id"].to_pylist())
    assert kept == {row["capture_id"]: row["embedding"] for row in rows.to_pylist()} | dict.fromkeys(lost)


@pytest.mark.parametrize("hours", [1, 8, 24])
def test_counts_are_those_of_a_loop(log: CaptureLog, hours: int) -> None:
    rows = made(200, minutes=11)
    log.append(rows)
    start, end = START + timedelta(hours=2), START + timedelta(hours=30)
    loop: Counter[tuple[datetime, str]] = Counter()
    for row in rows.to_pylist():
        if start <= row["time"] < end:
            midnight = row["time"].replace(hour=0, minute=0)
            loop[midnight + timedelta(hours=row["time"].hour // hours * hours), row["camera"]] += 1
    assert log.counts(start, end, hours) == loop
    assert {since for since, _ in loop} == {window_of(since, hours) for since, _ in loop}


def test_days_that_lie_wholly_before_are_forgotten(log: CaptureLog) -> None:
    rows = made(60, minutes=60)  # of the 27th, 28th, 29th and 30th
    log.append(rows)
    cut = datetime(2026, 11, 29, 17, tzinfo=UTC)
    gone = [row for row in rows.to_pylist() if row["time"] < cut.replace(hour=0)]
    assert log.forget(cut) == len(gone) > 0
    assert log.forget(cut) == 0
    assert held(log) == [row for row in in_order(rows) if row not in gone]
    assert log.append(rows) == len(gone)  # they may come back, as new ones


def test_what_cannot_be_a_capture_is_refused(log: CaptureLog) -> None:
    with pytest.raises(ValueError, match="camera"):
        log.append(made(1).drop_columns("camera"))
    with pytest.raises(ValueError, match="no column"):
        log.scan(*FOREVER, ["pixels"])
    with pytest.raises(ValueError, match="no time zone"):
        log.scan(datetime(2026, 1, 1), FOREVER[1])


def test_an_address_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="sqlite, postgresql"):
        open_log("mysql://user:secret@host/faces")
    with pytest.raises(ConfigError, match="is none"):
        open_log("://faces")
    with pytest.raises(TransientError, match="is the database up"):
        open_log(f"sqlite:///{tmp_path}/missing/log.db")


def write(address: str, source: Path, step: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, address, str(source), str(step)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_writers_at_once_lose_and_double_nothing_and_readers_never_see_half(
    address: Callable[[Path], str], tmp_path: Path
) -> None:
    rows, where = made(150), address(tmp_path)
    backwards = rows.take(np.arange(rows.num_rows)[::-1])
    for name, order in {"forwards": rows, "backwards": backwards}.items():
        pq.write_table(order, tmp_path / f"{name}.parquet")
    writers = [write(where, tmp_path / f"{name}.parquet", step) for name, step in [("forwards", 7), ("backwards", 9)]]
    log, seen = open_log(where), 0
    while any(writer.poll() is None for writer in writers):
        ids = [row["capture_id"] for row in held(log, columns=["capture_id"])]
        assert len(ids) == len(set(ids)) >= seen
        seen = len(ids)
    assert [writer.wait() for writer in writers] == [0, 0]
    assert held(log) == in_order(rows)


def test_a_writer_killed_at_any_time_leaves_neither_loss_nor_duplicate(
    address: Callable[[Path], str], tmp_path: Path
) -> None:
    rows, where, source = made(400), address(tmp_path), tmp_path / "rows.parquet"
    pq.write_table(rows, source)
    delays = random.Random(1)
    for _ in range(3):
        with write(where, source, 5) as writer:
            assert writer.stdout is not None
            said = writer.stdout.readline()
            time.sleep(delays.uniform(0, 0.4))
            writer.kill()
            assert said, "the writer ended before it was killed"
            done = int((said + writer.stdout.read()).split()[-1]) + 5
        ids = [row["capture_id"] for row in held(open_log(where))]
        assert len(ids) == len(set(ids))
        assert set(rows.slice(0, done)["capture_id"].to_pylist()) <= set(ids)  # what it said is there
    log = open_log(where)
    for start in range(0, rows.num_rows, 50):
        log.append(rows.slice(start, 50))
    assert held(log) == in_order(rows)


class Killed(BaseException):
    """Stands for a SIGKILL at one point."""


def crashes(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[int]:
    """Arm each point at which a writer touches the disk, one after the other; ends when none is left."""
    for point in range(100):
        steps = 0

        def step(real: Callable[..., Any], *args: Any, after: int = point, **named: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps == after + 1:
                raise Killed
            return real(*args, **named)

        with monkeypatch.context() as patch:
            for owner, name in [(captures, "_sync"), (os, "replace"), (Path, "unlink"), (Path, "write_text")]:
                real = getattr(owner, name)
                patch.setattr(owner, name, lambda *args, real=real, **named: step(real, *args, **named))
            yield point
        if steps <= point:
            return


def test_a_writer_that_dies_at_any_step_leaves_the_day_before_or_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(captures, "MOST_SMALL", 2)
    rows = made(12, minutes=1)
    points = 0
    for point in crashes(monkeypatch, tmp_path):
        log = captures.ParquetLog(tmp_path / str(point))
        died = False
        for start in range(0, 12, 3):
            try:
                log.append(rows.slice(start, 3))
            except Killed:
                died = True
                break
        points += died
        assert len(held(log)) in ({start, start + 3} if died else {12})
        log.append(rows)
        assert held(log) == in_order(rows)
        day = log.folder / "day=2026-11-27"
        listed = {part.file for part in captures._Day(day).parts()}
        assert {path.name for path in day.iterdir()} == {*listed, captures.MANIFEST}
    assert points > 20


def test_a_reader_outlives_a_merge_and_a_day_that_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captures, "MOST_SMALL", 3)
    log, rows = captures.ParquetLog(tmp_path), made(8, minutes=1)
    for start in range(3):
        log.append(rows.slice(start, 1))
    reading = log.scan(*FOREVER, ["capture_id"])
    first = next(reading)
    log.append(rows.slice(3))
    assert len(list(tmp_path.glob("day=*/part-*"))) == 1
    log.forget(FOREVER[1])
    assert pa.Table.from_batches([first, *reading])["capture_id"].to_pylist() == rows["capture_id"].to_pylist()[:3]
    assert held(log) == [] and not list(tmp_path.glob("day=*"))


def test_a_part_that_is_missing_is_named(tmp_path: Path) -> None:
    log = captures.ParquetLog(tmp_path)
    log.append(made(3, minutes=1))
    for part in tmp_path.glob("day=*/part-*"):
        part.unlink()
    with pytest.raises(ConfigError, match=r"day=2026-11-27.*restore"):
        held(log)
    (tmp_path / "day=2026-11-27" / captures.MANIFEST).write_text("{")
    with pytest.raises(ConfigError, match=r"day\.json is damaged"):
        log.span()


def test_captures_of_a_time_before_a_measure_have_none_of_it(tmp_path: Path, address: Callable[[Path], str]) -> None:
    where, rows, name = address(tmp_path), made(6), "q_blocks"
    log = open_log(where)
    log.append(rows.slice(0, 3))
    if "://" in where:
        engine = sa.create_engine(where.replace("postgresql://", "postgresql+psycopg://"))
        with engine.begin() as connection:
            connection.execute(sa.text(f"ALTER TABLE captures DROP COLUMN {name}"))
        with ThreadPoolExecutor(4) as pool:  # all want to add it
            log = list(pool.map(open_log, [where] * 4)).pop()
    else:
        for part in Path(where).glob("day=*/part-*.parquet"):
            pq.write_table(pq.read_table(part).drop_columns(name), part)
    log.append(rows.slice(3))
    older = set(rows["capture_id"].to_pylist()[:3])
    expected = [{**row, name: None} if row["capture_id"] in older else row for row in in_order(rows)]
    assert held(log) == expected


def test_a_table_that_is_no_log_is_refused(tmp_path: Path) -> None:
    where = f"sqlite:///{tmp_path / 'other.db'}"
    with sa.create_engine(where).begin() as connection:
        connection.execute(sa.text("CREATE TABLE captures (title TEXT)"))
    with pytest.raises(ConfigError, match="no capture log"):
        open_log(where)
