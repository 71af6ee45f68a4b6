"""Faces per second that a table is scored at, by each technique of a student's training, beside reading it.

python -m tests.bench.quality_speed --model data/exported/unified/model.onnx
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow.dataset as ds
import torch
import typer
from rich.console import Console
from rich.table import Table as Grid

import stages as stages  # sets the thread policy before torch starts its own
from stages.lib.codec import decode
from stages.lib.deploy.ask import ask
from stages.lib.deploy.session import FaceModel
from stages.lib.models.contract import Technique
from stages.lib.models.embedder import Embedder
from stages.lib.models.student import build_encoder
from stages.lib.models.teacher import open_onnx
from stages.lib.objectives import Batch, Task, View
from stages.lib.objectives.quality import Objective
from stages.lib.runtime import Runtime
from stages.lib.table import Table
from stages.lib.training.data import FaceSet, load_faces
from tests.bench.degrade_speed import machine

ROUNDS = 3
BATCH = 64
TRAIN = ds.field("split") == "train"


def seconds(work: Callable[[], object]) -> float:
    """Of the best round."""
    found = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return min(found)


def _targets(faces: FaceSet, technique: Technique) -> Callable[[], None]:
    """Scores of all faces from the teacher's templates, as training has them, a batch at a time."""
    encoder = build_encoder("compact_tiny", faces.templates.shape[1], quality=technique)
    term = Objective(Task(encoder, faces, steps=1, seed=0), technique)
    generator, labels = torch.Generator().manual_seed(0), torch.from_numpy(faces.labels)

    def score() -> None:
        for rows in torch.arange(len(faces)).split(BATCH):
            own = torch.from_numpy(faces.templates[rows.numpy()])
            batch = Batch(rows, torch.empty(0), labels[rows], own, generator, shown=own)
            term.target(View(own, []), batch)

    return score


def _asked(table: Table, network: Embedder) -> None:
    for _ in ask(table, ["face_id"], TRAIN, [network]):
        pass


def main(
    aligned: Annotated[Path, typer.Option(help="table of aligned faces")] = Path("data/aligned"),
    templates: Annotated[Path, typer.Option(help="table of the teacher's templates of them")] = Path("data/templates"),
    model: Annotated[Path, typer.Option(help="a shipped student that tells quality")] = Path(
        "data/exported/unified/model.onnx"
    ),
    scorer: Annotated[str, typer.Option(help="an .onnx quality network; empty: none")] = "",
    contract: Annotated[str, typer.Option(help="its input")] = "lightqnet",
) -> None:
    """Print a row for each technique."""
    runtime = Runtime.from_environment()
    table, cached = Table.open(aligned), Table.open(templates)
    runtime.scratch.mkdir(parents=True, exist_ok=True)
    faces = load_faces(table, None, cached, "train", runtime.scratch / "quality_speed", runtime)
    asked: dict[str, Embedder] = {f"quality of {model}": FaceModel(model, runtime.threads)}
    asked |= {scorer: open_onnx(scorer, contract, runtime.threads)[1]} if scorer else {}

    def read() -> None:
        for batch in table.scan(["image"], TRAIN):
            np.stack([decode(image) for image in batch["image"].to_pylist()])

    works: dict[str, Callable[[], object]] = {
        "reading: scan and decode": read,
        "norm, from templates": lambda: cached.read(["norm"]),
        "CR-FIQA, from templates": _targets(faces, "teacher_cr_fiqa"),
        "LightQNet's label, from templates": _targets(faces, "teacher_pair"),
        "SDD-FIQA, from templates": _targets(faces, "teacher_sdd_fiqa"),
    }
    for name, network in asked.items():
        works[name] = partial(_asked, table, network)
    grid = Grid(title=f"{len(faces)} faces; {machine('cpu')}, {runtime.threads} threads")
    for heading in ("technique", "faces/s", "times reading"):
        grid.add_column(heading, justify="left" if heading == "technique" else "right")
    taken = {name: seconds(work) for name, work in works.items()}
    loader = taken["reading: scan and decode"]
    for name, value in taken.items():
        grid.add_row(name, f"{len(faces) / value:,.0f}", f"{loader / value:.2f}")
    Console(width=100).print(grid)


if __name__ == "__main__":
    typer.run(main)
