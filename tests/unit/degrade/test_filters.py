"""Resizing, blur, noise, exposure, occluders and misalignment against other libraries, plain loops and theory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kornia.geometry.transform import remap as kornia_remap
from PIL import Image
from scipy.ndimage import correlate, gaussian_filter

from stages.lib.degrade import OPERATORS, box_only, wrong_landmarker
from stages.lib.degrade.affine import invert, remap
from stages.lib.degrade.blur import MAX_LENGTH, convolve, line_kernel, shifted
from stages.lib.degrade.colour import monochrome
from stages.lib.degrade.exposure import tone_curves
from stages.lib.degrade.fixed_point import UNIT, quantise
from stages.lib.degrade.low_resolution import SIZES
from stages.lib.degrade.misalignment import transform
from stages.lib.degrade.occluder_shapes import SHAPES
from stages.lib.degrade.resize import KERNELS, resize_matrix
from stages.lib.degrade.wrong_landmarker import CONVENTIONS
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


def test_motion_blur_is_the_convolution_in_whole_numbers(faces) -> None:
    params = {"length": np.linspace(3.0, 19.0, 12), "angle": np.linspace(0.0, 180.0, 12)}
    ours = OPERATORS["motion_blur"].apply(faces.images, params, faces.landmarks).numpy()
    kernels = quantise(line_kernel(**params).reshape(12, -1)).reshape(12, MAX_LENGTH, MAX_LENGTH)
    assert torch.equal(shifted(faces.images.float(), kernels), convolve(faces.images.float(), kernels))  # as on a GPU
    for image, made, kernel in zip(faces.images.numpy(), ours, kernels, strict=True):
        sums = [correlate(channel.astype(np.int64), kernel.astype(np.int64), mode="mirror") for channel in image]
        assert np.array_equal(made, (np.stack(sums) + UNIT // 2) // UNIT)


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


@pytest.mark.parametrize("operator", ["noise", "exposure", "mask", "occlusion"])
def test_a_monochrome_photograph_stays_monochrome(faces, operator: str) -> None:
    u = np.random.default_rng(1).random((12, OPERATORS[operator].draws))
    out = OPERATORS[operator].apply(faces.images, OPERATORS[operator].parameters(u, None), faces.landmarks).int()
    spread = (out.amax(dim=1) - out.amin(dim=1)).flatten(1).amax(dim=1)
    assert (spread[0::2] == 0).all() and (spread[1::2] > 0).all()


def test_one_pixel_of_colour_makes_a_colour_photograph() -> None:
    images = torch.full((3, 3, 112, 112), 90, dtype=torch.uint8)
    images[1, 2, 111, 111] = 91
    images[2, :, 5, 5] = 0
    assert monochrome(images).flatten().tolist() == [True, False, True]


@pytest.mark.parametrize(("mode", "border"), [("bilinear", "zeros"), ("bilinear", "border"), ("nearest", "border")])
def test_our_remap_is_kornias_to_the_last_bit(mode: str, border: str) -> None:
    values = torch.rand((3, 2, 281, 112), generator=torch.Generator().manual_seed(0))
    maps = torch.rand((2, 3, 70, 112), generator=torch.Generator().manual_seed(1)) * 320 - 20
    expected = kornia_remap(values, maps[0], maps[1], mode=mode, padding_mode=border, align_corners=True)
    assert torch.equal(remap(values, maps[0], maps[1], mode, border), expected)


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


def test_a_wrong_landmarker_is_the_fit_to_its_points() -> None:
    landmarks = np.broadcast_to(ARCFACE_TEMPLATE, (4, 5, 2))
    params = {"convention": np.array(list(CONVENTIONS)), "strength": np.ones(4)}
    expected = similarity(ARCFACE_TEMPLATE + np.array(list(CONVENTIONS.values())))[0]
    assert np.allclose(wrong_landmarker.transform(params, landmarks), expected)
    small = 0.5 * (landmarks - 56) + 56  # the offsets are the face's, not the picture's
    half = wrong_landmarker.transform(params, small)
    assert np.allclose(half[:, :, :2], 2 * expected[:, :, :2])


def test_the_points_of_the_narrow_crop_put_the_face_eight_pixels_to_the_left(faces) -> None:
    landmarks = np.broadcast_to(ARCFACE_TEMPLATE, (12, 5, 2))
    params = {"convention": np.full(12, "narrow_template"), "strength": np.ones(12)}
    out = OPERATORS["wrong_landmarker"].apply(faces.images, params, landmarks)
    assert torch.equal(out[:, :, :, :-8], faces.images[:, :, :, 8:])


def test_a_crop_by_the_box_has_the_box_in_its_middle_and_the_head_askew(faces) -> None:
    upright = {
        "roll": np.zeros(12),
        "sense": np.ones(12),
        "margin": np.full(12, 112 / 108.7),
        "shift": np.tile([0.0, 0.3], (12, 1)),
    }
    out = OPERATORS["box_only"].apply(faces.images, upright, faces.landmarks)
    assert torch.equal(out[:, :, :102, :111], faces.images[:, :, 10:, 1:]), "the middle of the box is at 56.5, 65.5"
    turned = box_only.transform(upright | {"roll": np.full(12, 30.0)})
    eyes = np.einsum("nij,npj->npi", turned[:, :, :2], faces.landmarks[:, :2]) + turned[:, None, :, 2]
    level = faces.landmarks[:, 1] - faces.landmarks[:, 0]
    across = eyes[:, 1] - eyes[:, 0]
    before, after = (np.rad2deg(np.arctan2(v[:, 1], v[:, 0])) for v in (level, across))
    assert np.allclose(after - before, 30)
    assert np.allclose(np.linalg.norm(across, axis=1), np.linalg.norm(level, axis=1))


@pytest.mark.parametrize("shape", SHAPES)
def test_outlines_of_occluders_are_distances_and_as_large_as_told(shape: str) -> None:
    axis = torch.arange(112.0) - 55.5
    x, y = axis.expand(1, 112, 112), axis[:, None].expand(1, 112, 112)
    size, aspect = torch.full((1, 1, 1), 50.0), torch.full((1, 1, 1), 1.2)
    distance = SHAPES[shape](x, y, size, aspect)[0]
    for axis_ in (0, 1):
        assert float(distance.diff(dim=axis_).abs().max()) < 1 + 1e-4
    area = float((distance < 0).sum())
    assert area == pytest.approx(2500, rel=0.3 if shape == "hand" else 0.04)
    assert float(distance[55, 55]) < -1, "the middle is inside"
