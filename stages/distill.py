"""distill: one student of params, once per seed, from cached templates; no teacher runs in any step."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import torch

from stages.lib.executor import run_jobs
from stages.lib.fingerprint import code_version, fingerprint
from stages.lib.folders import new_folder, only_folder
from stages.lib.models.checkpoint import ModelSpec, save_model
from stages.lib.models.student import build_encoder
from stages.lib.objectives import Objectives, Task, heads, needs
from stages.lib.runtime import Runtime
from stages.lib.training.batches import Recipe
from stages.lib.training.data import steps_per_epoch
from stages.lib.training.loop import train
from stages.lib.training.people import Inputs, People
from stages.lib.training.validation import Validation
from stages.params import Distill, Student

HISTORY = "history.csv"


@dataclass(frozen=True)
class Job:
    """What every seed of a student shares."""

    name: str
    student: Student
    params: Distill
    inputs: Inputs
    workspace: Path
    arrays: Path

    def people(self, runtime: Runtime) -> People:
        """Whom the student learns from, and who is left to look at it with."""
        return self.inputs.unpack(needs(self.objectives), self.params.fresh, self.arrays, runtime)

    @property
    def objectives(self) -> dict[str, Any]:
        """Settings of the terms, by name."""
        return self.student.objectives.active()


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
    faces = job.people(runtime).learnt  # unpacked here once, then shared by all seeds
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
    people = job.people(runtime)
    torch.manual_seed(seed)
    encoder = build_encoder(**student.network(), **heads(job.objectives))
    steps = steps_per_epoch(len(people.learnt), params.batch)
    torch.manual_seed(seed)  # again: a head that only the treatment has must not move the control's class centres
    task = Task(encoder, people.learnt, steps, seed, people.unseen)
    objectives = Objectives(job.objectives, task)
    recipe = Recipe(seed=seed, operators=job.inputs.operators, **params.model_dump(exclude={"seeds", "fresh"}))
    checkpoint = job.workspace / f"seed-{seed}.pt"
    validate = Validation(people.val, runtime.device)
    what = f"{job.name} seed {seed}"
    history = train(encoder, objectives, people.learnt, recipe, validate, checkpoint, runtime, what)
    provenance = {
        "data": job.inputs.content_id,
        "params": fingerprint(student.model_dump_json(), params.model_dump_json()),
        "code": code_version(),
    }
    metrics = {k: v for k, v in history[-1].items() if k.startswith(("val_", "miou_"))}
    folder = job.workspace / "done" / f"seed-{seed}"
    spec = ModelSpec(
        architecture=encoder.architecture,
        objectives=tuple(job.objectives),
        licence=job.inputs.licence if "templates" in needs(job.objectives) else "",
        provenance=provenance,
        metrics=metrics,
    )
    save_model(folder, encoder.cpu(), spec)
    for file, rows in objectives.artefacts():
        pq.write_table(rows, folder / file)
    _write(pd.DataFrame(history), folder)
