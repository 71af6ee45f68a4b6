"""Resizing, blur, noise, exposure and misalignment against other libraries, plain loops and theory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter

from stages.lib.degrade import OPERATORS
from stages.lib.degrade.affine import invert
from stages.lib.degrade.blur import MAX_LENGTH, line_kernel
from stages.lib.degrade.exposure import tone_curves
from stages.lib.degrade.fixed_point import UNIT, quantise
from stages.lib.degrade.low_resolution import SIZES
from stages.lib.degrade.misalignment import transform
from stages.lib.degrade.resize import KERNELS, resize_matrix
from stages.lib.geometry.template import ARCFACE_TEMPLATE, similarity


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_quantised_weights_keep_their_sum_and_their_shape(taps: int, seed: int) -> None:
    weights = np.random.default_rng(seed).random((3, taps)) + 1e-3
    weights /= weights.sum(axis=1, keepdims=True)
    units = quantise(weights)
    assert (units == np.round(units)).all() and (units.sum(axis=1) == UNIT).all()
    assert np.abs(units / UNIT - weights).max() <= (taps + 1) * 0.5 / UNIT


@pytest.mark.parametrize("kernel", KERNELS)
def test_sums_of_resizing_are_exact_in_float32(kernel: str) -> None:
    for size in SIZES:
        for matrix in (resize_matrix(112, size, kernel), resize_matrix(size, 112, kernel)):
            assert 255 * np.abs(matrix).sum(axis=1).max() < 2**24
            assert np.abs(matrix).max() <= 2**11, "more than the 11 bits of TF32"


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("size", [8, 20, 56])
def test_low_resolution_agrees_with_pillow(faces, kernel: str, size: int) -> None:
    params = {"size": np.full(12, size), "down": np.full(12, kernel), "up": np.full(12, kernel)}
    ours = OPERATORS["low_resolution"].apply(faces.images, params, faces.landmarks).numpy().astype(int)
    for image, made in zip(faces.images.numpy(), ours, strict=True):
        pillow = Image.fromarray(image.transpose(1, 2, 0)).resize((size, size), KERNELS[kernel])
        expected = np.asarray(pillow.resize((112, 112), KERNELS[kernel])).transpose(2, 0, 1).astype(int)
        assert np.abs(made - expected).max() <= 3
        assert np.abs(made - expected).mean() < 0.5


def test_gaussian_blur_agrees_with_scipy(faces) -> None:
    sigma = np.linspace(0.5, 4.5, 12)
    ours = OPERATORS["blur"].apply(faces.images, {"sigma": sigma}, faces.landmarks).numpy().astype(float)
    for image, made, s in zip(faces.images.numpy(), ours, sigma, strict=True):
        expected = gaussian_filter(image.astype(float), (0, s, s), mode="mirror", truncate=13 / s)
        assert np.abs(made - expected).max() < 2


def test_motion_kernels_lie_along_their_path() -> None:
    length, angle = np.array([5.0, 13.0, 19.0, 9.0]), np.array([0.0, 90.0, 30.0, 150.0])
    kernels = line_kernel(length, angle)
    axis = np.arange(MAX_LENGTH) - MAX_LENGTH // 2
    for kernel, degrees, reach in zip(kernels, angle, length, strict=True):
        assert kernel.sum() == pytest.approx(1)
        assert np.allclose(kernel, kernel[::-1, ::-1]), "the face would move"
        x, up = kernel.sum(axis=0), kernel.sum(axis=1)[::-1]
        xx, yy = (x * axis**2).sum(), (up * axis**2).sum()
        xy = (kernel[::-1] * np.outer(axis, axis)).sum()
        direction = np.rad2deg(0.5 * np.arctan2(2 * xy, xx - yy)) % 180
        assert direction == pytest.approx(degrees, abs=1)
        assert xx + yy == pytest.approx(reach**2 / 12, rel=0.15), "variance of a uniform path"


def test_noise_has_the_variance_of_the_sensor_model() -> None:
    images = torch.full((2, 3, 112, 112), 100, dtype=torch.uint8)
    images[:, 1] = 140
    params = {"read": np.array([4.0, 0.0]), "shot": np.array([0.6, 2.0]), "field": np.array([1, 2])}
    noisy = OPERATORS["noise"].apply(images, params, np.zeros((2, 5, 2))).double()
    for face, (read, shot) in enumerate(((4.0, 0.6), (0.0, 2.0))):
        for channel, level in ((0, 100), (1, 140)):
            pixels = noisy[face, channel]
            assert pixels.mean().item() == pytest.approx(level, abs=0.6)
            assert pixels.var().item() == pytest.approx(read**2 + shot * level + 1 / 12, rel=0.05)
    rest = (noisy - images.double()).flatten(2)
    assert abs(np.corrcoef(rest[0, 0], rest[0, 2])[0, 1]) < 0.03
    assert abs(np.corrcoef(rest[0, 0], rest[1, 0])[0, 1]) < 0.03


@pytest.mark.parametrize("operator", ["noise", "exposure", "mask"])
def test_a_monochrome_photograph_stays_monochrome(faces, operator: str) -> None:
    u = np.random.default_rng(1).random((12, OPERATORS[operator].draws))
    out = OPERATORS[operator].apply(faces.images, OPERATORS[operator].parameters(u, None), faces.landmarks).int()
    spread = (out.amax(dim=1) - out.amin(dim=1)).flatten(1).amax(dim=1)
    assert (spread[0::2] == 0).all() and (spread[1::2] > 0).all()


def test_one_stop_doubles_the_light_and_clips() -> None:
    one = {"stops": np.array([1.0]), "sign": np.array([1]), "gamma": np.array([1.0]), "cast": np.array([0.0])}
    curve = tone_curves(one)[0, 0].astype(float)
    assert (curve[120] / 255) ** 2.2 == pytest.approx(2 * (120 / 255) ** 2.2, rel=0.01)
    assert curve[0] == 0 and curve[255] == 255 and (np.diff(curve) >= 0).all()
    warm = tone_curves(one | {"sign": np.array([-1]), "cast": np.array([0.3])})[0, :, 200]
    assert warm[0] > warm[1] > warm[2]


def test_misalignment_is_the_fit_to_the_wrong_landmarks(faces) -> None:
    rng = np.random.default_rng(2)
    params = {
        "pixels": np.full(12, 5.0),
        "offsets": rng.uniform(-1, 1, (12, 5, 2)),
        "shift": np.zeros((12, 2)),
        "zoom": np.zeros(12),
    }
    expected = similarity(faces.landmarks + 5.0 * params["offsets"])[0]
    assert np.allclose(transform(params, faces.landmarks), expected)
    there = np.concatenate([expected, np.tile([[[0.0, 0, 1]]], (12, 1, 1))], axis=1)
    back = np.concatenate([invert(expected), np.tile([[[0.0, 0, 1]]], (12, 1, 1))], axis=1)
    assert np.allclose(there @ back, np.eye(3), atol=1e-9)


def test_a_pure_shift_moves_the_pixels_by_it(faces) -> None:
    landmarks = np.broadcast_to(ARCFACE_TEMPLATE, (12, 5, 2))
    params = {
        "pixels": np.full(12, 6.0),
        "offsets": np.zeros((12, 5, 2)),
        "shift": np.tile([0.5, -0.5], (12, 1)),
        "zoom": np.zeros(12),
    }
    out = OPERATORS["misalignment"].apply(faces.images, params, landmarks)
    # The landmarks are taken 3 px too far right and too high, so the face comes to lie left and low.
    assert torch.equal(out[:, :, 3:, :-3], faces.images[:, :, :-3, 3:])
    assert torch.equal(out[:, :, 0, :-3], faces.images[:, :, 0, 3:]), "the border is continued"
