"""The parity gate: an exported file must embed as the encoder it came from, at any batch size."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from stages.lib.deploy.agreement import MIN_COSINE, Agreement, compare, head_gap, require
from stages.lib.deploy.session import HEADS, FaceModel
from stages.lib.errors import GateFailed
from stages.lib.models.contract import Faces
from stages.lib.models.embedder import Embedder
from stages.lib.models.student import FaceEncoder
from stages.lib.models.torch_embedder import TorchEmbedder

TOLERANCE: Final = 1e-3
"""Largest relative difference of a length or norm, and largest difference of what a head says."""
INT8_HEADS: Final = {"occlusion": 0.15, "quality": 0.1}
"""Largest mean difference of what a head says of a face, int8 against float32."""
BATCHES: Final = (1, 3, 64)
"""Sizes that the exported file is run at: alone, odd, and one that fills a cache."""


def parity(original: Embedder, onnx_path: Path, faces: Faces) -> Agreement:
    """Measure how the embeddings of an exported file agree with those of the model that it was made from.

    Args:
        original: the torch encoder, or the float32 file of an int8 one.
        onnx_path: the export.
        faces: (N, 112, 112, 3) RGB uint8.

    Returns:
        Figures for each face, the worst over `BATCHES`.
    """
    expected, _ = original.embed(faces)
    runs = [compare(expected, FaceModel(onnx_path, batch=batch).embed(faces)[0]) for batch in BATCHES]
    return Agreement(np.min([run.cosine for run in runs], axis=0), np.max([run.max_abs for run in runs], axis=0))


def check_parity(encoder: FaceEncoder, onnx_path: Path, faces: Faces, min_cosine: float = MIN_COSINE) -> Agreement:
    """Measure parity and refuse an export that differs.

    Raises:
        GateFailed: some face's embeddings differ, an embedding that leaves the file is not of length 1, or a norm
            or what a head says is not torch's; the figures are in the message.
    """
    embedder = TorchEmbedder(encoder)
    agreement = require(parity(embedder, onnx_path, faces), min_cosine, str(onnx_path))
    found = FaceModel(onnx_path).inspect(faces)
    _, norms = embedder.embed(faces)
    off_unit = float(np.abs(np.linalg.norm(found.embeddings, axis=1) - 1).max())
    off_norm = float(np.abs(found.norms / norms - 1).max())
    if not (off_unit < TOLERANCE and off_norm < TOLERANCE):
        raise GateFailed(f"{onnx_path}: length of an embedding off by {off_unit:.1e}, a norm by {off_norm:.1e}")
    said = embedder.heads(faces)
    for head in HEADS:
        off = head_gap(said.get(head), getattr(found, head))
        if not off < TOLERANCE:
            raise GateFailed(f"{onnx_path}: the output {head} is off by {off:.1e}")
    return agreement


def check_int8(float_path: Path, int8_path: Path, faces: Faces, min_cosine: float) -> dict[str, float]:
    """Measure what quantisation costs, and refuse a file that it wrecked.

    Args:
        float_path: the float32 file.
        int8_path: its int8 copy.
        faces: (N, 112, 112, 3) RGB uint8 that it was not calibrated on.
        min_cosine: least, between the two embeddings of a face.

    Returns:
        Figures of `Agreement`, `max_norm`, the largest relative difference of a norm, and of models with those
        outputs `max_occlusion`, the largest mean difference over a face's cells, and `max_quality`.

    Raises:
        GateFailed: no faces, or one whose embeddings, maps of what is covered or qualities differ by more.
    """
    original = FaceModel(float_path)
    agreement = require(parity(original, int8_path, faces), min_cosine, str(int8_path))
    expected, found = original.inspect(faces), FaceModel(int8_path).inspect(faces)
    figures = {**agreement.figures(), "max_norm": float(np.abs(found.norms / expected.norms - 1).max())}
    for head, allowed in INT8_HEADS.items():
        if (said := getattr(expected, head)) is not None:
            gap = float(np.abs(getattr(found, head) - said).reshape(len(faces), -1).mean(axis=1).max())
            if not gap <= allowed:
                raise GateFailed(f"{int8_path}: the output {head} of a face is off by {gap:.2f}, over {allowed}")
            figures[f"max_{head}"] = gap
    return figures
