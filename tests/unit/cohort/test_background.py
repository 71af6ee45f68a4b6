from __future__ import annotations

import torch

from stages.lib.cohort.background import background
from stages.lib.cohort.basis import load_targets
from stages.lib.cohort.identity import sample_identity
from stages.lib.cohort.shot import Ranges, Shot, sample_shot


def shots(count: int) -> list[Shot]:
    person = sample_identity(load_targets(), 4, 0)
    return [sample_shot(person, number, Ranges()) for number in range(count)]


def test_places_are_finite_differ_and_come_from_their_seed() -> None:
    drawn = shots(32)
    places = background(drawn, 48, "cpu")
    assert places.shape == (32, 3, 48, 48)
    assert places.isfinite().all() and places.min() >= 0 and places.max() < 10
    assert torch.equal(places, background(drawn, 48, "cpu"))
    means = places.mean((2, 3))
    assert len({tuple(mean.tolist()) for mean in means}) == 32
    assert means.std() > 0.05


def test_place_depends_on_neither_batch_nor_size() -> None:
    drawn = shots(6)
    together = background(drawn, 64, "cpu")
    for row, shot in enumerate(drawn):
        torch.testing.assert_close(together[row], background([shot], 64, "cpu")[0], atol=1e-5, rtol=1e-5)
    small = torch.nn.functional.avg_pool2d(background(drawn, 128, "cpu"), 2)
    assert (small - together).abs().mean() < 0.01


def test_places_are_out_of_focus() -> None:
    places = background(shots(32), 112, "cpu")
    scale = places.amax((1, 2, 3), keepdim=True)
    assert (places / scale).diff(dim=-1).abs().max() < 0.3
