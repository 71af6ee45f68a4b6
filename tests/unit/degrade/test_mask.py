"""Mask synthesis: defects 1, 5 and 6 of the published code, and where the mask lies."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stages.lib.degrade import mask
from stages.lib.degrade.mask import sample, wear
from stages.lib.degrade.mask_shapes import AXIS, FITS, ORIGIN, SCALE, SHAPES, drawing
from stages.lib.geometry.template import ARCFACE_TEMPLATE
from stages.lib.models.contract import PRESETS, InputContract

KINDS = [(shape, fit) for shape in SHAPES for fit in FITS]
GREY = torch.full((1, 3, 112, 112), 128, dtype=torch.uint8)


def params(shape: str, fit: str, tint: tuple[int, int, int] = (120, 175, 205)) -> dict:
    return {"shape": np.array([shape]), "fit": np.array([fit]), "tint": np.array([tint])}


def moved(degrees: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    turn = np.deg2rad(degrees)
    spin = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    centre = ARCFACE_TEMPLATE.mean(axis=0)
    return ((ARCFACE_TEMPLATE - centre) @ spin.T + centre + shift)[None]


def distance_from_axis(alpha: torch.Tensor, landmarks: np.ndarray) -> float:
    """From the centroid of the mask to the line through the middles of the eyes and of the mouth."""
    weight = alpha[0, 0].double().numpy()
    y, x = np.indices(weight.shape)
    centroid = np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()
    eyes, mouth = landmarks[0, :2].mean(axis=0), landmarks[0, 3:].mean(axis=0)
    along = (mouth - eyes) / np.linalg.norm(mouth - eyes)
    offset = centroid - eyes
    return abs(along[0] * offset[1] - along[1] * offset[0])


@pytest.mark.parametrize(("shape", "fit"), KINDS)
@pytest.mark.parametrize("pose", [(0.0, 1.0, (0.0, 0.0)), (8.0, 0.75, (-4.0, -12.0)), (-6.0, 0.7, (5.0, -14.0))])
def test_the_centroid_lies_on_the_landmark_axis(shape: str, fit: str, pose: tuple) -> None:
    landmarks = moved(*pose)
    _, alpha = wear(GREY, params(shape, fit), landmarks)
    assert distance_from_axis(alpha, landmarks) < 2.0


@pytest.mark.parametrize(("shape", "fit"), KINDS)
def test_mouth_is_covered_eyes_are_not_and_the_nose_as_the_fit_says(shape: str, fit: str) -> None:
    _, alpha = wear(GREY, params(shape, fit), ARCFACE_TEMPLATE[None])
    at = [float(alpha[0, 0, round(y), round(x)]) for x, y in ARCFACE_TEMPLATE]
    assert at[0] < 0.01 and at[1] < 0.01
    assert at[3] > 0.95 and at[4] > 0.95
    assert at[2] < 0.2 if fit == "below_nose" else at[2] > 0.6


def test_the_mask_follows_the_nose_of_a_turned_head() -> None:
    turned = ARCFACE_TEMPLATE[None].copy()
    turned[0, 2, 0] += 10
    _, frontal = wear(GREY, params("surgical", "bridge"), ARCFACE_TEMPLATE[None])
    _, profile = wear(GREY, params("surgical", "bridge"), turned)
    tops = [35 + int(alpha[0, 0, :92, 35:80].sum(dim=0).argmax()) for alpha in (frontal, profile)]
    assert abs(tops[0] - 56) <= 2
    assert 6 <= tops[1] - tops[0] <= 12, "column in which the mask reaches highest"


def test_the_clean_face_is_untouched_and_shares_no_memory(faces) -> None:
    before = faces.images.clone()
    masked, alpha = wear(faces.images, sample(np.random.default_rng(0).random((12, 6))), faces.landmarks)
    assert torch.equal(faces.images, before)
    masked.zero_()
    alpha.zero_()
    assert torch.equal(faces.images, before)


RECOGNISERS = {name: contract for name, contract in PRESETS.items() if contract.size == 112}


@pytest.mark.parametrize("contract", RECOGNISERS.values(), ids=RECOGNISERS.keys())
def test_a_masked_face_is_prepared_as_a_clean_one(faces, contract: InputContract) -> None:
    """The published evaluation feeds masked faces in [0, 1] where training used [-1, 1]."""
    masked = wear(faces.images, sample(np.random.default_rng(0).random((12, 6))), faces.landmarks)[0]
    clean, covered = (contract.prepare(part.permute(0, 2, 3, 1).numpy()) for part in (faces.images, masked))
    assert np.array_equal(covered[:, :, :25], clean[:, :, :25]), "where no mask is, nothing differs"
    low, high = contract.prepare(np.stack([np.full((112, 112, 3), v, np.uint8) for v in (0, 255)]))[:, 0, 0, 0]
    assert low <= covered.min() < covered.max() <= high
    assert covered.max() - covered.min() > 0.6 * (high - low)


@pytest.mark.parametrize("level", [0, 255])
def test_values_are_clipped_not_wrapped(level: int) -> None:
    """Black fabric in the dark, white in glaring light: wrapped, that would be black."""
    image = torch.full((1, 3, 112, 112), level, dtype=torch.uint8)
    for shape, fit in KINDS:
        masked, alpha = wear(image, params(shape, fit, (level, level, level)), ARCFACE_TEMPLATE[None])
        inside = masked[:, :1][alpha > 0.99].int()
        assert int((inside - level).abs().max()) < 150
        assert int(inside.max()) == level


def test_pixels_outside_the_mask_and_its_shadow_stay(faces) -> None:
    masked, _ = wear(faces.images[:1], params("n95", "below_nose"), ARCFACE_TEMPLATE[None])
    assert torch.equal(masked[:, :, :50], faces.images[:1, :, :50])


@pytest.mark.parametrize(("shape", "fit"), KINDS)
def test_drawings_are_symmetric(shape: str, fit: str) -> None:
    alpha = drawing(shape, fit)[0]
    x = np.arange(alpha.shape[1])
    centroid = (alpha.sum(axis=0) * x).sum() / alpha.sum()
    assert centroid == pytest.approx((AXIS - ORIGIN) * SCALE, abs=0.6)
    assert alpha.min() >= 0 and alpha.max() <= 1


@pytest.mark.parametrize("pose", [(0.0, 1.0, (0.0, 0.0)), (75.0, 0.8, (3.0, -9.0)), (180.0, 1.3, (0.0, 20.0))])
def test_rows_that_no_mask_can_reach_are_left_out_and_no_others(pose: tuple, monkeypatch) -> None:
    rng = np.random.default_rng(4)
    landmarks = moved(*pose) + rng.normal(0, 4.0, (40, 5, 2))
    images = torch.from_numpy(rng.integers(0, 256, (40, 3, 112, 112), dtype=np.uint8))
    worn = sample(rng.random((40, 6)))
    each = [np.array([face]) for face in range(40)]
    part = [wear(images[one], {name: values[one] for name, values in worn.items()}, landmarks[one]) for one in each]
    monkeypatch.setattr(mask, "_first_row", lambda *_: 0)
    masked, alpha = wear(images, worn, landmarks)
    assert torch.equal(torch.cat([one for one, _ in part]), masked)
    assert torch.equal(torch.cat([one for _, one in part]), alpha)


def test_landmarks_on_a_line_are_refused() -> None:
    line = np.stack([np.linspace(20, 90, 5), np.full(5, 60.0)], axis=1)[None]
    with pytest.raises(ValueError, match="lie on a line"):
        wear(GREY, params("cloth", "nose"), line)
