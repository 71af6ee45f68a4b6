"""AI-KD: a frozen copy sees the face in place, the student sees it out of place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from stages.lib.errors import ConfigError
from stages.lib.models.student import FaceEncoder, build_encoder
from stages.lib.objectives import Batch, Task, View
from stages.lib.objectives.alignment import Objective
from stages.lib.training.data import FaceSet
from tests.unit.conftest import DIM, student

EVERY = {"misalignment": 1.0}


@pytest.fixture
def encoder() -> FaceEncoder:
    torch.manual_seed(2)
    return build_encoder("test_efficientnet", DIM, quality="cr_fiqa")


@pytest.fixture
def task(make_faces: Callable[..., FaceSet], encoder: FaceEncoder) -> Task:
    return Task(encoder, make_faces(count=6), steps=1, seed=0)


def batch_of(task: Task, seed: int = 0) -> Batch:
    rows = torch.arange(4)
    images = torch.from_numpy(task.faces.images[:4]).permute(0, 3, 1, 2).float() / 255
    templates, labels = (torch.from_numpy(a)[rows] for a in (task.faces.templates, task.faces.labels))
    return Batch(rows, images, labels, templates, torch.Generator().manual_seed(seed))


def view_of(encoder: FaceEncoder) -> View:
    return View(torch.empty(4, DIM), [], {}, encoder)


def test_the_copy_is_taken_when_the_term_begins_and_then_stands_still(task: Task, encoder: FaceEncoder) -> None:
    term = Objective(task, EVERY, 1.0).train()
    with torch.no_grad():
        encoder.embed[0].weight.mul_(2.0)  # trained until the term begins
    at_start = {name: value.clone() for name, value in encoder.state_dict().items()}
    loss = term(view_of(encoder.train()), batch_of(task))
    loss.backward()
    with torch.no_grad():
        encoder.embed[0].weight.mul_(3.0)
    term(view_of(encoder), batch_of(task))
    kept = term.teacher.state_dict()
    assert all(torch.equal(kept[name], value) for name, value in at_start.items())  # batch statistics included
    assert all(p.grad is None for p in term.parameters())
    tracked = {name: value for name, value in at_start.items() if "running" in name or "tracked" in name}
    assert tracked and all(torch.equal(encoder.state_dict()[name], value) for name, value in tracked.items())
    assert encoder.training
    assert encoder.quality[0].weight.grad is not None and encoder.embed[0].weight.grad is not None
    assert not term.teacher.training

    resumed = Objective(task, EVERY, 1.0)
    resumed.load_state_dict(term.state_dict())
    resumed(view_of(encoder), batch_of(task))
    assert all(torch.equal(resumed.teacher.state_dict()[name], value) for name, value in at_start.items())


def test_loss_equals_its_equation(task: Task, encoder: FaceEncoder) -> None:
    encoder.eval()
    term, batch = Objective(task, EVERY, 0.7), batch_of(task)
    loss = term(view_of(encoder), batch)
    moved = term.out_of_place(batch_of(task))
    with torch.no_grad():
        e, e_moved = encoder(batch.images), encoder(moved)
        q, q_moved = (torch.sigmoid(encoder.quality_logits(raw)) for raw in (e, e_moved))
    gaps = (q - q_moved).abs()
    expected = torch.where(gaps < 0.5, gaps**2, gaps - 0.25).mean()
    expected += 0.7 * (1 - F.cosine_similarity(e, e_moved)).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    in_place = Objective(task, {}, 0.7)
    assert in_place(view_of(encoder), batch).item() == pytest.approx(0.0, abs=1e-6)


def test_faces_move_anew_at_every_step_and_only_move(task: Task) -> None:
    term, batch = Objective(task, EVERY, 1.0), batch_of(task)
    first, again, other = (term.out_of_place(batch_of(task, seed)) for seed in (1, 1, 2))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not torch.equal(first, other) and not torch.equal(first, batch.images)
    np.testing.assert_allclose(first.mean(dim=(2, 3)), batch.images.mean(dim=(2, 3)), atol=0.1)


def test_a_student_without_a_quality_head_is_refused(task: Task) -> None:
    with pytest.raises(ConfigError, match="head that tells quality"):
        Objective(replace(task, encoder=student()), EVERY, 1.0)
