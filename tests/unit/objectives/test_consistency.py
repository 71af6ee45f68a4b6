"""The parts of the loss add up, and each form is given the templates that it asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from stages.lib.errors import ConfigError
from stages.lib.losses.consistency import ConsistencyHead, class_weights, other_rows, relation_loss, soft_loss
from stages.lib.objectives import Batch, Task, View, needs
from stages.lib.objectives.consistency import Objective
from stages.lib.training.data import FaceSet
from tests.unit.conftest import DIM, student

SETTINGS: dict[str, Any] = {
    "form": "A", "scale": 16.0, "margin": 0.4, "soft": 0.0, "relation": 0.0, "queue": 5, "trainable": False,
}  # fmt: skip


@pytest.fixture
def task(make_faces: Callable[..., FaceSet]) -> Task:
    return Task(student(), make_faces(count=12), steps=4, seed=0)


@pytest.fixture
def batch(task: Task) -> Batch:
    rows = torch.tensor([3, 0, 7])
    templates, labels = torch.from_numpy(task.faces.templates), torch.from_numpy(task.faces.labels)
    shown = torch.nn.functional.normalize(torch.randn(3, DIM, generator=torch.Generator().manual_seed(1)))
    return Batch(rows, torch.empty(0), labels[rows], templates[rows], torch.Generator().manual_seed(9), shown=shown)


def raw_of(batch: Batch) -> Tensor:
    return torch.randn(len(batch.faces), DIM, generator=torch.Generator().manual_seed(2), requires_grad=True)


def test_the_loss_is_the_sum_of_its_parts(task: Task, batch: Batch) -> None:
    raw, templates = raw_of(batch), torch.from_numpy(task.faces.templates)
    term = Objective(task, **{**SETTINGS, "soft": 0.5, "relation": 2.0})
    found = term(View(raw, []), batch)
    weights = class_weights(templates, torch.from_numpy(task.faces.labels), 6)
    head = ConsistencyHead(weights, "A", 16.0, 0.4, warmup=task.steps)
    queue = templates[other_rows(12, batch.faces, 5, torch.Generator().manual_seed(9))]
    expected = head(raw, batch.labels, batch.templates) + 0.5 * soft_loss(raw, batch.templates, weights, scale=16.0)
    expected = expected + 2.0 * relation_loss(raw, batch.templates, queue)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    assert list(term.parameters()) == []  # the teacher's classes are frozen


def test_form_b_reads_the_degraded_face_by_the_teacher(task: Task, batch: Batch) -> None:
    assert needs({"consistency": {"weight": 1.0, **SETTINGS, "form": "B"}}) == {"templates", "shown"}
    assert needs({"consistency": {"weight": 1.0, **SETTINGS}}) == {"templates"}
    raw, term = raw_of(batch), Objective(task, **{**SETTINGS, "form": "B"}).eval()
    found = term(View(raw, []), batch).item()
    assert found == pytest.approx(term.head(raw, batch.labels, batch.shown).item())
    assert found != pytest.approx(term.head(raw, batch.labels, batch.templates).item())


def test_trainable_classes_start_at_the_teachers_and_learn(task: Task, batch: Batch) -> None:
    frozen, learning = Objective(task, **SETTINGS), Objective(task, **{**SETTINGS, "trainable": True})
    raw = raw_of(batch)
    assert learning(View(raw, []), batch).item() == pytest.approx(frozen(View(raw, []), batch).item())
    learning(View(raw, []), batch).backward()
    (weights,) = learning.parameters()
    assert weights.grad is not None and weights.grad.abs().sum() > 0
    soft, still = (Objective(task, **{**SETTINGS, "soft": 0.5, "trainable": learns}).eval() for learns in (True, False))
    before = soft(View(raw, []), batch).item()
    with torch.no_grad():
        soft.head.weights.mul_(torch.linspace(0.3, 3.0, 6)[:, None])  # as an optimizer leaves them
    assert soft(View(raw, []), batch).item() == pytest.approx(before, rel=1e-5)
    assert still(View(raw, []), batch).item() == pytest.approx(before, rel=1e-5)
    with torch.no_grad():
        soft.head.weights.copy_(soft.head.weights.flip(0))  # as if it had learnt otherwise
    classified = [term.head(raw, batch.labels, batch.templates).item() for term in (soft, still)]
    assert classified[0] != pytest.approx(classified[1])
    assert soft(View(raw, []), batch).item() - classified[0] == pytest.approx(before - classified[1], rel=1e-4)
    with pytest.raises(ConfigError, match="set the student's `embedding`"):
        Objective(replace(task, encoder=student(DIM + 1)), **SETTINGS)
