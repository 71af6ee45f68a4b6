"""A run that was killed ends where an uninterrupted one does, to the bit; and training trains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from stages.lib.classes import UNKNOWN
from stages.lib.models.student import build_encoder
from stages.lib.objectives import Objectives, Task
from stages.lib.runtime import Runtime
from stages.lib.training import loop
from stages.lib.training.batches import Recipe, batch_of
from stages.lib.training.data import FaceSet, steps_per_epoch
from stages.lib.training.loop import train
from stages.lib.training.validation import Validation

Make = Callable[..., FaceSet]
DIM = 16
RECIPE = Recipe(epochs=3, batch=4, lr=3e-3, weight_decay=0.05, warmup=0.2, degraded=0.5, flip=0.5, seed=7)
IDENTITY = {"weight": 1.0, "head": "elastic_arc", "scale": 16.0, "margin": 0.2, "sigma": 0.05}
BOTH = {"identity": IDENTITY, "template": {"weight": 5.0}}

pytestmark = pytest.mark.usefixtures("one_thread")


class Killed(BaseException):
    """The process died here."""


class Run:
    """One process: a fresh model and fresh objectives over the same faces and scratch."""

    def __init__(
        self, faces: FaceSet, checkpoint: Path, runtime: Runtime, settings: dict | None = None, dropout: float = 0.0
    ) -> None:
        torch.manual_seed(3)
        self.encoder = build_encoder("test_efficientnet", DIM, 32, dropout=dropout)
        task = Task(self.encoder, faces, steps_per_epoch(len(faces), RECIPE.batch), RECIPE.seed)
        self.objectives = Objectives(settings or BOTH, task)
        self.faces, self.checkpoint, self.runtime = faces, checkpoint, runtime

    def train(self, recipe: Recipe, validate: loop.Validate | None = None) -> list[dict[str, float]]:
        check = validate or Validation(self.faces, "cpu")
        return train(self.encoder, self.objectives, self.faces, recipe, check, self.checkpoint, self.runtime, "test")

    def weights(self) -> dict[str, Tensor]:
        return {**self.encoder.state_dict(), **self.objectives.state_dict()}


def assert_equal(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    assert [name for name in left if not torch.equal(left[name], right[name])] == []


def test_a_killed_run_ends_as_an_uninterrupted_one(
    make_faces: Make, tmp_path: Path, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = partial(Run, make_faces(), runtime=runtime, dropout=0.3)
    whole = run(tmp_path / "whole.pt")
    history = whole.train(RECIPE)
    assert [row["epoch"] for row in history] == [1, 2, 3]

    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)  # after every step
    measured = Validation(whole.faces, "cpu")
    visits = iter(range(99))

    def die_in_the_second_epoch(encoder: nn.Module) -> dict[str, float]:
        if next(visits) == 1:
            raise Killed
        return measured(encoder)

    with pytest.raises(Killed):
        run(tmp_path / "cut.pt").train(RECIPE, die_in_the_second_epoch)
    resumed = run(tmp_path / "cut.pt")
    assert resumed.train(RECIPE) == history
    assert_equal(resumed.weights(), whole.weights())

    finished = run(tmp_path / "cut.pt")  # killed after the last step, before the model was saved
    assert finished.train(RECIPE, pytest.fail) == history
    assert_equal(finished.weights(), whole.weights())


def test_a_parse_is_learned_and_mirrored_with_its_face(make_faces: Make, tmp_path: Path, runtime: Runtime) -> None:
    faces = make_faces(parsed=True)
    batch = batch_of(faces, replace(RECIPE, degraded=0.0, flip=1.0), "cpu", 0)
    assert batch.parses is not None
    known = batch.parses != UNKNOWN
    assert 0 < known.float().mean() < 1
    assert torch.equal((batch.images[:, 0] > 0.5)[known], batch.parses.bool()[known])

    settings = {"identity": IDENTITY, "segmentation": {"weight": 1.0, "stride": 4, "balance": 1.0}}
    run = Run(faces, tmp_path / "parsed.pt", runtime, settings)
    history = run.train(replace(RECIPE, epochs=60, flip=0.0), lambda _: {})
    assert history[-1]["loss_segmentation"] < 0.15 * history[0]["loss_segmentation"]


def test_equal_seeds_give_equal_weights_and_others_do_not(make_faces: Make, tmp_path: Path, runtime: Runtime) -> None:
    faces, recipe = make_faces(), replace(RECIPE, epochs=1)
    runs = [Run(faces, tmp_path / f"{n}.pt", runtime) for n in range(3)]
    for run, seed in zip(runs, (7, 7, 8), strict=True):
        run.train(replace(recipe, seed=seed))
    assert_equal(runs[0].weights(), runs[1].weights())
    assert not torch.equal(runs[0].weights()["embed.0.weight"], runs[2].weights()["embed.0.weight"])


def test_a_few_faces_are_learnt_by_heart(make_faces: Make, tmp_path: Path, runtime: Runtime) -> None:
    run = Run(make_faces(count=8, variants=0), tmp_path / "c.pt", runtime, {"template": {"weight": 1.0}})
    recipe = replace(RECIPE, epochs=60, batch=8, lr=1e-2, weight_decay=0.0, degraded=0.0, flip=0.0)
    history = run.train(recipe, lambda encoder: {})
    assert history[0]["loss_template"] == pytest.approx(1.0, abs=0.3)  # random directions
    assert history[-1]["loss_template"] < 0.1


def test_every_step_trains_and_validation_does_not(make_faces: Make, tmp_path: Path, runtime: Runtime) -> None:
    run = Run(make_faces(), tmp_path / "c.pt", runtime)
    statistics = run.encoder.embed[1].running_mean
    seen: list[Tensor] = []

    def validate(encoder: nn.Module) -> dict[str, float]:
        assert not any(module.training for module in encoder.modules())
        before = statistics.clone()
        Validation(run.faces, "cpu")(encoder)
        assert torch.equal(before, statistics)
        seen.append(before)
        return {}

    history = run.train(RECIPE, validate)
    assert len(seen) == 3
    assert not torch.equal(seen[0], seen[1])  # the second epoch was back in training mode
    assert not torch.equal(seen[1], seen[2])
    assert not run.encoder.training
    assert history[-1]["lr"] < history[0]["lr"] <= RECIPE.lr
    assert {"loss_identity", "loss_template", "loss_total"} <= set(history[0])
    row = history[0]
    assert row["loss_total"] == pytest.approx(row["loss_identity"] + 5 * row["loss_template"], rel=1e-5)


def test_a_loss_that_is_not_finite_stops_the_run(make_faces: Make, tmp_path: Path, runtime: Runtime) -> None:
    run = Run(make_faces(), tmp_path / "c.pt", runtime)
    with torch.no_grad():
        run.encoder.embed[0].weight.fill_(torch.nan)
    with pytest.raises(RuntimeError, match="non-finite"):
        run.train(RECIPE)
