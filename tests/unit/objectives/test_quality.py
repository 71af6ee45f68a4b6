"""The student learns to say what its own embeddings are worth, and no embedding moves to please the target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import cast

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from stages.lib.errors import ConfigError
from stages.lib.models.contract import Technique
from stages.lib.objectives import Batch, Objectives, Task, View, heads, needs
from stages.lib.objectives.quality import SER_PASSES, Objective
from stages.lib.training.batches import Recipe, batch_of
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

    told = []
    for row, (face, own, logit) in enumerate(zip(raw.detach().numpy(), labels, said, strict=True)):
        if own == 2:  # has one picture: nothing tells what it is worth
            continue
        classes = [[i for i in range(5) if task.faces.labels[i] == c and i != rows[row]] for c in range(3)]
        unit = face / np.linalg.norm(face)
        cosine = [np.mean([unit @ task.faces.templates[i] for i in members]) for members in classes]
        near = max(c for i, c in enumerate(cosine) if i != own)
        ratio = cosine[own] / (near + 1 + 1e-9)
        target = 1 / (1 + np.exp(-16 * (cosine[own] - 0.4))) if technique == "pair" else ratio
        told.append((1 / (1 + np.exp(-logit.item())), target))
    expected, targets = [], [target for _, target in told]
    for quality, target in told:  # the first batch sets mean and spread
        stretched = (1 + min(max(0.333 * (target - np.mean(targets)) / (np.std(targets) + 1e-3), -1), 1)) / 2
        gap = abs(quality - stretched)
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
    with pytest.raises(ConfigError, match="dropout"):
        Objective(task, "ser_fiq")
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
    for technique in ("cr_fiqa", "pair", "sdd_fiqa"):
        term = Objective(Task(student(64, quality="pair"), faces, steps=1, seed=0), technique)
        target = term.target(View(templates, []), batch)
        assert target[:200].mean().item() == pytest.approx(
            target[200:].mean().item(), abs=0.03
        )  # concave: spread costs


@pytest.mark.parametrize("technique", ["cr_fiqa", "pair", "sdd_fiqa"])
def test_quality_of_another_model_is_told_of_what_it_makes_of_the_face_shown(task: Task, technique: Technique) -> None:
    of_teacher = cast(Technique, f"teacher_{technique}")
    assert needs({"quality": {"weight": 1.0, "technique": of_teacher}}) == {"templates", "shown"}
    assert needs({"quality": {"weight": 1.0, "technique": technique}}) == {"templates"}
    assert needs({"quality": {"weight": 1.0, "technique": "ser_fiq"}}) == frozenset()
    rows = torch.tensor([0, 2])
    labels, templates = (torch.from_numpy(a)[rows] for a in (task.faces.labels, task.faces.templates))
    shown = F.normalize(torch.randn(2, DIM, generator=torch.Generator().manual_seed(4)))
    draws = torch.Generator().manual_seed(7)
    batch = Batch(rows, torch.empty(2, 0), labels, templates, draws, shown=shown)
    target = Objective(task, of_teacher).target(View(torch.randn(2, DIM), []), batch)
    batch.generator.manual_seed(7)
    torch.testing.assert_close(target, Objective(task, technique).target(View(shown, []), batch))


def test_a_face_that_is_like_nobody_is_the_worst_by_the_distance_of_its_cosines(task: Task) -> None:
    rows = torch.tensor([0, 2, 1])
    templates = torch.from_numpy(task.faces.templates)
    like_nobody = torch.linalg.qr(torch.cat([templates, torch.eye(DIM)]).T)[0].T[len(templates)]
    seen = torch.stack([templates[1], templates[3], like_nobody])  # the first two as the other picture of the person
    labels = torch.from_numpy(task.faces.labels)[rows]
    batch = Batch(rows, torch.empty(3, 0), labels, templates[rows], torch.Generator().manual_seed(0))
    target = Objective(task, "sdd_fiqa").target(View(seen, []), batch)
    assert target[:2].min() > 0.5
    assert target[2] == pytest.approx(0.0, abs=1e-6)


def test_what_dropout_shakes_more_is_worse(task: Task) -> None:
    torch.manual_seed(6)
    encoder = student(quality="ser_fiq", dropout=0.5).train()
    told = replace(task, encoder=encoder)
    batch = batch_of(task.faces, Recipe(1, 4, 1e-3, 0.0, 0.0, 0.0, 0.0, 1), "cpu", 0)
    raw, features = encoder.with_features(batch.images)
    view = View(raw, features, encoder.heads(raw, features), encoder)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    term = Objective(told, "ser_fiq")
    torch.manual_seed(8)
    shaken = term.target(view, batch)
    assert encoder.training and all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    torch.manual_seed(8)
    passes = F.normalize(encoder.stochastic(features, SER_PASSES), dim=2)
    gaps = [(passes[a] - passes[b]).norm(dim=1) for a in range(SER_PASSES) for b in range(a)]
    torch.testing.assert_close(shaken, 2 / (1 + torch.exp(torch.stack(gaps).mean(dim=0))), rtol=1e-3, atol=1e-5)
    encoder.dropout.p = 0.1
    assert (term.target(view, batch) > shaken).all()


def test_techniques_that_ask_the_student_alone_need_nobody_elses_picture(task: Task) -> None:
    torch.manual_seed(6)
    longer = student(2 * DIM, quality="norm", dropout=0.5)  # than the templates are
    alone = replace(task.faces, labels=np.arange(5))
    batch = batch_of(alone, Recipe(1, 4, 1e-3, 0.0, 0.0, 0.0, 0.0, 1), "cpu", 0)
    raw, features = longer.with_features(batch.images)
    view = View(raw, features, longer.heads(raw, features), longer)
    told = Task(longer, alone, steps=1, seed=0, unseen={"val": task.faces})
    torch.testing.assert_close(Objective(told, "norm").target(view, batch), raw.detach().norm(dim=1))
    for technique in ("norm", "ser_fiq"):
        term = Objective(told, cast(Technique, technique))
        assert term(view, batch) > 0 and term.figures(longer.eval()) == {}


def test_what_is_said_is_held_against_unseen_people_in_place_and_askew(task: Task, make_faces: Callable) -> None:
    torch.manual_seed(5)
    unseen = make_faces(count=8)
    encoder = student(quality="pair").eval()
    term = Objective(replace(task, unseen={"val": unseen}), "pair")
    found = term.figures(encoder)
    assert set(found) == {"val_quality", "val_quality_askew"} and found["val_quality"] != found["val_quality_askew"]
    assert term.figures(encoder) == found
    images = torch.from_numpy(unseen.images[:8]).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        raw = encoder(images)
        said = encoder.quality_logits(raw).numpy()
    partner = unseen.templates[np.arange(8) ^ 1]
    worth = (F.normalize(raw).numpy() * partner).sum(axis=1)
    ranks = [np.argsort(np.argsort(values)) for values in (said, worth)]
    assert found["val_quality"] == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert Objective(replace(task, unseen={"val": unseen}), "teacher_pair").figures(encoder) == {}
    alone = replace(unseen, labels=np.arange(8), subjects=tuple("abcdefgh"))
    assert Objective(replace(task, unseen={"val": alone}), "pair").figures(encoder) == {}
