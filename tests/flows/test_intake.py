"""Captures keep their camera, their time and their bytes, and an input that cannot be read is named."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows import intake
from flows.intake import Batch, Capture, batches, time_in
from stages.lib.errors import ConfigError

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)


def put(path: Path, data: bytes = b"picture") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def table(path: Path, count: int = 3, **columns: Any) -> Path:
    """A Parquet file of captures at noon and each second after it."""
    base = {
        "image": [b"%d" % row for row in range(count)],
        "time": pa.array([NOON + timedelta(seconds=row) for row in range(count)], pa.timestamp("us", "UTC")),
        "camera": ["gate"] * count,
    }
    pq.write_table(pa.table({**base, **columns}), path)
    return path


def read(source: Path, size: int = 128) -> list[Capture]:
    return [capture for batch in batches(source, size) for capture in batch.captures]


@given(
    st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1)),
    st.sampled_from(["seconds", "milliseconds", "microseconds"]),
    st.sampled_from([None, UTC, timezone(timedelta(hours=-3, minutes=-30))]),
    st.booleans(),
    st.sampled_from(["{}", "gate_{}", "{}_0012"]),
)
def test_the_time_in_a_name_is_read_as_it_was_written(
    moment: datetime, digits: str, zone: timezone | None, basic: bool, around: str
) -> None:
    text = moment.replace(tzinfo=zone).isoformat(timespec=digits)
    if basic:
        date, _, clock = text.partition("T")
        text = date.replace("-", "") + "T" + clock.replace(":", "")
    expected = datetime.fromisoformat(text).replace(tzinfo=zone or UTC)
    assert time_in(around.format(text)) == expected


@pytest.mark.parametrize("name", ["IMG_0001", "20261127", "20261327T101500Z", "120261127T101500", "20261127T10150012"])
def test_other_digits_are_no_time(name: str) -> None:
    assert time_in(name) is None


def test_a_folder_is_read_by_camera_and_time(tmp_path: Path) -> None:
    stamped = put(tmp_path / "gate" / "2026" / "20261127T120000.5Z.jpg", b"a")
    plain = put(tmp_path / "yard" / "1.jpg", b"b")
    os.utime(plain, (NOON.timestamp(), NOON.timestamp()))
    put(tmp_path / "gate" / ".20261127T120001Z.jpg.part", b"half")
    day = table(tmp_path / "day.parquet")
    found = list(batches(tmp_path, 128))
    assert len(found) == 1 and {one.file for one in found[0].finished} == {stamped, plain, day}
    by_name = {capture.name: capture for capture in found[0].captures}
    assert by_name["yard/1.jpg"] == Capture("yard/1.jpg", NOON, "yard", b"b", plain)
    half_past = by_name["gate/2026/20261127T120000.5Z.jpg"]
    assert (half_past.time, half_past.camera, half_past.image) == (NOON + timedelta(seconds=0.5), "gate", b"a")
    assert [by_name[f"day.parquet:{row}"].image for row in range(3)] == [b"0", b"1", b"2"]


def test_a_table_is_read_whole(tmp_path: Path) -> None:
    points = np.arange(30, dtype=np.float32).reshape(3, 10).tolist()
    naive = pd.Series([pd.Timestamp("2026-11-27 12:00:00.000000999")] * 3)
    path = table(tmp_path / "day.parquet", landmarks=[points[0], None, points[2]], subject_id=["ann", None, "bo"])
    assert [(c.landmarks, c.claimed) for c in read(path)] == [
        (tuple(points[0]), "ann"),
        (None, None),
        (tuple(points[2]), "bo"),
    ]
    assert {capture.time for capture in read(table(path, time=naive))} == {NOON}
    assert len({capture.id for capture in read(path)}) == 3


@pytest.mark.parametrize("size", [1, 4, 100])
def test_a_file_is_finished_with_the_batch_that_holds_its_last_capture(
    tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "ROWS", 2)
    for index in range(3):
        table(tmp_path / f"{index}.parquet", 5)
        put(tmp_path / "gate" / f"{index}.jpg")
    read: dict[Path, int] = {}
    found: list[Batch] = list(batches(tmp_path, size))
    assert all(len(batch.captures) <= size for batch in found)
    for batch in found:
        for capture in batch.captures:
            path = tmp_path / capture.name.partition(":")[0]
            read[path] = read.get(path, 0) + 1
        assert all(read[one.file] == (5 if one.file.suffix == ".parquet" else 1) for one in batch.finished)
    assert sorted(one.file for batch in found for one in batch.finished) == sorted(read)


def test_large_pictures_make_small_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "BATCH_BYTES", 10)
    for index, length in enumerate([4, 5, 3, 20, 2]):
        put(tmp_path / "gate" / f"{index}.jpg", bytes(length))
    assert [[len(c.image) for c in batch.captures] for batch in batches(tmp_path, 128)] == [[4, 5], [3], [20], [2]]


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing does not exist"):
        read(tmp_path / "nothing")
    for columns, message in [
        ({"image": ["text"] * 3}, "column image is string"),
        ({"camera": ["gate", None, "gate"]}, r"day\.parquet:1 has no camera"),
        ({"camera": ["gate", "*", "gate"]}, r"day\.parquet:1: a camera may not be called '\*'"),
        ({"landmarks": [[1.0, 2.0]] * 3}, r"day\.parquet:0: 2 numbers"),
        ({"landmarks": [7] * 3}, "cannot be read as Parquet"),
        ({"landmarks": [["left"] * 10] * 3}, "cannot be read as Parquet"),
        ({"camera": pa.array([b"\xff"] * 3).cast(pa.binary()).view(pa.string())}, "cannot be read as Parquet"),
        ({"camera": ["gate\0"] * 3}, r"holds a control character"),
        ({"subject_id": ["\x1b[2J"] * 3}, r"holds a control character"),
        ({"time": pa.array([2**61] * 3, pa.timestamp("us", "UTC"))}, "cannot be read as Parquet"),
        ({"time": pa.array([-(2**55)] * 3, pa.timestamp("us"))}, "before 2001; set the camera's clock"),
    ]:
        (batch,) = batches(table(tmp_path / "day.parquet", **columns), 128)
        assert re.search(message, batch.refused[0].reason) and not batch.finished
    put(tmp_path / "half.parquet", b"PAR1 and no more")
    table(tmp_path / "day.parquet")
    put(tmp_path / "stray.jpg")
    (tmp_path / "gate").mkdir()
    (tmp_path / "gate" / "out.jpg").symlink_to("/etc/hostname")
    os.mkfifo(tmp_path / "pipe.parquet")
    put(tmp_path / "gate" / "film.mp4")
    (batch,) = batches(tmp_path, 128)
    assert len(batch.captures) == 3 and [one.file.name for one in batch.finished] == ["day.parquet"]
    reasons = {one.file.name: one.reason for one in batch.refused}
    assert "half.parquet cannot be read" in reasons["half.parquet"]
    assert "stray.jpg lies in no camera's folder" in reasons["stray.jpg"]
    assert "out.jpg: a link that leaves" in reasons["out.jpg"]
    assert "pipe.parquet is no plain file" in reasons["pipe.parquet"]
    assert "film.mp4 is no picture by its name" in reasons["film.mp4"]


def test_a_folder_that_cannot_be_listed_keeps_no_other_one_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for camera in ("dock", "gate", "lift"):
        put(tmp_path / camera / "20261127" / "1.jpg")
    real = os.scandir

    def scandir(path: Path) -> Any:
        if Path(path) == tmp_path / "gate" / "20261127":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    (batch,) = batches(tmp_path, 128)
    assert [capture.camera for capture in batch.captures] == ["dock", "lift"]
    ((refused),) = batch.refused
    assert "gate/20261127 cannot be listed (Permission denied)" in refused.reason and not refused.is_there


def test_a_file_that_took_the_name_of_one_that_was_read_is_told_from_it(tmp_path: Path) -> None:
    stays, goes = put(tmp_path / "gate" / "1.jpg", b"one"), put(tmp_path / "gate" / "2.jpg", b"two")
    (batch,) = batches(tmp_path, 128)
    put(tmp_path / "gate" / ".new", b"new").rename(stays)
    assert [one.is_there for one in batch.finished] == [False, True]
    goes.unlink()  # by another run
    assert not batch.finished[1].is_there


@pytest.mark.parametrize("name", ["20261127T120000.5Z", "1", "1.JPG", "1.jfif", "1.pgm"])
def test_what_may_be_a_picture_by_its_name_is_a_capture(tmp_path: Path, name: str) -> None:
    put(tmp_path / "gate" / name)
    (batch,) = batches(tmp_path, 128)
    assert len(batch.captures) == 1 and not batch.refused
