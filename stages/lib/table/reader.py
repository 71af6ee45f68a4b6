"""Reading a face table: streamed, checked against its own `table.json`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from stages.lib.errors import ConfigError
from stages.lib.fingerprint import sha256_file
from stages.lib.table.schema import VERSION

REJECTS_FILE = "rejects.parquet"


class TableError(ConfigError):
    """A folder is not a face table, or its files do not match its `table.json`."""


@dataclass(frozen=True)
class Shard:
    """One Parquet file of a table, with what `table.json` says of it."""

    path: Path
    rows: int
    sha256: str


@dataclass(frozen=True)
class Table:
    """A published face table. Images stay on disk until they are asked for.

    Attributes:
        path: the folder.
        shards: Parquet files in `face_id` order.
        rows: faces in all shards.
        content_id: hash over all shards and rejects; equal tables have equal ids.
    """

    path: Path
    shards: tuple[Shard, ...]
    rows: int
    content_id: str

    @classmethod
    def open(cls, path: Path) -> Table:
        """Open a folder that a data stage wrote.

        Raises:
            TableError: no `table.json`, another schema version, or a shard is missing.
        """
        path = Path(path)
        try:
            about: dict[str, Any] = json.loads((path / "table.json").read_text())
        except (OSError, ValueError) as error:
            raise TableError(f"{path} is not a face table ({error}); run the stage that makes it") from error
        if about.get("schema_version") != VERSION:
            raise TableError(f"{path} has schema version {about.get('schema_version')}, need {VERSION}: rebuild it")
        shards = tuple(Shard(path / s["file"], s["rows"], s["sha256"]) for s in about["shards"])
        for shard in shards:
            if not shard.path.is_file():
                raise TableError(f"{shard.path} is named in table.json but missing; restore it with `dvc checkout`")
        return cls(path, shards, about["rows"], about["content_id"])

    @property
    def columns(self) -> list[str]:
        """Column names, as in the first shard."""
        return list(pq.read_schema(self.shards[0].path).names) if self.shards else []

    def scan(
        self,
        columns: Sequence[str] | None = None,
        where: ds.Expression | None = None,
        batch_rows: int = 512,
    ) -> Iterator[pa.RecordBatch]:
        """Stream rows in `face_id` order; memory does not grow with the table.

        Args:
            columns: which to read, all by default.
            where: a filter, such as `pyarrow.dataset.field("split") == "test"`.
            batch_rows: the most rows in a batch.
        """
        for shard in self.shards:
            batches = ds.dataset(shard.path, format="parquet").to_batches(
                columns=list(columns) if columns else None,
                filter=where,
                batch_size=batch_rows,
                batch_readahead=2,
                fragment_readahead=1,
            )
            yield from (batch for batch in batches if batch.num_rows)

    def read(self, columns: Sequence[str], where: ds.Expression | None = None) -> pa.Table:
        """Read columns into memory, in `face_id` order. Leave `image` to `scan`."""
        dataset = ds.dataset([str(s.path) for s in self.shards], format="parquet")
        return dataset.to_table(columns=list(columns), filter=where)

    def rejects(self) -> pa.Table:
        """Everything that was dropped on the way to this table, with stage and reason."""
        return pq.read_table(self.path / REJECTS_FILE)

    @property
    def entries(self) -> int:
        """All that ever came in: what is here, and what was dropped on the way."""
        return self.rows + pq.read_metadata(self.path / REJECTS_FILE).num_rows

    def verify(self) -> None:
        """Check every count and hash.

        Raises:
            TableError: names the first file that differs from `table.json`.
        """
        for shard in self.shards:
            if sha256_file(shard.path) != shard.sha256:
                raise TableError(f"{shard.path} has changed since it was written; restore it with `dvc checkout`")
            if pq.read_metadata(shard.path).num_rows != shard.rows:
                raise TableError(f"{shard.path} does not hold the {shard.rows} rows that table.json names")
        if self.rows != sum(shard.rows for shard in self.shards):
            raise TableError(f"{self.path / 'table.json'} names {self.rows} rows, its shards hold another number")
        if content_hash([shard.sha256 for shard in self.shards], self.path / REJECTS_FILE) != self.content_id:
            raise TableError(f"{self.path / REJECTS_FILE} has changed since it was written; run `dvc checkout`")


def content_hash(shards: Sequence[str], rejects: Path) -> str:
    """The `content_id` of a table, from the hashes of its shards in order and the file of its rejects."""
    return hashlib.sha256("".join([*shards, sha256_file(rejects)]).encode()).hexdigest()
