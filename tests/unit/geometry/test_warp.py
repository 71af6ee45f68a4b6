from __future__ import annotations

import cv2
import numpy as np
import pytest

from stages.lib.geometry.template import ARCFACE_TEMPLATE, SIZE, similarity
from stages.lib.geometry.warp import warp


def scene(height: int, width: int, seed: int, sigma: float = 2.0) -> np.ndarray:
    """A smooth random picture, so that interpolation and not noise is compared."""
    noise = np.random.default_rng(seed).uniform(0, 255, (height, width, 3))
    smooth = cv2.GaussianBlur(noise, (0, 0), sigma)
    low, high = smooth.min(), smooth.max()
    return ((smooth - low) / (high - low) * 255).astype(np.uint8)


def placed(scale: float, degrees: float, x: float, y: float) -> np.ndarray:
    """The transform of a face that is `scale` times the template, turned, at (x, y)."""
    turn = np.exp(1j * np.deg2rad(degrees)) * scale
    points = (ARCFACE_TEMPLATE - 56.0) @ np.array([[turn.real, turn.imag], [-turn.imag, turn.real]]) + [x, y]
    return similarity(points[None])[0][0]


def test_the_identity_cuts_the_corner_out() -> None:
    image = scene(150, 130, seed=0)
    (face,) = warp([image], np.array([[[1.0, 0, -7], [0, 1, -11]]]), "cpu")
    np.testing.assert_array_equal(face, image[11 : 11 + SIZE, 7 : 7 + SIZE])


@pytest.mark.parametrize("scale", [0.3, 0.8, 1.0, 1.45])
@pytest.mark.parametrize("degrees", [-45.0, 0.0, 12.0, 170.0])
def test_agrees_with_opencv_where_nothing_aliases(scale: float, degrees: float) -> None:
    image, matrix = scene(260, 300, seed=1), placed(scale, degrees, 150, 120)
    (face,) = warp([image], matrix[None], "cpu")
    expected = cv2.warpAffine(image, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR)
    difference = np.abs(face.astype(int) - expected.astype(int))
    assert difference.mean() < 0.5
    assert difference.max() <= 8  # OpenCV rounds coordinates to 1/32 pixel


def test_agrees_with_opencv_over_the_edge() -> None:
    image, matrix = scene(90, 80, seed=2), placed(1.1, 20, 10, 70)
    (face,) = warp([image], matrix[None], "cpu")
    expected = cv2.warpAffine(image, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR)
    assert (face == 0).all(axis=-1).mean() > 0.3
    assert np.abs(face.astype(int) - expected.astype(int)).mean() < 0.5


def test_a_great_reduction_averages_and_stays_in_place() -> None:
    checks = np.indices((700, 700)).sum(axis=0) % 2 * 255
    image = np.repeat(checks[..., None], 3, axis=2).astype(np.uint8)
    (grey,) = warp([image], placed(6.0, 0, 350, 350)[None], "cpu")
    assert np.abs(grey.astype(int) - 127).max() <= 3  # sampled without averaging this is black and white

    smooth, matrix = scene(700, 700, seed=3, sigma=30), placed(5.3, 25, 340, 360)
    (face,) = warp([smooth], matrix[None], "cpu")
    expected = cv2.warpAffine(smooth, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR)
    assert np.abs(face.astype(int) - expected.astype(int)).mean() < 0.6


def test_classes_are_shrunk_onto_the_pixels_that_they_name() -> None:
    matrices = np.stack([placed(3.5 + place / 20, 0, 350 + place / 7, 350) for place in range(20)])
    half = np.repeat((np.arange(700) >= 350)[None, :, None], 700, axis=0).astype(np.uint8)
    seen = warp([255 * half] * 20, matrices, "cpu")[:, 56, :, 0] / 255
    named = warp([half] * 20, matrices, "cpu", classes=True)[:, 56, :, 0]
    assert (seen.sum(axis=1) - named.sum(axis=1)).mean() == pytest.approx(0, abs=0.15)  # template pixels


def test_a_face_has_the_same_bytes_alone_and_in_any_batch() -> None:
    images = [scene(60 + 17 * k, 90 + 23 * (k % 5), seed=k) for k in range(40)]
    matrices = np.stack([placed(0.2 + 0.07 * k, 9.0 * k, 45, 40) for k in range(40)])
    together = warp(images, matrices, "cpu")
    backwards = warp(images[::-1], matrices[::-1], "cpu")[::-1]
    alone = np.concatenate([warp([image], matrix[None], "cpu") for image, matrix in zip(images, matrices, strict=True)])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(together, backwards)


def test_a_face_outside_its_image_is_black() -> None:
    faces = warp([scene(40, 40, seed=0)], placed(1.0, 0, 5000, 5000)[None], "cpu")
    assert faces.shape == (1, SIZE, SIZE, 3)
    assert not faces.any()


def test_no_faces_and_bad_arguments() -> None:
    assert warp([], np.empty((0, 2, 3)), "cpu").shape == (0, SIZE, SIZE, 3)
    image = scene(40, 40, seed=0)
    with pytest.raises(ValueError, match="transform 0 is not finite"):
        warp([image], np.full((1, 2, 3), np.nan), "cpu")
    with pytest.raises(ValueError, match="1 images but 2 transforms"):
        warp([image], np.zeros((2, 2, 3)), "cpu")
    with pytest.raises(ValueError, match="expected uint8"):
        warp([image[..., 0]], placed(1, 0, 20, 20)[None], "cpu")
