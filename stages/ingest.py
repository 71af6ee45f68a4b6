"""ingest: any source of faces -> the face table; what cannot be used -> rejects, with the reason."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from stages.lib.errors import ConfigError, StageError
from stages.lib.executor import run_jobs
from stages.lib.fingerprint import code_version, fingerprint, stamp
from stages.lib.runtime import Runtime
from stages.lib.sources import open_source
from stages.lib.sources.base import Source
from stages.lib.sources.blocks import Part, read_block, rejects_of
from stages.lib.split import split_subjects
from stages.lib.table import PAIRS, Table, conform, publish
from stages.lib.table.sorting import sort_blocks
from stages.params import Cohort, Ingest, More

BLOCK = 512  # images a worker reads before it writes: the unit of resumption
RENDERED = 64  # the same, of images that are made as they are read


def run(params: Ingest, destination: Path, runtime: Runtime) -> Table:
    """Read the sources in blocks, then sort, split by subject and publish.

    Raises:
        ConfigError: a source is missing, laid out otherwise, or holds no usable face.
    """
    parts = _parts(params, runtime)
    stamps = [stamp(Path(path)) for path in (params.path, *(m.path for m in params.more)) if path]
    names = [part.source.kind for part in parts]  # an optional one may be missing
    workspace = runtime.scratch / "ingest" / fingerprint(params.model_dump_json(), names, code_version(), stamps)
    workspace.mkdir(parents=True, exist_ok=True)

    files = _read(parts, params.max_pixels, workspace, runtime)
    entries = sum(len(part.source) for part in parts)
    subjects = _subjects(files)
    if not subjects:
        reasons = Counter(r for file in files for r in pq.read_table(rejects_of(file))["reason"].to_pylist())
        told = "; ".join(f"{reason} ({count})" for reason, count in reasons.most_common(3))
        raise ConfigError(f"{params.path}: no usable face among {entries} entries: {told}; see `ingest.source`")
    split = _split(subjects, params)
    shards, repeated = sort_blocks(files, params.shard_mb * 2**20, workspace, partial(_with_split, split))
    rejects = pa.concat_tables([*(pq.read_table(rejects_of(file)) for file in files), repeated])
    out = sum(pq.read_metadata(shard).num_rows for shard in shards) + rejects.num_rows
    if out != entries:
        raise StageError(f"{entries} entries went in, {out} came out; {workspace} is kept to see why")
    table = publish(destination, shards, rejects, {"pairs": _pairs(parts[0], files)})
    shutil.rmtree(workspace)
    return table


def _parts(params: Ingest, runtime: Runtime) -> list[Part]:
    """The main source first; it alone names its people without a prefix, and brings pair lists."""
    parts = [_open(params.source, params.path, params.licence, params.cohort, None, "", runtime)]
    for more in params.more:
        try:
            parts.append(_more(more, params.cohort, runtime))
        except ConfigError as error:
            if not more.optional:
                raise
            print(f"ingest: without {more.source}, which is optional: {error}", file=sys.stderr)
    return parts


def _read(parts: Sequence[Part], max_pixels: int, workspace: Path, runtime: Runtime) -> list[Path]:
    jobs = {
        workspace / f"block-{number}-{start:09d}.parquet": (part, start)
        for number, part in enumerate(parts)
        for start in part.starts
    }
    work = [partial(read_block, part, start, max_pixels, file) for file, (part, start) in jobs.items()]
    workers = max(runtime.workers, *(part.processes for part in parts))
    for _ in runtime.progress(run_jobs(work, workers), "ingest", "blocks", total=len(work)):
        pass
    return list(jobs)


def _more(more: More, cohort: Cohort, runtime: Runtime) -> Part:
    return _open(more.source, more.path, None, cohort, more.split, f"{more.source}:", runtime)


def _open(
    kind: str, path: str | None, licence: str | None, cohort: Cohort, split: str | None, prefix: str, runtime: Runtime
) -> Part:
    if kind == "cohort":
        # a picture's many small operations gain from a process of their own and not from threads
        processes = runtime.threads if runtime.device == "cpu" else 1
        return Part(_computed(cohort, runtime.device), split, prefix, RENDERED, processes)
    given = _given(kind, None if path is None else Path(path))
    return Part(open_source(kind, given, licence), split, prefix, BLOCK)


def _computed(cohort: Cohort, device: str) -> Source:
    """The renderer imports torch, which sources of photographs spare."""
    from stages.lib.cohort.shot import Ranges
    from stages.lib.cohort.source import CohortSource, Recipe

    return CohortSource(Recipe(**{**dict(cohort), "ranges": Ranges(**dict(cohort.ranges))}), device)


def _given(source: str, path: Path | None) -> Path | None:
    """The path, or none where the source comes in a package and the folder is left empty."""
    empty = path is not None and path.is_dir() and all(entry.name.startswith(".") for entry in path.iterdir())
    return None if empty and source == "orl" else path


def _split(subjects: dict[str, str | None], params: Ingest) -> dict[str, str]:
    """The main source's people by lot where it fixes nothing; those of further sources as `more` says.

    The lot must not change when a source is added, so only the main source's people take part.
    """
    prefixes = tuple(f"{more.source}:" for more in params.more)
    further = {s: fixed for s, fixed in subjects.items() if s.startswith(prefixes) and fixed}
    main = {s: fixed for s, fixed in subjects.items() if s not in further}
    return further | split_subjects(main, params.val_fraction, params.test_fraction, params.seed)


def _subjects(blocks: Sequence[Path]) -> dict[str, str | None]:
    table = ds.dataset([str(b) for b in blocks], format="parquet").to_table(columns=["subject_id", "fixed_split"])
    pairs = zip(table["subject_id"].to_pylist(), table["fixed_split"].to_pylist(), strict=True)
    return dict(sorted(pairs, key=lambda pair: pair[0]))


def _with_split(split: dict[str, str], table: pa.Table) -> pa.Table:
    column = pa.array([split[s] for s in table["subject_id"].to_pylist()], pa.string())
    return conform(table.drop_columns(["fixed_split"]).append_column("split", column))


def _pairs(part: Part, blocks: Sequence[Path]) -> pa.Table:
    table = ds.dataset([str(b) for b in blocks], format="parquet").to_table(columns=["name", "face_id"])
    face = dict(zip(table["name"].to_pylist(), table["face_id"].to_pylist(), strict=True))
    rows = [
        {"protocol": p.protocol, "face_a": face[p.name_a], "face_b": face[p.name_b], "same": p.same, "fold": p.fold}
        for p in part.source.pairs()
        if p.name_a in face and p.name_b in face  # an image of a pair may have been rejected
    ]
    return pa.Table.from_pylist(rows, schema=PAIRS)
