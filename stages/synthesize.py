"""synthesize: random variants of the faces that are learned from, or the fixed evaluation grid of the test faces.

Two tables, so that another grid makes no student learn anew.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import torch

from stages.lib.codec import Pixels, decode, encode_png
from stages.lib.degrade import Degraded, degrade, training_variant
from stages.lib.degrade.parses import covers, degraded_parses, moves
from stages.lib.fingerprint import code_version, fingerprint
from stages.lib.runtime import Runtime
from stages.lib.table import CORE, TEST, ShardResult, Table, conform, map_shards, reject_rows
from stages.params import Synthesize

Part = Literal["variants", "grid"]
READ = {"variants": ("variants", "probabilities"), "grid": ("grid", "grid_faces")}  # of params, beside the seed

BATCH = 128


@dataclass(frozen=True)
class Cell:
    """One degradation that is applied to a whole batch, and the suffix of its face ids."""

    operator: str
    severity: int
    variant: int

    @property
    def suffix(self) -> str:
        return f"{self.operator}-{self.severity or self.variant}"


def run(part: Part, params: Synthesize, source: Path, destination: Path, runtime: Runtime) -> Table:
    """Degrade faces of a table of aligned faces, several times.

    Args:
        part: `variants` of the training and validation people, or the `grid` of test people.
        params: how.
        source: table of aligned faces.
        destination: of the new table.
        runtime: where to compute.
    """
    aligned = Table.open(source)
    own = params.model_dump_json(include={"seed", *READ[part]})
    key = fingerprint(part, own, aligned.content_id, code_version())
    if part == "grid":
        people = _grid_subjects(aligned, params.grid_faces, params.seed)
        cells = [Cell(name, level, 0) for name, levels in params.grid.items() for level in levels]
    else:
        learned = ds.field("split").isin(["train", "val"])
        people = frozenset(aligned.read(["subject_id"], learned)["subject_id"].to_pylist())
        cells = [Cell("random", 0, variant) for variant in range(params.variants)]
    function = partial(_shard, params, cells, people, runtime.device)
    return map_shards(aligned, destination, function, runtime.scratch / "synthesize" / key, runtime, part)


def _grid_subjects(aligned: Table, limit: int, seed: int) -> frozenset[str]:
    """Whole test people in hashed order, as many as the limit of faces takes; people with one face come last."""
    subjects = aligned.read(["subject_id"], TEST)["subject_id"].to_pylist()
    counts = Counter(subjects)

    def order(subject: str) -> tuple[bool, bytes]:
        return counts[subject] < 2, hashlib.sha256(f"{seed}:{subject}".encode()).digest()

    chosen: list[str] = []
    faces = 0
    for subject in sorted(counts, key=order):
        if faces + counts[subject] > limit and len(chosen) >= 2:  # fewer than two people allow no comparison
            continue
        chosen.append(subject)
        faces += counts[subject]
    return frozenset(chosen)


def _shard(
    params: Synthesize, cells: Sequence[Cell], people: frozenset[str], device: str, shard: pa.Table
) -> ShardResult:
    nothing = Degraded(torch.empty(0, 3, 1, 1, dtype=torch.uint8), [])
    parts = [_rows(shard.slice(0, 0), nothing, [], Cell("none", 0, 0), params.seed)]  # gives the schema at least
    theirs = ds.field("subject_id").isin(pa.array(people, pa.string()))
    for batch in shard.filter(theirs).to_batches(max_chunksize=BATCH):
        parts += [_cell(params, cell, pa.Table.from_batches([batch]), device) for cell in cells]
    return ShardResult(pa.concat_tables(parts).sort_by("face_id"), reject_rows("synthesize", []))


def _cell(params: Synthesize, cell: Cell, faces: pa.Table, device: str) -> pa.Table:
    images = torch.from_numpy(np.stack([decode(i) for i in faces["image"].to_pylist()])).permute(0, 3, 1, 2)
    ids = faces["face_id"].to_pylist()
    landmarks = np.stack(faces["landmarks"].to_numpy()).reshape(-1, 5, 2)
    if cell.severity:
        done = degrade(images, ids, landmarks, cell.operator, cell.severity, params.seed, device)
    else:
        done = training_variant(images, ids, landmarks, params.probabilities, params.seed, cell.variant, device)
    parses = degraded_parses(faces["segmentation"].to_pylist(), landmarks, done.params, device)
    return _rows(faces, done, parses, cell, params.seed)


def _rows(faces: pa.Table, done: Degraded, parses: Sequence[bytes | None], cell: Cell, seed: int) -> pa.Table:
    images: Pixels = done.images.permute(0, 2, 3, 1).cpu().numpy()
    ids = faces["face_id"].to_pylist()
    count = len(ids)
    labels = faces["mask_worn"].to_pylist()
    worn = [bool(label) or '"mask"' in steps for label, steps in zip(labels, done.params, strict=True)]
    columns: dict[str, pa.Array] = {
        # the parent's hash first: variants of a sorted table are sorted
        "face_id": pa.array([f"{face}-{cell.suffix}" for face in ids], pa.string()),
        "parent_id": pa.array(ids, pa.string()),
        "image": pa.array([encode_png(image) for image in images], pa.binary()),
        "mask_worn": pa.array(worn, pa.bool_()),
        "d_operator": pa.array([cell.operator] * count, pa.string()),
        "d_severity": pa.array([cell.severity] * count, pa.int32()),
        "d_params": pa.array(done.params, pa.string()),
        "d_seed": pa.array([seed] * count, pa.int64()),
        "segmentation": pa.array(parses, pa.binary()),
    }
    # labels that belong to the parent's pixels and no longer to these
    moved = pa.array([moves(steps) for steps in done.params], pa.bool_())
    hidden = pa.array([moves(steps) or covers(steps) for steps in done.params], pa.bool_())
    stale = dict.fromkeys(("landmarks", "landmarks68", "box", "transform"), moved)
    for name, lost in {**stale, "visible68": hidden}.items():
        field = CORE.field(name)
        columns[name] = pc.if_else(lost, pa.scalar(None, field.type), faces[name].combine_chunks().cast(field.type))
    kept = faces.drop_columns([c for c in faces.column_names if c in columns or c.startswith("q_")])
    for name, column in columns.items():
        kept = kept.append_column(name, column)
    return conform(kept)
