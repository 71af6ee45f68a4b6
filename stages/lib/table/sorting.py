"""Unsorted blocks to `face_id`-sorted shards, with memory bounded by one shard."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages.lib.table.writer import reject_rows, write_parquet


def sort_blocks(
    blocks: Sequence[Path], shard_bytes: float, workspace: Path, finish: Callable[[pa.Table], pa.Table]
) -> tuple[list[Path], pa.Table]:
    """Spread the rows of all blocks over shards by `face_id` and sort each shard.

    Ids are hashes, so equal ranges of their first eight digits hold equal shares of the rows.

    Args:
        blocks: Parquet files with at least `face_id`, `name` and `image`.
        shard_bytes: aim for the size of a shard.
        workspace: where the shards and what leads to them are written.
        finish: last change to a sorted shard, such as adding the split.

    Returns:
        The shards in order, and as rejects the second and later copies of identical bytes.
    """
    total = sum(block.stat().st_size for block in blocks)
    count = max(1, math.ceil(total / shard_bytes))
    _spread(blocks, count, workspace)
    shards, duplicates = [], []
    for index in range(count):
        fragments = sorted(workspace.glob(f"part-{index:05d}-*.parquet"))
        if not fragments:
            continue
        table = pa.concat_tables([pq.read_table(f) for f in fragments])
        kept, repeated = _without_repeats(table.sort_by([("face_id", "ascending"), ("name", "ascending")]))
        shard = workspace / f"sorted-{index:05d}.parquet"
        write_parquet(finish(kept), shard)
        shards.append(shard)
        duplicates.append(repeated)
    return shards, pa.concat_tables(duplicates) if duplicates else reject_rows("ingest", [])


def _spread(blocks: Sequence[Path], count: int, workspace: Path) -> None:
    for number, block in enumerate(blocks):
        table = pq.read_table(block)
        bins = [int(i[:8], 16) * count >> 32 for i in table["face_id"].to_pylist()]
        for index in sorted(set(bins)):
            rows = table.filter(pc.equal(pa.array(bins), index))
            write_parquet(rows, workspace / f"part-{index:05d}-{number:06d}.parquet")


def _without_repeats(table: pa.Table) -> tuple[pa.Table, pa.Table]:
    ids, names = table["face_id"].to_pylist(), table["name"].to_pylist()
    subjects = table["subject_id"].to_pylist()
    first: dict[str, int] = {}
    keep, repeated = [], []
    for row, face in enumerate(ids):
        keep.append(face not in first)
        kept = first.setdefault(face, row)
        if kept != row:
            same = "" if subjects[kept] == subjects[row] else f", which is of another person ({subjects[kept]})"
            repeated.append((names[row], face, subjects[row], f"same bytes as {names[kept]}{same}"))
    return table.filter(pa.array(keep, pa.bool_())), reject_rows("ingest", repeated)
