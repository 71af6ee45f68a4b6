"""A data stage redoes only what is missing, and any number of workers gives the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from stages.lib.runtime import Runtime
from stages.lib.table import ShardResult, map_shards, reject_rows

Make = Callable[..., Any]
KEEP_ALL = partial(ShardResult, rejects=reject_rows("keep", []))  # unlike a test's function, a worker can load it


def test_only_missing_shards_are_redone(face_rows: Make, make_table: Make, runtime: Runtime, tmp_path: Path) -> None:
    source = make_table(face_rows(), shards=4)
    seen: list[str] = []

    def drop_the_first(shard: pa.Table) -> ShardResult:
        first = shard["face_id"][0].as_py()
        if len(seen) == 2 and first not in seen:
            seen.append("died")
            raise KeyboardInterrupt
        seen.append(first)
        return ShardResult(shard.slice(1), reject_rows("drop", [("first", first, None, "it came first")]))

    work = (drop_the_first, tmp_path / "work", runtime, "drop")
    with pytest.raises(KeyboardInterrupt):
        map_shards(source, tmp_path / "out", *work)
    assert not (tmp_path / "out").exists()
    table = map_shards(source, tmp_path / "out", *work)

    firsts = [shard["face_id"][0].as_py() for shard in (source.read(["face_id"]).slice(i, 1) for i in (0, 5, 10, 15))]
    assert seen == [*firsts[:2], "died", *firsts[2:]]
    assert table.rejects()["face_id"].to_pylist() == firsts
    assert table.rows + table.rejects().num_rows == source.rows
    assert not (tmp_path / "work").exists()


def test_workers_do_not_change_the_bytes(face_rows: Make, make_table: Make, runtime: Runtime, tmp_path: Path) -> None:
    earlier = reject_rows("ingest", [("x.png", None, None, "not an image")])
    source = make_table(face_rows(), shards=3, rejects=earlier)
    tables = [
        map_shards(source, tmp_path / f"by-{n}", KEEP_ALL, tmp_path / f"w{n}", replace(runtime, workers=n), "keep")
        for n in (1, 2)
    ]
    assert tables[0].content_id == tables[1].content_id
    assert tables[1].rejects().equals(earlier)  # what earlier stages dropped stays on record
