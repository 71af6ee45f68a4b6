"""The parity gate: an exported file must embed as the encoder it came from, at any batch size."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from stages.lib.deploy.agreement import MIN_COSINE, Agreement, compare, require
from stages.lib.deploy.session import FaceModel
from stages.lib.errors import GateFailed
from stages.lib.models.contract import Faces
from stages.lib.models.student import FaceEncoder
from stages.lib.models.torch_embedder import TorchEmbedder

TOLERANCE: Final = 1e-3
"""Largest relative difference of a length or norm."""
BATCHES: Final = (1, 3, 64)
"""Sizes that the exported file is run at: alone, odd, and one that fills a cache."""


def parity(encoder: FaceEncoder, onnx_path: Path, faces: Faces) -> Agreement:
    """Measure how an exported file agrees with its encoder.

    Args:
        encoder: the torch original.
        onnx_path: the export.
        faces: (N, 112, 112, 3) RGB uint8.

    Returns:
        Figures for each face, the worst over `BATCHES`.
    """
    expected, _ = TorchEmbedder(encoder).embed(faces)
    runs = [compare(expected, FaceModel(onnx_path, batch=batch).embed(faces)[0]) for batch in BATCHES]
    return Agreement(np.min([run.cosine for run in runs], axis=0), np.max([run.max_abs for run in runs], axis=0))


def check_parity(encoder: FaceEncoder, onnx_path: Path, faces: Faces, min_cosine: float = MIN_COSINE) -> Agreement:
    """Measure parity and refuse an export that differs.

    Raises:
        GateFailed: some face's embeddings differ, an embedding that leaves the file is not of length 1, or a norm
            is not torch's; the figures are in the message.
    """
    agreement = require(parity(encoder, onnx_path, faces), min_cosine, str(onnx_path))
    embeddings, norms = FaceModel(onnx_path).served(faces)
    _, expected = TorchEmbedder(encoder).embed(faces)
    off_unit = float(np.abs(np.linalg.norm(embeddings, axis=1) - 1).max())
    off_norm = float(np.abs(norms / expected - 1).max())
    if not (off_unit < TOLERANCE and off_norm < TOLERANCE):
        raise GateFailed(f"{onnx_path}: length of an embedding off by {off_unit:.1e}, a norm by {off_norm:.1e}")
    return agreement
