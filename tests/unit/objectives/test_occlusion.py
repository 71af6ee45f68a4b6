"""The map learns what share of each cell is covered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from stages.lib.classes import COVERS, UNKNOWN, Label
from stages.lib.errors import ConfigError
from stages.lib.objectives import Batch, Task, View
from stages.lib.objectives.occlusion import Objective
from stages.lib.training.data import FaceSet
from tests.unit.conftest import student


def test_golden_value_and_unknown_pixels_count_as_bare(make_faces: Callable[..., FaceSet]) -> None:
    task = Task(student(occlusion=True), make_faces(count=2), steps=1, seed=0)
    parses = torch.full((1, 112, 112), UNKNOWN, dtype=torch.uint8)
    parses[:, :, 56:] = int(Label.SKIN)
    parses[:, :16, :16] = int(COVERS[0])  # the first of 7 x 7 cells, whole
    parses[:, :16, 16:24] = int(COVERS[-1])  # half of the second
    logits = torch.linspace(-2, 2, 49).reshape(1, 7, 7).requires_grad_()
    empty = torch.empty(1, 0)
    batch = Batch(torch.zeros(1, dtype=torch.int64), empty, empty, empty, torch.Generator(), parses=parses)
    loss = Objective(task)(View(empty, [], {"occlusion": logits}), batch)
    share = np.zeros(49)
    share[:2] = 1.0, 0.5
    chance = 1 / (1 + np.exp(-logits.detach().numpy().ravel()))
    expected = -(share * np.log(chance) + (1 - share) * np.log(1 - chance)).mean()
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert logits.grad is not None and (logits.grad.ravel()[2:] > 0).all()
    with pytest.raises(ConfigError, match="without the head"):
        Objective(replace(task, encoder=student()))
