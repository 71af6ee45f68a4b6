"""distill: one student of params, once per seed, from cached templates; no teacher runs in any step."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pandas as pd
import torch

from stages.lib.executor import run_jobs
from stages.lib.fingerprint import code_version, fingerprint
from stages.lib.folders import new_folder
from stages.lib.models.checkpoint import ModelSpec, save_model
from stages.lib.models.student import build_encoder
from stages.lib.runtime import Runtime
from stages.lib.table import Table
from stages.lib.training.data import FaceSet, class_pixels, load_faces
from stages.lib.training.loop import Recipe, train
from stages.lib.training.objectives import Objectives, Sizes
from stages.lib.training.validation import Validation
from stages.params import Distill, Student

HISTORY = "history.csv"


@dataclass(frozen=True)
class Inputs:
    """The tables that a student learns from."""

    aligned: Table
    variants: Table
    templates: Table

    @property
    def content_id(self) -> str:
        """Changes with any of the tables."""
        return fingerprint(self.aligned.content_id, self.variants.content_id, self.templates.content_id)


def run(name: str, student: Student, params: Distill, inputs: Inputs, destination: Path, runtime: Runtime) -> str:
    """Train every seed, side by side on a CPU, or take up where a killed run stopped, then publish all at once.

    The folder holds `seed-<n>/` (weights.safetensors, model.json, history.csv) and the mean of all seeds'
    curves in `history.csv`, one row an epoch.

    Raises:
        ConfigError: the backbone is unknown, or its embedding does not fit the teacher's templates.
    """
    key = fingerprint(student.model_dump_json(), params.model_dump_json(), inputs.content_id, code_version())
    workspace = runtime.scratch / "distill" / name / key
    arrays = _arrays(runtime.scratch / "faces", fingerprint(inputs.content_id, code_version()))
    faces = _load(inputs, "train", student, arrays, runtime)  # unpacked here once, then shared by all seeds
    _load(inputs, "val", student, arrays, runtime)

    processes = _processes(len(params.seeds), runtime)
    threads = max(1, runtime.threads // processes)
    seeds = [
        partial(
            _train, name, student, params, seed, inputs, workspace, arrays, replace(runtime, threads=threads, line=n)
        )
        for n, seed in enumerate(params.seeds)
    ]
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


def _arrays(root: Path, key: str) -> Path:
    """Where unpacked faces are kept for the next student; those of other inputs or code go, they are large."""
    for old in root.glob("*"):
        if old.name != key:
            shutil.rmtree(old, ignore_errors=True)
    return root / key


def _load(inputs: Inputs, split: str, student: Student, arrays: Path, runtime: Runtime) -> FaceSet:
    parsed = split == "train" and student.objectives.segmentation.weight > 0
    return load_faces(inputs.aligned, inputs.variants, inputs.templates, split, arrays, runtime, parsed)


def _processes(seeds: int, runtime: Runtime) -> int:
    """How many seeds learn side by side: networks as small as these gain little from a second thread.

    One more than the threads there are, so that the last of three seeds does not keep one of two cores waiting; no
    more, since each holds its own activations. A GPU is best used by one at a time.
    """
    return min(seeds, runtime.threads + 1) if runtime.device == "cpu" and runtime.threads > 1 else 1


def _write(history: pd.DataFrame, folder: Path) -> None:
    history.to_csv(folder / HISTORY, index=False, float_format="%.6g")


def _train(
    name: str,
    student: Student,
    params: Distill,
    seed: int,
    inputs: Inputs,
    workspace: Path,
    arrays: Path,
    runtime: Runtime,
) -> None:
    """Train one seed, or take up its checkpoint, and leave its folder under `done`."""
    torch.set_num_threads(runtime.threads)
    faces, unseen = (_load(inputs, split, student, arrays, runtime) for split in ("train", "val"))
    torch.manual_seed(seed)
    encoder = build_encoder(student.backbone, student.embedding, student.output_stride)
    pixels = () if faces.parses is None else class_pixels(faces)
    sizes = Sizes(student.embedding, len(faces.subjects), faces.templates.shape[1], encoder.taps, pixels)
    objectives = Objectives(student.objectives.model_dump(), sizes)
    recipe = Recipe(seed=seed, **params.model_dump(exclude={"seeds"}))
    validation = Validation(unseen, runtime.device)
    checkpoint = workspace / f"seed-{seed}.pt"
    what = f"{name} seed {seed}"
    history = train(encoder, objectives, faces, recipe, validation, checkpoint, runtime, what)
    spec = ModelSpec(
        architecture=encoder.architecture,
        provenance={
            "data": inputs.content_id,
            "params": fingerprint(student.model_dump_json(), params.model_dump_json()),
            "code": code_version(),
        },
        metrics={k: v for k, v in history[-1].items() if k.startswith("val_")},
    )
    folder = workspace / "done" / f"seed-{seed}"
    save_model(folder, encoder.cpu(), spec)
    _write(pd.DataFrame(history), folder)
