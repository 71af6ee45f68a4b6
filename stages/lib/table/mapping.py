"""A data stage as a pure function over shards: resumable, and the same bytes at any worker count."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from stages.lib.executor import run_jobs
from stages.lib.runtime import Runtime
from stages.lib.table.reader import Shard, Table
from stages.lib.table.writer import publish, write_parquet


@dataclass(frozen=True)
class ShardResult:
    """What a shard function returns: rows that go on, and rows of the REJECTS schema."""

    rows: pa.Table
    rejects: pa.Table


ShardFunction = Callable[[pa.Table], ShardResult]


def map_shards(
    source: Table, destination: Path, function: ShardFunction, workspace: Path, runtime: Runtime, what: str
) -> Table:
    """Run a function over every shard and publish the results as a new table.

    A shard's result lands in the workspace as it is done. A later call with the same workspace
    redoes only what is missing, and the workspace goes once the table is published.

    Args:
        source: the table to read.
        destination: the folder of the new table.
        function: pure and, for more than one worker, picklable.
        workspace: scratch folder whose name must change with params, input and code.
        runtime: gives the worker count and the progress bar.
        what: the label of the progress bar.
    """
    workspace.mkdir(parents=True, exist_ok=True)
    waiting = [i for i in range(len(source.shards)) if not _done(workspace, i)]
    jobs = [partial(_one, function, source.shards[i], workspace, i) for i in waiting]
    for _ in runtime.progress(run_jobs(jobs, runtime.workers), what, "shards", total=len(jobs)):
        pass
    indices = range(len(source.shards))
    rejects = [source.rejects(), *(pq.read_table(_rejects(workspace, i)) for i in indices)]
    table = publish(destination, [_rows(workspace, i) for i in indices], pa.concat_tables(rejects))
    shutil.rmtree(workspace)
    return table


def _one(function: ShardFunction, shard: Shard, workspace: Path, index: int) -> None:
    result = function(pq.read_table(shard.path))
    write_parquet(result.rows, _rows(workspace, index))
    write_parquet(result.rejects, _rejects(workspace, index))  # last: its presence means done


def _done(workspace: Path, index: int) -> bool:
    return _rejects(workspace, index).is_file() and _rows(workspace, index).is_file()


def _rows(workspace: Path, index: int) -> Path:
    return workspace / f"shard-{index:05d}.parquet"


def _rejects(workspace: Path, index: int) -> Path:
    return workspace / f"rejects-{index:05d}.parquet"
