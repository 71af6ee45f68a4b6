"""Faces per second that a table is scored at, by each technique, beside reading it.

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
import typer
from rich.console import Console
from rich.table import Table as Grid

import stages as stages  # sets the thread policy before torch starts its own
from stages.lib.codec import decode
from stages.lib.deploy.ask import ask
from stages.lib.deploy.session import FaceModel
from stages.lib.models.embedder import Embedder
from stages.lib.models.teacher import open_onnx
from stages.lib.quality.techniques import cr_fiqa, sdd_fiqa
from stages.lib.runtime import Runtime
from stages.lib.table import Table
from stages.lib.training.data import load_faces
from tests.bench.degrade_speed import machine

ROUNDS = 3
TRAIN = ds.field("split") == "train"


def seconds(work: Callable[[], object]) -> float:
    """Of the best round."""
    found = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return min(found)


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
    """Print a row for each technique; centres of CR-FIQA are random, which changes no time."""
    runtime = Runtime.from_environment()
    table, cached = Table.open(aligned), Table.open(templates)
    runtime.scratch.mkdir(parents=True, exist_ok=True)
    faces = load_faces(table, None, cached, "train", runtime.scratch / "quality_speed", runtime)
    centres = np.random.default_rng(0).standard_normal((len(faces.subjects), faces.templates.shape[1]), np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    asked: dict[str, Embedder] = {f"quality of {model}": FaceModel(model, runtime.threads)}
    asked |= {scorer: open_onnx(scorer, contract, runtime.threads)[1]} if scorer else {}

    def read() -> None:
        for batch in table.scan(["image"], TRAIN):
            np.stack([decode(image) for image in batch["image"].to_pylist()])

    works: dict[str, Callable[[], object]] = {
        "reading: scan and decode": read,
        "norm, from templates": lambda: cached.read(["norm"]),
        "CR-FIQA, from templates": lambda: cr_fiqa(faces.templates, faces.labels, centres),
        "SDD-FIQA, from templates": lambda: sdd_fiqa(faces.templates, faces.labels, faces.ids, 0),
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
