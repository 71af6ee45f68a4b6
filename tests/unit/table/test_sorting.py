"""Blocks in any order become shards in one order, and nothing is lost."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from stages.lib.table import write_parquet
from stages.lib.table.sorting import sort_blocks

ids = st.integers(0, 40).map(lambda number: f"{number * 104_728_993:08x}{number:024x}")
faces = st.tuples(ids, st.sampled_from(["ann", "bob"]))


@given(blocks=st.lists(st.lists(faces, max_size=12), min_size=1, max_size=4), shard_kb=st.sampled_from([0.5, 3, 1000]))
def test_rows_are_sorted_over_all_shards_and_repeats_are_rejects(
    blocks: list[list[tuple[str, str]]], shard_kb: float
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        rows: list[dict[str, object]] = []
        paths = []
        for number, block in enumerate(blocks):
            made = [
                {"face_id": face, "name": f"{number}-{i}", "subject_id": person, "image": b"i" * 50}
                for i, (face, person) in enumerate(block)
            ]
            paths.append(Path(folder) / f"block-{number}.parquet")
            write_parquet(pa.Table.from_pylist(made, schema=SCHEMA), paths[-1])
            rows += made
        shards, repeated = sort_blocks(paths, shard_kb * 1024, Path(folder), lambda table: table)
        kept = [row for shard in shards for row in pq.read_table(shard).to_pylist()]

    first: dict[object, dict[str, object]] = {}
    for row in sorted(rows, key=lambda row: (row["face_id"], row["name"])):
        first.setdefault(row["face_id"], row)
    assert kept == list(first.values())
    assert len(kept) + repeated.num_rows == len(rows)
    people = {row["name"]: row["subject_id"] for row in rows}
    for reject in repeated.to_pylist():
        original = first[reject["face_id"]]
        other = people[reject["name"]] != original["subject_id"]
        assert reject["reason"].startswith(f"same bytes as {original['name']}")
        assert ("another person" in reject["reason"]) == other


SCHEMA = pa.schema([(name, pa.string()) for name in ("face_id", "name", "subject_id")] + [("image", pa.binary())])
