"""The student learns to say what its own embeddings are worth, and no embedding moves to please the target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from stages.lib.errors import ConfigError
from stages.lib.objectives import Batch, Objectives, Task, View, heads
from stages.lib.objectives.quality import Objective
from stages.lib.training.data import FaceSet
from tests.unit.conftest import DIM, student


@pytest.fixture
def task(make_faces: Callable[..., FaceSet]) -> Task:
    """Two people with two pictures each, and a third one with one."""
    faces = make_faces(count=6)
    fewer = replace(faces, labels=faces.labels[:5], templates=faces.templates[:5])
    return Task(student(quality="pair"), fewer, steps=1, seed=0)


@pytest.mark.parametrize("technique", ["cr_fiqa", "pair"])
def test_loss_equals_plain_loops(task: Task, technique: str) -> None:
    torch.manual_seed(1)
    rows = torch.tensor([0, 2, 4, 1])
    labels, templates = (torch.from_numpy(a)[rows] for a in (task.faces.labels, task.faces.templates))
    raw, said = (5 * torch.randn(4, DIM)).requires_grad_(), torch.randn(4, requires_grad=True)
    batch = Batch(rows, torch.empty(4, 0), labels, templates, torch.Generator())
    loss = Objective(task, technique)(View(raw, [], {"quality": said}), batch)

    expected = []
    for row, (face, own, logit) in enumerate(zip(raw.detach().numpy(), labels, said, strict=True)):
        if own == 2:  # has one picture: nothing tells what it is worth
            continue
        classes = [[i for i in range(5) if task.faces.labels[i] == c and i != rows[row]] for c in range(3)]
        unit = face / np.linalg.norm(face)
        cosine = [np.mean([unit @ task.faces.templates[i] for i in members]) for members in classes]
        near = max(c for i, c in enumerate(cosine) if i != own)
        ratio = min(max(cosine[own] / (near + 1 + 1e-9), 0), 1)
        target = 1 / (1 + np.exp(-16 * (cosine[own] - 0.4))) if technique == "pair" else ratio
        gap = abs(1 / (1 + np.exp(-logit.item())) - target)
        expected.append(gap**2 if gap < 0.5 else gap - 0.25)  # smooth L1 of beta .5: gap^2 / (2 beta), gap - beta / 2
    assert len(expected) == 3
    assert loss.item() == pytest.approx(np.mean(expected), rel=1e-5)
    loss.backward()
    assert said.grad is not None and (said.grad != 0).any()
    assert raw.grad is None  # the head reads the embedding in the encoder; the target gives it no gradient


def test_the_student_is_built_with_the_head_that_the_term_trains(task: Task) -> None:
    settings = {"quality": {"weight": 10.0, "technique": "pair"}, "template": {"weight": 1.0}}
    assert heads(settings) == {"quality": "pair"}
    assert set(Objectives(settings, task).terms) == {"quality", "template"}
    with pytest.raises(ConfigError, match="without the head"):
        Objective(replace(task, encoder=student()), "pair")
    with pytest.raises(ConfigError, match="length"):
        Objective(replace(task, encoder=student(512, quality="pair")), "pair")
    alone = replace(task.faces, labels=task.faces.labels[::2], templates=task.faces.templates[::2])
    with pytest.raises(ConfigError, match="nobody to learn from has two faces"):
        Objective(replace(task, faces=alone), "pair")


def test_how_many_pictures_a_person_has_does_not_tell() -> None:
    """Equally good faces of people with two and with fifty pictures have one target, on average."""
    draw = torch.Generator().manual_seed(0)
    centres = F.normalize(torch.randn(120, 64, generator=draw))
    labels = torch.cat([torch.arange(100).repeat_interleave(2), torch.arange(100, 120).repeat_interleave(50)])
    templates = F.normalize(centres[labels] + 0.1 * torch.randn(len(labels), 64, generator=draw))
    faces = FaceSet(
        np.empty((0, 112, 112, 3), np.uint8),
        np.empty((len(labels), 0), np.int64),
        labels.numpy(),
        tuple(map(str, range(120))),
        templates.numpy(),
    )
    batch = Batch(torch.arange(len(labels)), torch.empty(0), labels, templates, draw)
    for technique in ("cr_fiqa", "pair"):
        term = Objective(Task(student(64, quality="pair"), faces, steps=1, seed=0), technique)
        target = term.target(templates, batch)
        assert target[:200].mean().item() == pytest.approx(
            target[200:].mean().item(), abs=0.03
        )  # concave: spread costs
