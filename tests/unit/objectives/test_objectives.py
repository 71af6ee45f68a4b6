"""Terms are weighted and scheduled, switched off by weight 0 or absence, and refuse what they do not fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from stages.lib.errors import ConfigError
from stages.lib.objectives import Batch, Objectives, Task, View
from stages.lib.training.data import FaceSet
from tests.unit.conftest import DIM, student

IDENTITY = {"weight": 2.0, "head": "arcface", "scale": 16.0, "margin": 0.2, "sigma": 0.05}


@pytest.fixture
def task(make_faces: Callable[..., FaceSet]) -> Task:
    return Task(student(), make_faces(count=6), steps=1, seed=0)


def batch_of(task: Task, done: float = 0.0) -> Batch:
    faces = torch.tensor([0, 2, 4, 1])
    templates = torch.from_numpy(task.faces.templates)[faces]
    labels = torch.from_numpy(task.faces.labels)[faces]
    return Batch(faces, torch.empty(4, 0), labels, templates, torch.Generator(), done)


def test_the_total_is_the_weighted_sum_and_gradients_reach_every_class(task: Task) -> None:
    torch.manual_seed(0)
    objectives = Objectives({"identity": IDENTITY, "template": {"weight": 3.0}}, task)
    batch, raw = batch_of(task), torch.randn(4, DIM, requires_grad=True)
    terms = objectives(View(raw, []), batch)
    pairs = zip(raw.detach(), batch.templates, strict=True)
    cosine = [float(torch.dot(r, t) / r.norm() / t.norm()) for r, t in pairs]
    assert terms["template"].item() == pytest.approx(sum(1 - c for c in cosine) / 4, rel=1e-5)
    total = 2 * terms["identity"].item() + 3 * terms["template"].item()
    assert terms["total"].item() == pytest.approx(total, rel=1e-6)
    terms["total"].backward()
    assert raw.grad is not None
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in objectives.parameters())


def test_a_term_begins_when_it_should_and_then_rises(task: Task) -> None:
    late = {"weight": 4.0, "start": 0.5, "ramp": 0.25}
    objectives = Objectives({"identity": IDENTITY, "template": late}, task)
    assert [objectives.weight("template", done) for done in (0.0, 0.49, 0.5, 0.625, 0.75, 1.0)] == [0, 0, 0, 2, 4, 4]
    view = View(torch.randn(4, DIM), [])
    before, after = objectives(view, batch_of(task, 0.4)), objectives(view, batch_of(task, 0.625))
    assert set(before) == {"identity", "total"}
    expected = 2 * after["identity"].item() + 2 * after["template"].item()
    assert after["total"].item() == pytest.approx(expected, rel=1e-6)


def test_what_cannot_be_trained_is_refused(task: Task) -> None:
    with pytest.raises(ConfigError, match=f"embedding of {DIM} begins with one of 4"):
        Objectives({"identity": {**IDENTITY, "head": "magface"}}, task)
    Objectives({"identity": {**IDENTITY, "head": "magface"}}, replace(task, encoder=student(128)))
    with pytest.raises(ConfigError, match="at least one objective"):
        Objectives({"template": {"weight": 0.0}}, task)
    with pytest.raises(ConfigError, match=rf"length {DIM}.*set the student's `embedding` to {DIM}"):
        Objectives({"template": {"weight": 1.0}}, replace(task, encoder=student(512)))
