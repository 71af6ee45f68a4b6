"""Faces per CPU-second, size and weights of shipped students and of their peers, and what their heads cost, one
thread, in one run.

python -m tests.bench.serve_speed --peer .scratch/models/edgeface_xxs_q_dequant.onnx
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import numpy as np
import onnx
import onnxruntime
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table as Grid

import stages as stages  # sets the thread policy before torch starts its own
from stages.lib.codec import decode
from stages.lib.deploy.session import HEADS, FaceModel
from stages.lib.models.adopted import AdoptedModel
from stages.lib.models.contract import PRESETS
from stages.lib.models.embedder import Embedder
from stages.lib.models.onnx_session import open_session
from stages.lib.report.candidates import stored_weights
from stages.lib.table import TEST, Table
from tests.bench.degrade_speed import machine

ROUNDS, SECONDS = 3, 2.0
TURNS, CALLS = 30, 10


def faces_of(aligned: Path, count: int) -> NDArray[np.uint8]:
    rows = Table.open(aligned).scan(["image"], TEST, count)
    return np.stack([decode(image) for image in next(rows)["image"].to_pylist()])


def rate(model: Embedder, faces: NDArray[np.uint8]) -> float:
    """Faces per CPU-second of the best round: CPU time, so that a busy neighbour does not count."""
    model.embed(faces)
    best = 0.0
    for _ in range(ROUNDS):
        started, calls = time.process_time(), 0
        while time.process_time() - started < SECONDS:
            model.embed(faces)
            calls += 1
        best = max(best, calls * len(faces) / (time.process_time() - started))
    return best


def cost_of(head: str, file: Path, faces: NDArray[np.uint8]) -> float:
    """CPU time of a pass with an output over that without it, less 1; rounds of the two take turns."""
    whole = onnx.load(file)
    outputs = [output.name for output in whole.graph.output]
    rest = onnx.utils.Extractor(whole).extract_model(["faces"], [name for name in outputs if name != head])
    sessions = [open_session(model.SerializeToString(), 1, str(file)) for model in (whole, rest)]
    best = [float("inf")] * 2
    for _ in range(TURNS):
        for place, session in enumerate(sessions):
            started = time.process_time()
            for _ in range(CALLS):
                session.run(None, {"faces": faces})
            best[place] = min(best[place], time.process_time() - started)
    return best[0] / best[1] - 1.0


def main(
    exported: Annotated[Path, typer.Option(help="folder of shipped students")] = Path("data/exported"),
    aligned: Annotated[Path, typer.Option(help="table of aligned faces")] = Path("data/aligned"),
    peer: Annotated[list[Path] | None, typer.Option(help="an .onnx file; may be repeated")] = None,
    contract: Annotated[str, typer.Option(help="input of the peers")] = "symmetric_rgb",
) -> None:
    """Print a row for each file."""
    faces = faces_of(aligned, 64)
    files = sorted(exported.glob("*/model*.onnx"))
    models: dict[Path, Embedder] = {file: FaceModel(file) for file in files}
    models |= {file: AdoptedModel(file, PRESETS[contract]) for file in peer or []}
    grid = Grid(title=f"one thread of {machine('cpu')}, onnxruntime {onnxruntime.__version__}")
    for heading in ("model", "MB", "weights", "faces/s, batch 1", "faces/s, batch 64"):
        grid.add_column(heading, justify="left" if heading == "model" else "right")
    for file, model in models.items():
        name = f"{file.parent.name}/{file.name}" if file in files else file.name
        rates = (rate(model, faces[:1]), rate(model, faces))
        size, weights = file.stat().st_size / 2**20, stored_weights(file) / 1e6
        grid.add_row(name, f"{size:.2f}", f"{weights:.2f} M", *(f"{value:,.0f}" for value in rates))
    Console(width=100).print(grid)
    for file in files:
        for head in (name for name in HEADS if name in FaceModel(file).contract.outputs):
            costs = ", ".join(f"{100 * cost_of(head, file, faces[:n]):+.1f} % at batch {n}" for n in (1, 64))
            print(f"{file.parent.name}/{file.name}: {head} costs {costs}")


if __name__ == "__main__":
    typer.run(main)
