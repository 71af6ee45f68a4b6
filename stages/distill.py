"""distill: one student of params, once per seed, from cached templates; no teacher runs in any step."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import torch

from stages.lib.executor import run_jobs
from stages.lib.fingerprint import code_version, fingerprint
from stages.lib.folders import new_folder, only_folder
from stages.lib.models.checkpoint import ModelSpec, save_model
from stages.lib.models.student import build_encoder
from stages.lib.objectives import Objectives, Task, active, needs
from stages.lib.runtime import Runtime
from stages.lib.table import Table
from stages.lib.training.batches import Recipe
from stages.lib.training.data import FaceSet, load_faces, steps_per_epoch
from stages.lib.training.loop import train
from stages.lib.training.validation import Validation
from stages.params import Distill, Student

HISTORY = "history.csv"


@dataclass(frozen=True)
class Inputs:
    """What a student learns from.

    Attributes:
        aligned: clean faces.
        variants: their degradations.
        templates: the teacher's.
        operators: degradation -> its probability, where the student is to see them made anew.
    """

    aligned: Table
    variants: Table
    templates: Table
    operators: Mapping[str, float]

    @property
    def content_id(self) -> str:
        """Changes with any of the tables."""
        return fingerprint(self.aligned.content_id, self.variants.content_id, self.templates.content_id)


@dataclass(frozen=True)
class Job:
    """What every seed of a student shares."""

    name: str
    student: Student
    params: Distill
    inputs: Inputs
    workspace: Path
    arrays: Path

    def learnt(self, runtime: Runtime) -> FaceSet:
        """Faces to train on; without their variants where they are degraded anew at every step."""
        given, fresh = self.inputs, self.params.fresh
        wanted = needs(self.student.objectives.model_dump())
        variants, arrays = (None, self.arrays / "clean") if fresh else (given.variants, self.arrays)
        return load_faces(given.aligned, variants, given.templates, "train", arrays, runtime, wanted)

    def unseen(self, runtime: Runtime) -> FaceSet:
        """Faces to validate on, with their variants."""
        given = self.inputs
        return load_faces(given.aligned, given.variants, given.templates, "val", self.arrays, runtime)


def run(name: str, student: Student, params: Distill, inputs: Inputs, destination: Path, runtime: Runtime) -> str:
    """Train every seed, side by side on a CPU, or take up where a killed run stopped, then publish all at once.

    The folder holds `seed-<n>/` (weights.safetensors, model.json, history.csv, and what objectives leave, such as a
    selection) and the mean of all seeds' curves in `history.csv`, one row an epoch.

    Raises:
        ConfigError: the backbone is unknown, or its embedding does not fit the teacher's templates.
    """
    inputs = inputs if params.fresh else replace(inputs, operators={})
    settings = (student.model_dump_json(), params.model_dump_json(), sorted(inputs.operators.items()))
    key = fingerprint(*settings, inputs.content_id, code_version())
    workspace = runtime.scratch / "distill" / name / key
    arrays = only_folder(runtime.scratch / "faces", fingerprint(inputs.content_id, code_version()))
    job = Job(name, student, params, inputs, workspace, arrays)
    faces, _ = job.learnt(runtime), job.unseen(runtime)  # unpacked here once, then shared by all seeds
    processes = _processes(len(params.seeds), runtime)
    narrow = replace(runtime, threads=max(1, runtime.threads // processes))
    seeds = [partial(_train, job, seed, replace(narrow, line=n)) for n, seed in enumerate(params.seeds)]
    for _ in run_jobs(seeds, processes):
        pass
    done = workspace / "done"
    histories = pd.concat([pd.read_csv(done / f"seed-{seed}" / HISTORY) for seed in params.seeds])
    curves = histories.groupby("epoch", as_index=False).mean()
    _write(curves, done)

    with new_folder(destination) as building:  # a copy: scratch may lie on another file system
        shutil.copytree(done, building, dirs_exist_ok=True)
    shutil.rmtree(workspace)
    eer = curves["val_eer"].iloc[-1]
    return f"{name}: {len(faces)} faces of {len(faces.subjects)} people, {len(params.seeds)} seeds, val EER {eer:.4f}"


def _processes(seeds: int, runtime: Runtime) -> int:
    """How many seeds learn side by side: networks as small as these gain little from a second thread.

    One more than the threads there are, so that the last of three seeds does not keep one of two cores waiting; no
    more, since each holds its own activations. A GPU is best used by one at a time.
    """
    return min(seeds, runtime.threads + 1) if runtime.device == "cpu" and runtime.threads > 1 else 1


def _write(history: pd.DataFrame, folder: Path) -> None:
    history.to_csv(folder / HISTORY, index=False, float_format="%.6g")


def _train(job: Job, seed: int, runtime: Runtime) -> None:
    """Train one seed, or take up its checkpoint, and leave its folder under `done`."""
    student, params = job.student, job.params
    torch.set_num_threads(runtime.threads)
    faces, validation = job.learnt(runtime), Validation(job.unseen(runtime), runtime.device)
    torch.manual_seed(seed)
    settings = student.objectives.model_dump()
    occlusion = "occlusion" in active(settings)
    encoder = build_encoder(student.backbone, student.embedding, student.output_stride, occlusion)
    steps = steps_per_epoch(len(faces), params.batch)
    torch.manual_seed(seed)  # again: a head that only the treatment has must not move the control's class centres
    objectives = Objectives(settings, Task(student.embedding, encoder.taps, occlusion, faces, steps, seed))
    recipe = Recipe(seed=seed, operators=job.inputs.operators, **params.model_dump(exclude={"seeds", "fresh"}))
    checkpoint = job.workspace / f"seed-{seed}.pt"
    history = train(encoder, objectives, faces, recipe, validation, checkpoint, runtime, f"{job.name} seed {seed}")
    provenance = {
        "data": job.inputs.content_id,
        "params": fingerprint(student.model_dump_json(), params.model_dump_json()),
        "code": code_version(),
    }
    metrics = {k: v for k, v in history[-1].items() if k.startswith("val_")}
    folder = job.workspace / "done" / f"seed-{seed}"
    spec = ModelSpec(architecture=encoder.architecture, provenance=provenance, metrics=metrics)
    save_model(folder, encoder.cpu(), spec)
    for file, rows in objectives.artefacts():
        pq.write_table(rows, folder / file)
    _write(pd.DataFrame(history), folder)
