from __future__ import annotations

import pytest
import torch

from stages.lib.models.compact import BACKBONES
from stages.lib.models.parser import FaceParser
from stages.lib.models.student import build_encoder, parameters_count

# (backbone, length of the embedding) -> weights: an int8 file has a byte for each, and a third to a half more beside
BUDGETS = {
    ("mobilefacenet", 512): 800_000,
    ("mobilefacenet_050", 512): 400_000,
    ("compact", 128): 350_000,
    ("compact_tiny", 512): 110_000,
    ("compact_tiny", 128): 85_000,
}
every_backbone = pytest.mark.parametrize("name", list(BACKBONES))


def test_weights_stay_within_their_budgets() -> None:
    assert {name for name, _ in BUDGETS} == set(BACKBONES)
    for (name, embedding), budget in BUDGETS.items():
        weights = parameters_count(build_encoder(name, embedding, occlusion=True))
        assert weights <= budget, (name, embedding, weights)


@every_backbone
def test_maps_have_the_channels_and_strides_that_they_state(name: str) -> None:
    backbone = BACKBONES[name]()
    features = backbone(torch.rand(2, 3, 112, 112))
    about = backbone.feature_info
    assert about.reduction() == [2, 4, 8, 16]
    wanted = [
        (2, width, 112 // stride, 112 // stride)
        for width, stride in zip(about.channels(), about.reduction(), strict=True)
    ]
    assert [tuple(tap.shape) for tap in features] == wanted


@every_backbone
def test_the_face_parser_fits(name: str) -> None:
    encoder = build_encoder(name, 8, 16)
    features = encoder.with_features(torch.rand(2, 3, 112, 112))[1]
    assert FaceParser(*encoder.taps, classes=3, stride=4)(features).shape == (2, 3, 28, 28)


@every_backbone
def test_gradients_reach_every_weight(name: str) -> None:
    torch.manual_seed(0)
    encoder = build_encoder(name, 8, occlusion=True)
    raw, features = encoder.with_features(torch.rand(4, 3, 112, 112))
    (raw.pow(3).sum() + encoder.occlusion_logits(features).sum()).backward()
    assert [key for key, p in encoder.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@every_backbone
def test_a_seed_decides_the_weights(name: str) -> None:
    def built(seed: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(seed)
        return BACKBONES[name]().state_dict()

    torch.testing.assert_close(built(1), built(1), rtol=0, atol=0)
    assert not torch.equal(built(1)["stages.0.0.weight"], built(2)["stages.0.0.weight"])


@every_backbone
def test_evaluation_of_a_face_does_not_depend_on_its_batch(name: str) -> None:
    backbone = BACKBONES[name]().eval()
    faces = torch.rand(3, 3, 112, 112)
    with torch.no_grad():
        torch.testing.assert_close(backbone(faces)[-1][1:2], backbone(faces[1:2])[-1], rtol=1e-4, atol=1e-5)
