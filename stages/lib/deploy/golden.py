"""Golden vectors: faces and what the shipped model made of them, to check a model wherever it lands."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from zipfile import BadZipFile

import numpy as np

from stages.lib.deploy.agreement import MIN_COSINE, Agreement, compare, require
from stages.lib.deploy.session import FaceModel
from stages.lib.errors import ConfigError, GateFailed
from stages.lib.models.contract import Faces
from stages.lib.models.embedder import Embeddings, Norms

ARRAYS: Final = ("faces", "embeddings", "norms")
NORM_TOLERANCE: Final = 1e-2
"""Largest relative difference of a norm."""


def write_golden(path: Path, faces: Faces, embeddings: Embeddings, norms: Norms) -> None:
    """Write golden vectors as plain arrays; equal arrays give equal bytes.

    Args:
        path: an .npz file.
        faces: (N, 112, 112, 3) RGB uint8.
        embeddings: (N, D) unit embeddings of the faces.
        norms: (N,) norms of their raw embeddings.

    Raises:
        ValueError: the arrays do not belong together.
    """
    if not len(faces) == len(embeddings) == len(norms):
        raise ValueError(f"{len(faces)} faces, {len(embeddings)} embeddings and {len(norms)} norms")
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, faces=faces, embeddings=embeddings, norms=norms)


def verify_golden(onnx_path: Path, golden_path: Path, min_cosine: float = MIN_COSINE) -> Agreement:
    """Run an exported model on its golden faces.

    Raises:
        ConfigError: the golden file is missing or damaged, or the model is not an exported one.
        GateFailed: the model gives other embeddings or norms.
    """
    try:
        with np.load(golden_path, allow_pickle=False) as golden:
            faces, embeddings, norms = (golden[name] for name in ARRAYS)
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise ConfigError(f"{golden_path} holds no golden vectors: {error}; run the export stage") from error
    found, lengths = FaceModel(onnx_path).embed(faces)
    if found.shape != embeddings.shape:
        raise GateFailed(f"{onnx_path}: embeddings {found.shape}, golden ones {embeddings.shape}")
    agreement = require(compare(embeddings, found), min_cosine, str(onnx_path))
    if not np.allclose(lengths, norms, rtol=NORM_TOLERANCE):
        raise GateFailed(f"{onnx_path}: norms differ from golden by up to {np.abs(lengths - norms).max():.3g}")
    return agreement
