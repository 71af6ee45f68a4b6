"""distill: one student of params, once per seed, from cached templates; no teacher runs in any step."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from stages.lib.fingerprint import code_version, fingerprint
from stages.lib.folders import new_folder
from stages.lib.models.checkpoint import ModelSpec, save_model
from stages.lib.models.student import FaceEncoder, build_encoder
from stages.lib.runtime import Runtime
from stages.lib.table import Table
from stages.lib.training.data import FaceSet, load_faces
from stages.lib.training.loop import Recipe, train
from stages.lib.training.objectives import Objectives, Sizes
from stages.lib.training.validation import Validation
from stages.params import Distill, Student


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
    """Train every seed, or take up where a killed run stopped, then publish all of them at once.

    The folder holds `seed-<n>/` (weights.safetensors, model.json, history.csv) and the mean of all seeds'
    curves in `history.csv`, one row an epoch.

    Raises:
        ConfigError: the backbone is unknown, or its embedding does not fit the teacher's templates.
    """
    key = fingerprint(student.model_dump_json(), params.model_dump_json(), inputs.content_id, code_version())
    workspace = runtime.scratch / "distill" / name / key
    arrays = _arrays(runtime.scratch / "faces", fingerprint(inputs.content_id, code_version()))
    tables = (inputs.aligned, inputs.variants, inputs.templates)
    faces = load_faces(*tables, "train", arrays, runtime)
    validation = Validation(load_faces(*tables, "val", arrays, runtime), runtime.device)

    rows: list[dict[str, float]] = []
    for seed in params.seeds:
        encoder, history = _train(name, student, params, faces, validation, seed, workspace, runtime)
        rows += history
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
    curves = pd.DataFrame(rows).groupby("epoch", as_index=False).mean()
    _write(curves, workspace / "done")

    with new_folder(destination) as building:  # a copy: scratch may lie on another file system
        shutil.copytree(workspace / "done", building, dirs_exist_ok=True)
    shutil.rmtree(workspace)
    eer = curves["val_eer"].iloc[-1]
    return f"{name}: {len(faces)} faces of {len(faces.subjects)} people, {len(params.seeds)} seeds, val EER {eer:.4f}"


def _arrays(root: Path, key: str) -> Path:
    """Where unpacked faces are kept for the next student; those of other inputs or code go, they are large."""
    for old in root.glob("*"):
        if old.name != key:
            shutil.rmtree(old, ignore_errors=True)
    return root / key


def _write(history: pd.DataFrame, folder: Path) -> None:
    history.to_csv(folder / "history.csv", index=False, float_format="%.6g")


def _train(
    name: str,
    student: Student,
    params: Distill,
    faces: FaceSet,
    validation: Validation,
    seed: int,
    workspace: Path,
    runtime: Runtime,
) -> tuple[FaceEncoder, list[dict[str, float]]]:
    torch.set_num_threads(runtime.threads)
    torch.manual_seed(seed)
    encoder = build_encoder(student.backbone, student.embedding, student.output_stride)
    sizes = Sizes(student.embedding, len(faces.subjects), faces.templates.shape[1])
    objectives = Objectives(student.objectives.model_dump(), sizes)
    recipe = Recipe(seed=seed, **params.model_dump(exclude={"seeds"}))
    checkpoint = workspace / f"seed-{seed}.pt"
    what = f"{name} seed {seed}"
    return encoder, train(encoder, objectives, faces, recipe, validation, checkpoint, runtime, what)
