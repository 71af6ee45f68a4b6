"""Writing a face table: every file and the folder itself appear whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from stages.lib.fingerprint import sha256_file
from stages.lib.folders import new_folder
from stages.lib.table.reader import REJECTS_FILE, Table, content_hash
from stages.lib.table.schema import REJECTS, VERSION

ROW_GROUP = 256  # small enough that reading one face does not drag a shard into memory


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write a table under a temporary name and rename it: a killed writer leaves no half file.

    Image bytes are compressed already, so only the other columns are.
    """
    compression = {name: "none" if name == "image" else "zstd" for name in table.column_names}
    temporary = path.with_suffix(".tmp")
    pq.write_table(table, temporary, compression=compression, row_group_size=ROW_GROUP)
    os.replace(temporary, path)


def reject_rows(stage: str, rows: Iterable[tuple[str, str | None, str | None, str]]) -> pa.Table:
    """Build rejects from (name, face_id, subject_id, reason)."""
    records = [
        {"name": name, "face_id": face, "subject_id": subject, "stage": stage, "reason": reason}
        for name, face, subject, reason in rows
    ]
    return pa.Table.from_pylist(records, schema=REJECTS)


def publish(
    destination: Path, shards: Sequence[Path], rejects: pa.Table, extras: Mapping[str, pa.Table] | None = None
) -> Table:
    """Put finished shards together as a face table, in a temporary sibling that is then renamed.

    Args:
        destination: the folder to make; an older one is replaced.
        shards: Parquet files in `face_id` order, linked (not moved), so a kill here loses nothing.
        rejects: rows of the REJECTS schema; those of earlier stages included.
        extras: further Parquet files by name, such as `pairs`.
    """
    entries = []
    with new_folder(destination) as building:
        for index, shard in enumerate(shards):
            target = building / f"shard-{index:05d}.parquet"
            _link(shard, target)
            rows = pq.read_metadata(target).num_rows
            entries.append({"file": target.name, "rows": rows, "sha256": sha256_file(target)})
        for name, table in {"rejects": rejects, **(extras or {})}.items():
            write_parquet(table, building / f"{name}.parquet")
        _describe(building, entries, rejects.num_rows)
    return Table.open(destination)


def _describe(folder: Path, entries: list[dict[str, object]], rejects: int) -> None:
    about = {
        "schema_version": VERSION,
        "rows": sum(int(str(entry["rows"])) for entry in entries),
        "rejects": rejects,
        "content_id": content_hash([str(entry["sha256"]) for entry in entries], folder / REJECTS_FILE),
        "shards": entries,
    }
    (folder / "table.json").write_text(json.dumps(about, indent=2) + "\n")


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)
