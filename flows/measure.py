"""What the shipped model and the covariates say of captures: the rows of the capture log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from flows.blocks import blockiness
from flows.intake import Capture
from flows.rows import BLOCKS, CAPTURES, EMBEDDING, TIME
from stages.lib.codec import BadImage, Pixels, decode_untrusted
from stages.lib.deploy.session import FaceModel
from stages.lib.errors import ConfigError
from stages.lib.geometry.detector import FaceDetector, detector_help
from stages.lib.geometry.template import SIZE, similarity
from stages.lib.geometry.warp import warp
from stages.lib.quality.covariates import covariates

MAX_PIXELS: Final = 50_000_000
MAX_RESIDUAL: Final = 12.0
PIXELS: Final = 2**22  # values of decoded pictures that wait to be warped

Template = NDArray[np.float32]
Gallery = Mapping[str, Template]
"""Person -> (D,) unit embedding, of those whom people may claim to be."""


def measure(
    captures: Sequence[Capture],
    model: FaceModel,
    detector: FaceDetector | None = None,
    gallery: Gallery | None = None,
    keep_embeddings: bool = False,
    device: str = "cpu",
    max_residual: float = MAX_RESIDUAL,
    max_pixels: int = MAX_PIXELS,
) -> pa.Table:
    """Align captures, and ask the model about their faces.

    A few pictures are decoded at once, and no more than their aligned faces kept. A picture that cannot be decoded, has
    no face or is badly aligned is no error: its row says so in `rejected`, and has no measures.

    Args:
        captures: N, of any pictures.
        model: an exported model.
        detector: finds the large and central face of each picture that comes without landmarks.
        gallery: templates; a capture has a `match_score` if it claims to be one of these people.
        keep_embeddings: give them as a further column.
        device: where faces are warped and measured; the model has its own.
        max_residual: rms misfit to the template in template pixels; worse is rejected, as in `align`.
        max_pixels: of a picture; more are rejected before they are decoded.

    Returns:
        N rows of `flows.rows.CAPTURES` in the order of the captures. `occlusion` is the covered share of the aligned
        face, the mean of the model's map.

    Raises:
        ConfigError: a capture has no landmarks, and there is no detector.
    """
    found = list(_faces((_find(capture, detector, max_residual, max_pixels) for capture in captures), device))
    kept = [row for row, face in enumerate(found) if isinstance(face, _Face)]
    faces = [face for face in found if isinstance(face, _Face)]
    pixels = np.array([face.pixels for face in faces], np.uint8).reshape(-1, SIZE, SIZE, 3)
    points = np.array([face.points for face in faces], np.float32).reshape(-1, 5, 2)
    said = model.inspect(pixels)

    measures = covariates(pixels, points, [face.residual for face in faces], device)
    measures[BLOCKS] = np.array([face.blocks for face in faces], np.float32)
    measures["norm"] = said.norms
    if said.quality is not None:
        measures["quality"] = said.quality
    if said.occlusion is not None:
        measures["occlusion"] = said.occlusion.mean(axis=(1, 2))
    measures["match_score"] = _match([captures[row] for row in kept], said.embeddings, gallery or {})
    columns = {
        "capture_id": [capture.id for capture in captures],
        "time": pa.array([capture.time for capture in captures], TIME),
        "camera": [capture.camera for capture in captures],
        "model": [model.contract.version] * len(captures),
        "rejected": pa.array([None if isinstance(face, _Face) else face for face in found], pa.string()),
    }
    absent = np.full(len(kept), np.nan, np.float32)
    for name in CAPTURES.names[len(columns) :]:
        columns[name] = _spread(measures.get(name, absent), kept, len(captures))
    table = pa.table(columns, schema=CAPTURES)
    if not keep_embeddings:
        return table
    vectors: list[Template | None] = [None] * len(captures)
    for row, vector in zip(kept, said.embeddings, strict=True):
        vectors[row] = vector
    return table.append_column(EMBEDDING, pa.array(vectors, EMBEDDING.type))


@dataclass(frozen=True)
class _Face:
    """An aligned face (112, 112, 3), its five points (5, 2) in the picture, how far they miss the template, and how
    much the picture shows the blocks of its codec."""

    pixels: Pixels
    points: NDArray[np.float32]
    residual: float
    blocks: float


@dataclass(frozen=True)
class _Found:
    """A picture, the points of its face, the similarity onto the template, how far they miss it, and its blocks."""

    image: Pixels
    points: NDArray[np.float32]
    transform: NDArray[np.float64]
    residual: float
    blocks: float


def _find(capture: Capture, detector: FaceDetector | None, max_residual: float, max_pixels: int) -> _Found | str:
    """The face in a capture, or why there is none."""
    try:
        image = decode_untrusted(capture.image, max_pixels)
    except BadImage as error:
        return str(error)
    points = _points(capture, image, detector)
    if points is None:
        return "no face found"
    transforms, (residual,) = similarity(points[None])
    if not np.isfinite(residual):
        return "the landmarks fix no alignment"
    if residual > max_residual:
        return f"landmarks miss the template by {residual:.1f} pixels"
    return _Found(image, points, transforms[0], float(residual), blockiness(image, points))


def _faces(found: Iterable[_Found | str], device: str) -> Iterator[_Face | str]:
    """Warp as many pictures at once as `PIXELS` allows: one by one takes twice as long, and gives the same bytes."""
    waiting: list[_Found | str] = []
    for one in found:
        waiting.append(one)
        if sum(other.image.size for other in waiting if isinstance(other, _Found)) >= PIXELS:
            yield from _warped(waiting, device)
            waiting = []
    yield from _warped(waiting, device)


def _warped(waiting: Sequence[_Found | str], device: str) -> Iterator[_Face | str]:
    there = [one for one in waiting if isinstance(one, _Found)]
    faces = iter(warp([one.image for one in there], [one.transform for one in there], device) if there else ())
    for one in waiting:
        yield one if isinstance(one, str) else _Face(next(faces), one.points, one.residual, one.blocks)


def _points(capture: Capture, image: Pixels, detector: FaceDetector | None) -> NDArray[np.float32] | None:
    if capture.landmarks is not None:
        return np.asarray(capture.landmarks, np.float32).reshape(5, 2)
    if detector is None:
        raise ConfigError(f"{capture.name} comes without landmarks. {detector_help()}")
    found = detector.detect(image)
    return None if found is None else found.landmarks


def _match(captures: Sequence[Capture], embeddings: NDArray[np.float32], gallery: Gallery) -> NDArray[np.float32]:
    """(N,) cosine of each capture with whom it claims to be; NaN where it claims nothing that is known."""
    unknown = np.full(embeddings.shape[1], np.nan, np.float32)
    claimed = [gallery.get(capture.claimed or "", unknown) for capture in captures]
    templates = np.array(claimed, np.float32).reshape(embeddings.shape)
    return np.asarray((embeddings * templates).sum(axis=1), np.float32)


def _spread(values: NDArray[np.float32], kept: Sequence[int], count: int) -> pa.Array:
    """Values of the rows that were kept, and null elsewhere and where a value is NaN."""
    column = np.full(count, np.nan, np.float32)
    column[list(kept)] = values
    return pa.array(column, from_pandas=True)
