"""A table appears whole or not at all, says when it was touched, and is read a piece at a time."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from stages.lib.table import Table, TableError, conform, publish, reject_rows, write_parquet

Make = Callable[..., Any]


class Killed(BaseException):
    """The process died here."""


def kill_after(budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `budget` operations on files pass and die in the next; a removal dies half done."""
    left = iter(range(budget))

    def wrap(operation: Callable[..., Any], half: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if next(left, None) is None:
                half(*args)
                raise Killed
            return operation(*args, **kwargs)

        return call

    def lose_a_file(folder: Path) -> None:
        for file in list(folder.iterdir())[:1] if folder.is_dir() else []:
            file.unlink()

    monkeypatch.setattr(os, "replace", wrap(os.replace, lambda *_: None))
    monkeypatch.setattr(os, "link", wrap(os.link, lambda *_: None))
    monkeypatch.setattr(shutil, "rmtree", wrap(shutil.rmtree, lose_a_file))


def test_a_kill_at_any_point_leaves_a_whole_table_or_none(face_rows: Make, make_table: Make, tmp_path: Path) -> None:
    rows = face_rows()
    old = make_table(rows)
    shard = tmp_path / "new.parquet"
    write_parquet(rows.slice(0, 5), shard)
    for budget in range(30):
        with pytest.MonkeyPatch.context() as patch:
            kill_after(budget, patch)
            try:
                new = publish(old.path, [shard], reject_rows("made", []))
                break
            except Killed:
                pass
        if old.path.exists():
            found = Table.open(old.path)
            found.verify()
            assert found.rows in (5, rows.num_rows)
    assert budget > 5
    assert new.rows == 5
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".building")] == []


def test_equal_rows_are_equal_tables_and_rejects_count(face_rows: Make, make_table: Make) -> None:
    first, again = (make_table(face_rows(), name) for name in ("first", "again"))
    dropped = reject_rows("ingest", [("x.png", None, None, "not an image")])
    other = make_table(face_rows(), "other", rejects=dropped)
    assert first.content_id == again.content_id != other.content_id
    assert json.loads((other.path / "table.json").read_text())["rejects"] == 1
    assert other.rejects().to_pylist() == [
        {"name": "x.png", "face_id": None, "subject_id": None, "stage": "ingest", "reason": "not an image"}
    ]


@pytest.mark.parametrize("name", ["shard-00001.parquet", "rejects.parquet"])
def test_a_tampered_file_is_named(face_rows: Make, make_table: Make, name: str) -> None:
    table = make_table(face_rows())
    table.verify()
    file = table.path / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(TableError, match=name):
        Table.open(table.path).verify()


def test_what_is_no_table_says_so(face_rows: Make, make_table: Make, tmp_path: Path) -> None:
    with pytest.raises(TableError, match="is not a face table"):
        Table.open(tmp_path)
    table = make_table(face_rows())
    (table.path / "shard-00000.parquet").unlink()
    with pytest.raises(TableError, match=r"shard-00000.parquet .* missing"):
        Table.open(table.path)
    about = table.path / "table.json"
    about.write_text(about.read_text().replace('"schema_version": 2', '"schema_version": 99'))
    with pytest.raises(TableError, match="schema version 99"):
        Table.open(table.path)


def test_scan_streams_in_order_and_filters(face_rows: Make, make_table: Make) -> None:
    rows = face_rows()
    table = make_table(rows, shards=3)
    batches = list(table.scan(["face_id", "split"], ds.field("split") == "test", batch_rows=2))
    assert all(0 < batch.num_rows <= 2 and batch.schema.names == ["face_id", "split"] for batch in batches)
    seen = pa.Table.from_batches(batches)
    wanted = rows.filter(ds.field("split") == "test").select(["face_id", "split"])
    assert seen.to_pylist() == wanted.to_pylist()
    assert table.read(["face_id"])["face_id"].to_pylist() == rows["face_id"].to_pylist()


def test_conform_orders_fills_and_refuses(face_rows: Make) -> None:
    rows = face_rows()
    shuffled = rows.select(sorted(rows.column_names, reverse=True)).drop_columns(["box", "yaw"])
    assert conform(shuffled).equals(rows)
    with pytest.raises(ValueError, match=r"unknown columns \['colour'\]"):
        conform(rows.append_column("colour", pa.nulls(rows.num_rows)))
    with pytest.raises(ValueError, match=r"missing \['licence'\]"):
        conform(rows.drop_columns(["licence"]))
    with pytest.raises(ValueError, match=r"missing \['d_params', 'd_seed', 'd_severity'\]"):
        conform(rows.append_column("d_operator", pa.array(["blur"] * rows.num_rows)))
