"""Golden vectors: faces and what the shipped model made of them, to check a model wherever it lands."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from zipfile import BadZipFile

import cv2
import numpy as np

from stages.lib.deploy.agreement import MIN_COSINE, Agreement, compare, head_gap, require
from stages.lib.deploy.session import HEADS, FaceModel, Inspection
from stages.lib.errors import ConfigError, GateFailed
from stages.lib.geometry.template import SIZE
from stages.lib.models.contract import Faces


@dataclass(frozen=True)
class Tolerance:
    """How far a sound machine may compute from the one that wrote the golden vectors.

    Attributes:
        cosine: least, of a face's embeddings.
        norm: largest relative difference of a norm.
        occlusion: largest difference of a cell.
        quality: largest difference.
    """

    cosine: float
    norm: float
    occlusion: float
    quality: float


TOLERANCES: Final = {
    "fp32": Tolerance(cosine=MIN_COSINE, norm=1e-2, occlusion=1e-2, quality=1e-2),
    # integers round the other way where a runtime orders its float steps otherwise
    "int8": Tolerance(cosine=0.99, norm=5e-2, occlusion=1e-1, quality=5e-2),
}
"""By the precision that a model's contract states."""


def stand_ins(count: int) -> Faces:
    """Smooth seeded noise (count, 112, 112, 3): it shows a broken runtime as well as faces do that may not travel."""
    coarse = np.random.default_rng(0).random((count, 14, 14, 3), np.float32)
    smooth = [cv2.resize(face, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC) for face in coarse]
    return np.rint(np.clip(smooth, 0, 1) * 255).astype(np.uint8)


def write_golden(path: Path, faces: Faces, found: Inspection) -> None:
    """Write golden vectors as plain arrays: `faces`, `embeddings`, `norms`, and of `HEADS` those that the model has.

    Equal arrays give equal bytes.

    Args:
        path: an .npz file.
        faces: (N, 112, 112, 3) RGB uint8.
        found: what the model says of them.

    Raises:
        ValueError: the arrays do not belong together.
    """
    arrays = {name: array for name, array in vars(found).items() if array is not None}
    if any(len(array) != len(faces) for array in arrays.values()):
        raise ValueError(f"{len(faces)} faces and { ({name: len(array) for name, array in arrays.items()}) }")
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, faces=faces, **arrays)


def verify_golden(onnx_path: Path, golden_path: Path) -> Agreement:
    """Run an exported model on its golden faces and hold it to `TOLERANCES`.

    Raises:
        ConfigError: the golden file is missing or damaged, or the model is not an exported one.
        GateFailed: the model gives other embeddings, norms, maps of what is covered or qualities.
    """
    faces, golden = _read(golden_path)
    model = FaceModel(onnx_path)
    allowed = TOLERANCES[model.contract.precision]
    found = model.inspect(faces)
    if found.embeddings.shape != golden.embeddings.shape:
        raise GateFailed(f"{onnx_path}: embeddings {found.embeddings.shape}, golden ones {golden.embeddings.shape}")
    agreement = require(compare(golden.embeddings, found.embeddings), allowed.cosine, str(onnx_path))
    if not np.allclose(found.norms, golden.norms, rtol=allowed.norm):
        raise GateFailed(
            f"{onnx_path}: norms differ from golden by up to {np.abs(found.norms - golden.norms).max():.3g}"
        )
    for head in HEADS:
        gap = head_gap(getattr(golden, head), getattr(found, head))
        if not gap <= getattr(allowed, head):
            raise GateFailed(f"{onnx_path}: the output {head} differs from golden by up to {gap:.3g}")
    return agreement


def _read(path: Path) -> tuple[Faces, Inspection]:
    try:
        with np.load(path, allow_pickle=False) as golden:
            arrays = dict(golden)
        return arrays.pop("faces"), Inspection(**arrays)
    except (OSError, EOFError, ValueError, KeyError, TypeError, BadZipFile, zlib.error) as error:
        raise ConfigError(f"{path} holds no golden vectors: {error}; run the export stage") from error
