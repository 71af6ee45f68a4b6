"""Only chosen faces are copied, and the choice is kept beside the student."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch

from stages.lib.losses.selective import selective_loss
from stages.lib.objectives import Batch, Task, View
from stages.lib.objectives.selective import ADAPTER, SELECTION, Objective
from stages.lib.selection.graph import Kind, SelectionSettings, select
from stages.lib.training.data import FaceSet
from tests.unit.conftest import DIM, student

Make = Callable[..., FaceSet]


def test_the_choice_is_the_graphs_and_others_get_no_gradient(make_faces: Make) -> None:
    torch.manual_seed(0)
    faces = make_faces(count=20)
    task = Task(student(8), faces, steps=1, seed=3)
    term = Objective(task, keep="graph", keep_ratio=0.5, gamma=1.0, beta=0.1)
    chosen = select(faces.templates, faces.labels, SelectionSettings(0.5))
    rows, raw = torch.arange(20), torch.randn(20, 8, requires_grad=True)
    templates = torch.from_numpy(faces.templates)
    batch = Batch(rows, torch.empty(0), torch.from_numpy(faces.labels), templates, torch.Generator())
    loss = term(View(raw, []), batch)
    loss.backward()
    assert raw.grad is not None
    np.testing.assert_array_equal((raw.grad.abs().sum(1) > 0).numpy(), chosen.kept)
    shuffled = torch.randperm(20)[:7]
    part = Batch(shuffled, torch.empty(0), torch.empty(0), templates[shuffled], torch.Generator())
    expected = selective_loss(term.regression.adapter(raw[shuffled]), templates[shuffled], term.kept[shuffled])
    assert term(View(raw[shuffled], []), part).item() == pytest.approx(expected.item())


@pytest.mark.parametrize("keep", ["random", "unary"])
def test_a_control_keeps_as_many_as_neighbours_let_the_graph_keep(make_faces: Make, keep: Kind) -> None:
    faces = make_faces(count=20)
    graph = select(faces.templates, faces.labels, SelectionSettings(0.6, beta=5.0))
    assert graph.ratio != 0.6
    term = Objective(Task(student(8), faces, 1, 3), keep=keep, keep_ratio=0.6, gamma=1.0, beta=5.0)
    assert term.kept.float().mean().item() == pytest.approx(graph.ratio)


def test_the_choice_and_the_adapter_stay_beside_the_student(make_faces: Make) -> None:
    faces = make_faces(count=20)
    term = Objective(Task(student(8), faces, 1, 3), keep="random", keep_ratio=0.6, gamma=1.0, beta=0.1)
    files = dict(term.artefacts())
    selection = files[SELECTION]
    assert selection["face_id"].to_pylist() == list(faces.ids)
    assert selection["kept"].to_pylist() == term.kept.tolist()
    about = json.loads(selection.schema.metadata[b"selection"])
    assert (about["kind"], about["seed"]) == ("random", 3)
    assert about["ratio"] == pytest.approx(np.mean(selection["kept"].to_pylist()))
    adapter = np.stack(files[ADAPTER]["weights"].to_pylist())
    np.testing.assert_array_equal(adapter, term.regression.adapter.weight.detach().numpy())
    assert adapter.shape == (DIM, 8)
