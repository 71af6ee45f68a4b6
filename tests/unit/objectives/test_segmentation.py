"""What the decoder, which stays behind, has learnt is measured on people whom nobody learns from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from stages.lib.classes import UNKNOWN, Label
from stages.lib.models.student import build_encoder
from stages.lib.objectives import Batch, Objectives, Task, View
from stages.lib.training.data import FaceSet
from tests.unit.conftest import DIM

SETTINGS = {"segmentation": {"weight": 1.0, "stride": 4, "balance": 0.5}}


@pytest.fixture
def halves(make_faces: Callable[..., FaceSet]) -> FaceSet:
    """Faces whose upper half is hair and whose lower half is skin; of one nobody knows anything."""
    faces = make_faces(count=6)
    parses = np.full((len(faces.images), 112, 112), Label.SKIN, np.uint8)
    parses[:, :56] = Label.HAIR
    parses[1] = UNKNOWN
    return replace(faces, parses=parses)


def test_a_decoder_that_calls_all_skin_has_half_of_one_class_of_two(halves: FaceSet) -> None:
    encoder = build_encoder("test_efficientnet", DIM).eval()
    unknown = replace(halves, parses=np.full_like(halves.parses, UNKNOWN))
    task = Task(encoder, halves, steps=1, seed=0, unseen={"val": unknown, "fasseg": halves})
    objectives = Objectives(SETTINGS, task)
    classify = objectives.terms["segmentation"].decoder.classify
    with torch.no_grad():
        classify.weight.zero_()
        classify.bias.zero_()
        classify.bias[Label.SKIN] = 1.0
    before = {name: value.clone() for name, value in objectives.state_dict().items()}
    assert objectives.figures(encoder) == {"miou_fasseg": pytest.approx(0.25)}
    assert objectives.training
    after = objectives.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)  # statistics of batches stood still


def test_faces_without_a_parse_are_not_decoded(halves: FaceSet) -> None:
    encoder = build_encoder("test_efficientnet", DIM)
    term = Objectives(SETTINGS, Task(encoder, halves, steps=1, seed=0)).terms["segmentation"]
    images = torch.from_numpy(halves.images[:6]).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        features = encoder.eval().with_features(images)[1]
    rows, empty = torch.arange(6), torch.empty(0)

    def loss(maps: list[torch.Tensor], parses: np.ndarray) -> torch.Tensor:
        batch = Batch(rows, images, rows, empty, torch.Generator(), parses=torch.from_numpy(parses))
        return term(View(torch.zeros(6, DIM), maps), batch)

    taps = [tap.clone().requires_grad_() for tap in features]
    told = loss(taps, halves.parses[:6])
    told.backward()
    assert taps[-1].grad is not None
    assert (taps[-1].grad.abs().sum(dim=(1, 2, 3)) > 0).tolist() == [True, False, True, True, True, True]
    for tap in features:
        tap[1] += 7.0  # whom nobody knows anything of; statistics of the batch would tell
    torch.testing.assert_close(loss(features, halves.parses[:6]), told.detach())
    assert loss(features, np.full_like(halves.parses[:6], UNKNOWN)).item() == 0.0
