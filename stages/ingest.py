"""ingest: any source of faces -> the face table; what cannot be used -> rejects, with the reason."""

from __future__ import annotations

import hashlib
import shutil
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from stages.lib.codec import BadImage, decode_untrusted
from stages.lib.errors import ConfigError, StageError
from stages.lib.executor import run_jobs
from stages.lib.fingerprint import code_version, fingerprint, stamp
from stages.lib.runtime import Runtime
from stages.lib.sources import Record, Source, Unreadable, open_source
from stages.lib.split import split_subjects
from stages.lib.table import CORE, PAIRS, Table, conform, publish, reject_rows, write_parquet
from stages.lib.table.sorting import sort_blocks
from stages.params import Ingest

BLOCK = 512  # images a worker reads before it writes: the unit of resumption
# a split can be given only once every subject is known, so a block holds what the source fixes
BLOCK_SCHEMA = pa.schema([*(f for f in CORE if f.name != "split"), pa.field("fixed_split", pa.string())])


def run(params: Ingest, destination: Path, runtime: Runtime) -> Table:
    """Read the source in blocks, then sort, split by subject and publish.

    Raises:
        ConfigError: the source is missing, laid out otherwise, or holds no usable face.
    """
    path = Path(params.path)
    source = open_source(params.source, _given(params.source, path), params.licence)
    key = fingerprint(params.model_dump_json(), code_version(), stamp(path))
    workspace = runtime.scratch / "ingest" / key
    workspace.mkdir(parents=True, exist_ok=True)

    starts = range(0, len(source), BLOCK)
    jobs = [partial(_read_block, source, start, params.max_pixels, workspace) for start in starts]
    for _ in runtime.progress(run_jobs(jobs, runtime.workers), "ingest", "blocks", total=len(jobs)):
        pass

    blocks = [_block(workspace, start) for start in starts]
    subjects = _subjects(blocks)
    if not subjects:
        raise ConfigError(f"{params.path}: no usable face among {len(source)} entries; see `ingest.source`")
    split = split_subjects(subjects, params.val_fraction, params.test_fraction, params.seed)
    shards, repeated = sort_blocks(blocks, params.shard_mb * 2**20, workspace, partial(_with_split, split))
    rejects = pa.concat_tables([*(pq.read_table(_rejects(workspace, s)) for s in starts), repeated])
    out = sum(pq.read_metadata(shard).num_rows for shard in shards) + rejects.num_rows
    if out != len(source):
        raise StageError(f"{len(source)} entries went in, {out} came out; {workspace} is kept to see why")
    table = publish(destination, shards, rejects, {"pairs": _pairs(source, blocks)})
    shutil.rmtree(workspace)
    return table


def _given(source: str, path: Path) -> Path | None:
    """The path, or none where the source comes in a package and the folder is left empty."""
    empty = path.is_dir() and all(entry.name.startswith(".") for entry in path.iterdir())
    return None if empty and source == "orl" else path


def _read_block(source: Source, start: int, max_pixels: int, workspace: Path) -> None:
    if _rejects(workspace, start).is_file():
        return
    rows, rejected = [], []
    for entry in source.read(start, min(start + BLOCK, len(source))):
        if isinstance(entry, Unreadable):
            rejected.append((entry.name, None, entry.subject, entry.reason))
            continue
        try:
            rows.append(_row(source, entry, max_pixels))
        except BadImage as error:
            rejected.append((entry.name, None, entry.subject, str(error)))
    write_parquet(pa.Table.from_pylist(rows, schema=BLOCK_SCHEMA), _block(workspace, start))
    write_parquet(reject_rows("ingest", rejected), _rejects(workspace, start))


def _row(source: Source, record: Record, max_pixels: int) -> dict[str, object]:
    height, width = decode_untrusted(record.image, max_pixels).shape[:2]
    return {
        "face_id": hashlib.sha256(record.image).hexdigest()[:32],
        "subject_id": record.subject,
        "source": source.kind,
        "name": record.name,
        "licence": source.licence,
        "fixed_split": record.split,
        "image": record.image,
        "width": width,
        "height": height,
        "landmarks": None if record.landmarks is None else record.landmarks.ravel().tolist(),
        "landmarks_from": record.landmarks_from,
    }


def _subjects(blocks: list[Path]) -> dict[str, str | None]:
    table = ds.dataset([str(b) for b in blocks], format="parquet").to_table(columns=["subject_id", "fixed_split"])
    pairs = zip(table["subject_id"].to_pylist(), table["fixed_split"].to_pylist(), strict=True)
    return dict(sorted(pairs, key=lambda pair: pair[0]))


def _with_split(split: dict[str, str], table: pa.Table) -> pa.Table:
    column = pa.array([split[s] for s in table["subject_id"].to_pylist()], pa.string())
    return conform(table.drop_columns(["fixed_split"]).append_column("split", column))


def _pairs(source: Source, blocks: list[Path]) -> pa.Table:
    table = ds.dataset([str(b) for b in blocks], format="parquet").to_table(columns=["name", "face_id"])
    face = dict(zip(table["name"].to_pylist(), table["face_id"].to_pylist(), strict=True))
    rows = [
        {"protocol": p.protocol, "face_a": face[p.name_a], "face_b": face[p.name_b], "same": p.same, "fold": p.fold}
        for p in source.pairs()
        if p.name_a in face and p.name_b in face  # an image of a pair may have been rejected
    ]
    return pa.Table.from_pylist(rows, schema=PAIRS)


def _block(workspace: Path, start: int) -> Path:
    return workspace / f"block-{start:09d}.parquet"


def _rejects(workspace: Path, start: int) -> Path:
    return workspace / f"block-rejects-{start:09d}.parquet"
