"""align: five points -> the 112x112 ArcFace template, and the covariates `q_*` of every face."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.lib.codec import Pixels, decode_untrusted, encode_png
from stages.lib.errors import ConfigError
from stages.lib.fingerprint import code_version, fingerprint, sha256_file
from stages.lib.geometry.detector import FaceDetector, detector_help, find_yunet
from stages.lib.geometry.labels import move, move_dense, warp_segmentations
from stages.lib.geometry.template import SIZE, similarity
from stages.lib.geometry.warp import warp
from stages.lib.quality.covariates import covariates
from stages.lib.runtime import Runtime
from stages.lib.sources import crop_landmarks
from stages.lib.table import ShardResult, Table, conform, map_shards, reject_rows
from stages.params import Align

# Faces a batch, and the source pixels that may be decoded at once. Small batches would leave float arrays below
# 32 MB, which malloc keeps on its heap and tears to pieces: 16 faces a batch grew by 25 MB with each on LFW.
BATCH, PIXELS = 64, 2**27


@dataclass(frozen=True)
class Landmarker:
    """Five points of a face: the source's own, else a detector's, else those of the source's crop."""

    weights: Path | None
    score_threshold: float

    @cached_property
    def _detector(self) -> FaceDetector | None:
        return FaceDetector(self.weights, self.score_threshold) if self.weights else None

    def __call__(self, image: Pixels, row: dict[str, object]) -> tuple[NDArray[np.float32], str, list[float] | None]:
        """Return (5, 2) points in pixels, where they are from, and the box if one was found.

        NaN points mean that no face was found.
        """
        if row["landmarks"] is not None:
            return np.asarray(row["landmarks"], np.float32).reshape(5, 2), str(row["landmarks_from"]), None
        if self._detector is None:
            return _crop_points(str(row["source"]), image), "crop", None
        found = self._detector.detect(image)
        if found is None:
            return np.full((5, 2), np.nan, np.float32), "detector", None
        return found.landmarks, "detector", [float(v) for v in found.box]


def run(params: Align, source: Path, destination: Path, runtime: Runtime) -> Table:
    """Align every face of a table; faces without a usable fit go to rejects.

    Raises:
        ConfigError: landmarks are missing and neither detector weights nor a known crop are there.
    """
    faces = Table.open(source)
    weights = _weights(params)
    landmarker = Landmarker(weights, params.score_threshold)
    detector = sha256_file(weights) if weights else ""
    key = fingerprint(params.model_dump_json(), faces.content_id, code_version(), detector)
    function = partial(_align_shard, landmarker, params.max_residual, runtime.device)
    return map_shards(faces, destination, function, runtime.scratch / "align" / key, runtime, "align")


def _weights(params: Align) -> Path | None:
    if params.detector == "crop":
        return None
    weights = find_yunet(params.weights)
    if weights is None:
        raise ConfigError(detector_help())
    return weights


def _align_shard(landmarker: Landmarker, max_residual: float, device: str, shard: pa.Table) -> ShardResult:
    results = [_align_batch(landmarker, max_residual, device, batch) for batch in _batches(shard)]
    return ShardResult(pa.concat_tables(r.rows for r in results), pa.concat_tables(r.rejects for r in results))


def _batches(shard: pa.Table) -> Iterator[pa.Table]:
    start, pixels = 0, 0
    sizes = np.multiply(shard["width"].to_numpy(), shard["height"].to_numpy(), dtype=np.int64)
    for row, size in enumerate(sizes):
        if row > start and (row - start == BATCH or pixels + size > PIXELS):
            yield shard.slice(start, row - start)
            start, pixels = row, 0
        pixels += size
    yield shard.slice(start)


def _align_batch(landmarker: Landmarker, max_residual: float, device: str, batch: pa.Table) -> ShardResult:
    rows = batch.to_pylist()
    images = [decode_untrusted(row["image"], row["width"] * row["height"]) for row in rows]
    found = [landmarker(image, row) for image, row in zip(images, rows, strict=True)]
    points = np.stack([f[0] for f in found])
    transforms, residual = similarity(points)
    usable = np.isfinite(residual) & (residual <= max_residual)
    kept = np.flatnonzero(usable)

    faces = warp([images[i] for i in kept], transforms[kept], device)
    quality = covariates(faces, points[kept], residual[kept].astype(np.float32), device)
    columns = {
        "image": pa.array([encode_png(face) for face in faces], pa.binary()),
        "width": pa.array(np.full(len(kept), SIZE, np.int32)),
        "height": pa.array(np.full(len(kept), SIZE, np.int32)),
        "segmentation": pa.array(
            warp_segmentations([rows[i]["segmentation"] for i in kept], transforms[kept], device), pa.binary()
        ),
        "landmarks": _lists(move(points[kept], transforms[kept]).reshape(-1, 10), 10),
        "landmarks68": pa.array(
            move_dense([rows[i]["landmarks68"] for i in kept], transforms[kept]), pa.list_(pa.float32(), 136)
        ),
        "landmarks_from": pa.array([found[i][1] for i in kept], pa.string()),
        "box": pa.array([found[i][2] for i in kept], pa.list_(pa.float32(), 4)),
        "transform": _lists(transforms[kept].reshape(-1, 6), 6),
        **{name: pa.array(values, pa.float32()) for name, values in quality.items()},
    }
    rows_out = batch.take(pa.array(kept)).drop_columns([c for c in columns if c in batch.column_names])
    for name, column in columns.items():
        rows_out = rows_out.append_column(name, column)
    return ShardResult(conform(rows_out), _rejected(rows, residual, usable))


def _rejected(rows: Sequence[dict[str, object]], residual: NDArray[np.float64], usable: NDArray[np.bool_]) -> pa.Table:
    reasons = [
        f"landmarks miss the template by {r:.1f} pixels" if np.isfinite(r) else "no face found" for r in residual
    ]
    dropped = [(row, reasons[i]) for i, row in enumerate(rows) if not usable[i]]
    return reject_rows("align", [(r["name"], r["face_id"], r["subject_id"], why) for r, why in dropped])  # type: ignore[misc]


def _crop_points(source: str, image: Pixels) -> NDArray[np.float32]:
    crop = crop_landmarks(source, (image.shape[1], image.shape[0]))
    if crop is None:
        raise ConfigError(f"align.detector is `crop`, but {source!r} has no documented crop; use `yunet`")
    (width, height), points = crop
    return (points * [image.shape[1] / width, image.shape[0] / height]).astype(np.float32)


def _lists(values: NDArray[np.floating], length: int) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel(), pa.float32()), length)
