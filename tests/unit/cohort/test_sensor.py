from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from stages.lib.cohort.basis import load_targets
from stages.lib.cohort.identity import sample_identity
from stages.lib.cohort.sensor import expose
from stages.lib.cohort.shot import Camera, Ranges, Shot, sample_shot

PLAIN = Camera(distance=10, scale=1, offset=(0, 0), noise=0, blur=0, saturation=1, contrast=1, tint=(1, 1, 1))


@pytest.fixture(scope="module")
def shot() -> Shot:
    drawn = sample_shot(sample_identity(load_targets(), 1, 2), 3, Ranges())
    light = replace(drawn.light, key=(1.0, 1.0, 1.0), ambient=(0.5, 0.5, 0.5), exposure=1.0)
    return replace(drawn, camera=PLAIN, light=light)


def test_grey_follows_srgb_and_the_s_curve_up_to_the_shoulder(shot: Shot) -> None:
    levels = torch.tensor([0.0, 0.001, 0.0031308, 0.01, 0.18, 0.5, 0.64])
    pixels = expose(levels.view(-1, 1, 1, 1).expand(-1, 3, 9, 9), [shot] * len(levels))[:, :, 4, 4]
    curve = torch.where(levels <= 0.0031308, 12.92 * levels, 1.055 * levels ** (1 / 2.4) - 0.055)
    curve = curve + 0.35 * (3 * curve**2 - 2 * curve**3 - curve)
    assert (pixels.float() - 255 * curve[:, None]).abs().max() <= 0.51


def test_brighter_exposure_never_darkens_and_highlights_roll_off(shot: Shot) -> None:
    ramp = torch.linspace(0, 4, 64).view(1, 1, 1, 64).expand(1, 3, 8, 64)
    means = []
    for exposure in (0.25, 0.5, 1.0, 2.0):
        image = expose(ramp, [replace(shot, light=replace(shot.light, exposure=exposure))]).int()
        assert (image.diff(dim=-1) >= 0).all()
        means.append(image.float().mean().item())
    assert means == sorted(means) and means[0] < means[-1] - 30


def test_white_balance_takes_most_of_the_colour_of_the_light(shot: Shot) -> None:
    warm = torch.tensor([1.2, 1.0, 0.75])
    light = replace(shot.light, key=tuple(warm.tolist()), ambient=tuple((warm / 2).tolist()))
    card = (0.3 * warm).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    red, _, blue = expose(card, [replace(shot, light=light)])[0, :, 4, 4].int().tolist()
    plain_red, _, plain_blue = expose(card, [shot])[0, :, 4, 4].int().tolist()
    assert 0 < red - blue < 0.4 * (plain_red - plain_blue)


def test_noise_has_the_size_asked_for_and_comes_from_the_seed(shot: Shot) -> None:
    card = torch.full((1, 3, 64, 64), 0.2)
    noisy = replace(shot, camera=replace(PLAIN, noise=0.02))
    image = expose(card, [noisy])
    deviation = (image.float() / 255).flatten(2).std(2).mean().item()
    assert deviation == pytest.approx(0.02, rel=0.35)
    assert torch.equal(image, expose(card, [noisy]))
    assert not torch.equal(image, expose(card, [replace(noisy, seed=noisy.seed + 1)]))


def test_blur_keeps_the_mean_and_lowers_edges(shot: Shot) -> None:
    step = torch.zeros(1, 3, 128, 128)
    step[..., 64:] = 0.4
    sharp, soft = (expose(step, [replace(shot, camera=replace(PLAIN, blur=blur))]).int() for blur in (0.0, 1.0))
    assert sharp.diff(dim=-1).max() > 1.8 * soft.diff(dim=-1).max()
    assert soft[0, 0, 64, 0] == 0 and soft[0, 0, 64, -1] == sharp[0, 0, 64, -1]


def test_picture_does_not_depend_on_its_batch() -> None:
    person = sample_identity(load_targets(), 1, 2)
    shots = [sample_shot(person, number, Ranges()) for number in range(5)]
    scene = torch.rand(5, 3, 40, 40, generator=torch.Generator().manual_seed(1)) * 1.5
    together = expose(scene, shots).int()
    for row, shot in enumerate(shots):
        assert (together[row] - expose(scene[row : row + 1], [shot])[0].int()).abs().max() <= 1
