"""The parity gate: an exported file must embed as the encoder it came from, at any batch size."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from stages.lib.deploy.agreement import MIN_COSINE, Agreement, compare, require
from stages.lib.deploy.session import FaceModel
from stages.lib.models.contract import Faces
from stages.lib.models.student import FaceEncoder
from stages.lib.models.torch_embedder import TorchEmbedder

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
        GateFailed: some face's embeddings differ; the figures are in the message.
    """
    return require(parity(encoder, onnx_path, faces), min_cosine, str(onnx_path))
