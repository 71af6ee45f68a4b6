"""Faces per second of a distillation step and of its parts, beside the same step with the teacher inside.

    uv run python -m tests.bench.step_speed --aligned data/aligned --variants data/variants

The step is the one of `stages.lib.training.loop`, its batches come from the same thread. The teacher inside embeds the
clean faces of each batch, in place of the cached templates. Cached templates are random unit vectors here: what they
say does not change what reading them costs. Everything is measured in turn, so that a busy machine slows all alike.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import cv2
import numpy as np
import timm
import torch
import typer
from numpy.typing import NDArray
from torch import Tensor

import stages as stages  # sets the thread policy before torch starts its own
from stages.lib.degrade import training_variant
from stages.lib.errors import ConfigError
from stages.lib.models.student import build_encoder, parameters_count
from stages.lib.models.teacher import open_onnx
from stages.lib.objectives import Batch, Objectives, Task, View, heads, needs
from stages.lib.runtime import Runtime
from stages.lib.table import Table
from stages.lib.training.batches import Recipe, batch_of, batches
from stages.lib.training.data import FaceSet, load_faces
from stages.params import Student, load
from tests.bench.degrade_speed import machine

STAND_IN = "resnet50"
CACHED, FRESH = "cached variants", "degraded anew"


@dataclass(frozen=True)
class Teacher:
    """What embeds clean faces inside a step.

    Attributes:
        name: with what is to be known of it.
        dim: length of its templates.
        embed: faces (B, 112, 112, 3) uint8 RGB, and whether the mirror image is averaged in, to (B, dim) on the device.
    """

    name: str
    dim: int
    embed: Callable[[NDArray[np.uint8], bool], Tensor]


class Learner:
    """A student with its objectives and its optimizer: the step of the training loop in three parts."""

    def __init__(self, student: Student, faces: FaceSet, recipe: Recipe, device: str) -> None:
        settings = student.objectives.active()
        says = heads(settings)
        torch.manual_seed(0)
        self.encoder = build_encoder(**student.network(), **says)
        self.encoder.to(device).to(memory_format=torch.channels_last).train()
        task = Task(self.encoder, faces, steps=1, seed=0)
        self.objectives = Objectives(settings, task).to(device)
        weights = [*self.encoder.parameters(), *self.objectives.parameters()]
        self.optimizer = torch.optim.AdamW(weights, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)

    def forward(self, batch: Batch) -> View:
        with torch.autocast(batch.images.device.type, torch.bfloat16, enabled=batch.images.is_cuda):
            raw, features = self.encoder.with_features(batch.images)
            said = self.encoder.heads(raw, features)
        return View(raw.float(), features, said)

    def losses(self, view: View, batch: Batch) -> Tensor:
        # late in training, when every term has begun
        losses: dict[str, Tensor] = self.objectives(view, replace(batch, done=0.999))
        return losses["total"]

    def learn(self, total: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(total)
        torch.nn.utils.clip_grad_norm_(self.encoder.parameters(), 5.0, error_if_nonfinite=True)
        self.optimizer.step()
        float(total.detach())  # the loop reads the losses of every step

    def step(self, batch: Batch) -> None:
        self.learn(self.losses(self.forward(batch), batch))


@dataclass(frozen=True)
class Bench:
    """All that takes part: faces with their cached variants, the recipes of both kinds of step, student and teacher."""

    faces: FaceSet
    cached: Recipe
    fresh: Recipe
    learner: Learner
    teacher: Teacher
    device: str

    @property
    def clean(self) -> FaceSet:
        """The faces without their variants, as training sees them that degrades anew."""
        return replace(self.faces, variants=np.empty((len(self.faces), 0), np.int64))

    def coming(self, kind: str) -> Iterator[Batch]:
        faces, recipe = (self.faces, self.cached) if kind == CACHED else (self.clean, self.fresh)
        return batches(faces, recipe, 0, self.device)

    def taught(self, batch: Batch, mirror: bool) -> Batch:
        """The batch with templates made now; of the faces as they are shown too where an objective asks for them."""
        templates = self.teacher.embed(self.faces.images[batch.faces.cpu().numpy()], mirror)
        if batch.shown is None:
            return replace(batch, templates=templates)
        pixels = (batch.images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        return replace(batch, templates=templates, shown=self.teacher.embed(pixels, mirror))


class Clock:
    """Seconds by name, each with the work on the GPU that it started."""

    def __init__(self, device: str) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.device = device

    @contextmanager
    def timing(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        if self.device != "cpu":
            torch.cuda.synchronize()
        self.seconds[name] += time.perf_counter() - started


def parts(bench: Bench, steps: int) -> dict[str, float]:
    """Seconds of each part of so many steps, one part after the other."""
    clock, learner, faces = Clock(bench.device), bench.learner, bench.faces
    for step in range(steps):
        with clock.timing("read the batch"):
            batch = batch_of(faces, bench.cached, bench.device, step)
        rows = batch.faces.cpu().numpy()
        clean = faces.images[rows]
        images = torch.from_numpy(clean).permute(0, 3, 1, 2)
        given = images.to(bench.device), [faces.ids[row] for row in rows], faces.landmarks[rows]
        with clock.timing("degrade all of it"):
            training_variant(*given, bench.fresh.operators, 0, step, bench.device)
        with clock.timing("student, forward"):
            view = learner.forward(batch)
        with clock.timing("losses"):
            total = learner.losses(view, batch)
        with clock.timing("backward and optimizer"):
            learner.learn(total)
        with clock.timing("teacher, image"):
            bench.teacher.embed(clean, False)
        with clock.timing("teacher, image and mirror image"):
            bench.teacher.embed(clean, True)
    return dict(clock.seconds)


def whole(bench: Bench, kind: str, mirror: bool | None, steps: int) -> float:
    """Seconds of so many whole steps; `mirror` none: from cached templates."""

    def step() -> None:
        batch = next(coming)
        bench.learner.step(batch if mirror is None else bench.taught(batch, mirror))

    clock, coming = Clock(bench.device), bench.coming(kind)
    step()  # not counted: nothing was made ahead of it
    with clock.timing(kind):
        for _ in range(steps):
            step()
    return clock.seconds[kind]


WHOLE = {
    f"whole step, {kind}{teacher}": (kind, mirror)
    for kind in (CACHED, FRESH)
    for teacher, mirror in (("", None), (", teacher inside", False), (", teacher inside, mirrored", True))
}


def measured(bench: Bench, steps: int, rounds: int) -> dict[str, float]:
    """Seconds of so many steps by name, of the best round."""
    found: dict[str, list[float]] = defaultdict(list)
    for number in range(rounds + 1):
        seconds = parts(bench, steps)
        seconds |= {name: whole(bench, kind, mirror, steps) for name, (kind, mirror) in WHOLE.items()}
        for name, value in seconds.items() if number else ():  # the first round warms up
            found[name].append(value)
    return {name: min(values) for name, values in found.items()}


def table(seconds: Mapping[str, float], steps: int, batch: int) -> str:
    """A part a row; below, how many times as fast a step is without its teacher."""
    lines = ["| part | ms a batch | faces/s | share of the step from cached variants |", "|---|---:|---:|---:|"]
    step = seconds[f"whole step, {CACHED}"]
    for name, value in seconds.items():
        lines.append(f"| {name} | {1000 * value / steps:.1f} | {batch * steps / value:,.0f} | {value / step:.2f} |")
    for kind in (CACHED, FRESH):
        name = f"whole step, {kind}"
        image, mirror = (seconds[f"{name}, teacher inside{how}"] / seconds[name] for how in ("", ", mirrored"))
        lines.append(
            f"\n{kind}: {image:.1f} times as fast as with the teacher inside, {mirror:.1f} with its mirror image"
        )
    return "\n".join(lines)


def onnx_teacher(model: str, contract: str, threads: int) -> Teacher:
    _, opened, _ = open_onnx(model, contract, threads)
    name = f"{Path(model).stem} through onnxruntime, {opened.batch} faces a run"
    return Teacher(name, opened.dim, lambda faces, mirror: torch.from_numpy(opened.embed(faces, mirror)[0]))


def stand_in(embedding: int, device: str) -> Teacher:
    """A timm network of the size of a teacher, untrained; onnxruntime is installed for the CPU only."""
    network = timm.create_model(STAND_IN, num_classes=embedding).eval().to(device).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def embed(faces: NDArray[np.uint8], mirror: bool) -> Tensor:
        images = torch.from_numpy(faces).to(device).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)
        with torch.autocast("cuda", torch.bfloat16):
            raw = network(images) + network(images.flip(3)) if mirror else network(images)
        return torch.nn.functional.normalize(raw.float())

    name = f"timm {STAND_IN}, untrained, bfloat16: a stand-in that does a sixth of an IResNet-50's work"
    return Teacher(name, embedding, embed)


def random_templates(faces: FaceSet, length: int, shown: bool) -> FaceSet:
    """Templates of the clean faces and, where asked for, of all that is shown; unit vectors of no meaning."""
    values = np.random.default_rng(0).standard_normal((len(faces.images), length), np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return replace(faces, templates=values[: len(faces)], shown=values if shown else None)


def training_faces(tables: tuple[Table, Table], student: Student, place: Path, runtime: Runtime) -> FaceSet:
    """Clean faces and their variants, unpacked, with templates of the student's length."""
    wanted = needs(student.objectives.active())
    faces = load_faces(*tables, None, "train", place, runtime, wanted - {"shown"})
    return random_templates(faces, student.embedding, "shown" in wanted)


