"""teach: adopt or train the teacher, and compute its template of every clean aligned face once."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import torch

from stages.lib.codec import decode
from stages.lib.fingerprint import code_version, fingerprint, sha256_file
from stages.lib.models.checkpoint import ModelSpec, save_model
from stages.lib.models.known import KNOWN
from stages.lib.models.student import build_encoder
from stages.lib.models.teacher import open_teacher, save_adopted
from stages.lib.objectives import Objectives, Task
from stages.lib.runtime import Runtime
from stages.lib.table import ShardResult, Table, map_shards, reject_rows
from stages.lib.training.batches import Recipe
from stages.lib.training.data import load_faces, steps_per_epoch
from stages.lib.training.loop import train
from stages.lib.training.validation import Validation
from stages.params import Teach, TrainTeacher

BATCH = 64


def run(params: Teach, source: Path, variants: Path, teacher: Path, templates: Path, runtime: Runtime) -> Table:
    """Make the teacher's folder, then a table of its templates.

    Args:
        params: the section `teach`.
        source: table of clean faces.
        variants: table of the faces' random degradations; read where `params.variants` asks for their templates too.
        teacher: the folder to make.
        templates: the table to make.
        runtime: device, threads and scratch.

    Raises:
        ConfigError: the model to adopt is missing or does not fit its contract.
    """
    aligned = Table.open(source)
    faces = _with_variants(aligned, Table.open(variants)) if params.variants else aligned
    key = fingerprint(params.model_dump_json(), faces.content_id, code_version())
    workspace = runtime.scratch / "teach" / key
    if params.mode == "adopt":
        adopt = params.adopt
        about = save_adopted(teacher, adopt.model, adopt.contract, runtime.threads, adopt.sha256, adopt.licence)
        licence = f"{about.name}: {about.licence}"
        if adopt.sha256 is None and adopt.model not in KNOWN:
            print(f"teach: nothing holds {adopt.model} fast; set teach.adopt.sha256: {sha256_file(Path(adopt.model))}")
    else:
        _train(params.train, aligned, teacher, workspace, runtime)
        learnt = aligned.read(["licence"], ds.field("split").isin(["train", "val"]))
        licence = f"trained here, of the faces: {', '.join(sorted(set(learnt['licence'].to_pylist())))}"
    # the model itself is in the key: another file under the same name must not go on with these templates
    key = fingerprint(*(sha256_file(file) for file in sorted(teacher.iterdir())))
    function = partial(_templates, teacher, licence, runtime.device, runtime.threads)
    table = map_shards(faces, templates, function, workspace / f"templates-{key}", runtime, "templates")
    shutil.rmtree(workspace)
    return table


def _with_variants(aligned: Table, variants: Table) -> Table:
    """Both tables' shards as one; what is read of it is looked up by id, so their order does not matter."""
    content = fingerprint(aligned.content_id, variants.content_id)
    return replace(aligned, shards=(*aligned.shards, *variants.shards), content_id=content)


def _templates(teacher: Path, licence: str, device: str, threads: int, shard: pa.Table) -> ShardResult:
    embedder = open_teacher(teacher, device, threads)
    shard = shard.filter(ds.field("split") != "transfer")  # kept for evaluation, which runs the teacher itself
    vectors, lengths = [np.empty((0, embedder.dim), np.float32)], [np.empty(0, np.float32)]
    for batch in shard.select(["image"]).to_batches(max_chunksize=BATCH):
        faces = np.stack([decode(image) for image in batch["image"].to_pylist()])
        unit, norms = embedder.embed(faces, flip=True)
        vectors.append(unit)
        lengths.append(norms)
    flat = pa.array(np.concatenate(vectors).ravel(), pa.float32())
    columns = {
        "face_id": shard["face_id"],
        "template": pa.FixedSizeListArray.from_arrays(flat, embedder.dim),
        "norm": pa.array(np.concatenate(lengths), pa.float32()),
        "licence": pa.array([licence] * len(shard), pa.string()),
    }
    return ShardResult(pa.table(columns), reject_rows("teach", []))


def _train(params: TrainTeacher, aligned: Table, destination: Path, workspace: Path, runtime: Runtime) -> None:
    arrays = workspace / "faces"
    faces, unseen = (load_faces(aligned, None, None, split, arrays, runtime) for split in ("train", "val"))
    torch.set_num_threads(runtime.threads)
    torch.manual_seed(params.seed)
    encoder = build_encoder(params.backbone, params.embedding, params.output_stride)
    steps = steps_per_epoch(len(faces), params.batch)
    task = Task(encoder, faces, steps, params.seed)
    objectives = Objectives({"identity": params.identity.model_dump()}, task)
    recipe = Recipe(degraded=0.0, **params.model_dump(include=set(Recipe.__dataclass_fields__) - {"degraded"}))
    validation = Validation(unseen, runtime.device)
    checkpoint = workspace / "checkpoint.pt"
    history = train(encoder, objectives, faces, recipe, validation, checkpoint, runtime, "teacher")
    spec = ModelSpec(
        architecture=encoder.architecture,
        objectives=("identity",),
        provenance={"data": aligned.content_id, "params": fingerprint(params), "code": code_version()},
        metrics=history[-1],
    )
    save_model(destination, encoder.cpu(), spec)