def main(
    aligned: Annotated[Path, typer.Option(help="table of aligned faces")] = Path("data/aligned"),
    variants: Annotated[Path, typer.Option(help="table of their degradations")] = Path("data/variants"),
    student: Annotated[str, typer.Option(help="of params, one that learns from the teacher; the one that ships")] = "",
    model: Annotated[str, typer.Option(help="teacher on a CPU: a known name, or the path of an .onnx")] = "sface",
    contract: Annotated[str, typer.Option(help="the input that the teacher was made for")] = "raw_rgb",
    device: Annotated[str, typer.Option(help=f"cpu, or cuda with timm's {STAND_IN} as the teacher")] = "cpu",
    threads: Annotated[int, typer.Option(help="of student and teacher alike; 0: one a core")] = 0,
    batch: Annotated[int, typer.Option(help="faces; 0: as in params")] = 0,
    steps: Annotated[int, typer.Option(help="of a measurement")] = 10,
    rounds: Annotated[int, typer.Option(help="the best counts")] = 3,
) -> None:
    """Print faces per second of each part, of whole steps, and of the same steps with the teacher inside."""
    here = Runtime.from_environment()
    runtime = replace(here, wanted_device=device, threads=threads or here.threads)
    torch.set_num_threads(runtime.threads)
    cv2.setNumThreads(runtime.threads)
    runtime.scratch.mkdir(parents=True, exist_ok=True)
    try:
        params, tables = load(), (Table.open(aligned), Table.open(variants))
        name = student or params.reference.student
        if name not in params.students:
            raise ConfigError(f"params have no student {name!r}: name one with --student")
        chosen = params.students[name]
        on_gpu = runtime.device != "cpu"
        teacher = stand_in(chosen.embedding, device) if on_gpu else onnx_teacher(model, contract, runtime.threads)
        chosen = chosen.model_copy(update={"embedding": teacher.dim})
        given = params.distill.model_dump(include={"lr", "weight_decay", "warmup", "degraded", "flip"})
        cached = Recipe(epochs=steps + 2, batch=batch or params.distill.batch, seed=0, **given)
        fresh = replace(cached, operators=params.synthesize.probabilities)
        with TemporaryDirectory(dir=runtime.scratch) as place:
            faces = training_faces(tables, chosen, Path(place), runtime)
            bench = Bench(faces, cached, fresh, Learner(chosen, faces, cached, device), teacher, device)
            report(bench, name, chosen, runtime.threads, steps, rounds)
    except ConfigError as error:
        raise SystemExit(str(error)) from error


def report(bench: Bench, name: str, student: Student, threads: int, steps: int, rounds: int) -> None:
    recipe, weights = bench.cached, parameters_count(bench.learner.encoder) / 1e6
    size = min(recipe.batch, len(bench.faces))
    terms = ", ".join(student.objectives.active())
    print(
        f"{machine(bench.device)}, {threads} threads; batches of {size} of {len(bench.faces)} faces, best of {rounds}"
    )
    print(f"student {name!r}: {student.backbone}, {weights:.2f} M weights, embedding {student.embedding}; {terms}")
    print(f"teacher: {bench.teacher.name}")
    print(f"a share of {recipe.degraded} of each batch is shown degraded\n")
    print(table(measured(bench, steps, rounds), steps, size))


if __name__ == "__main__":
    typer.run(main)
