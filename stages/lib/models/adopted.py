"""An embedding model from elsewhere: an ONNX file and the input contract that its makers state."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from stages.lib.errors import ConfigError
from stages.lib.geometry.template import SIZE
from stages.lib.models.contract import Faces, InputContract
from stages.lib.models.embedder import Embeddings, Norms, embed_batched
from stages.lib.models.onnx_mend import mend_onnx
from stages.lib.models.onnx_session import check_input, open_session

BATCH = 8
"""Faces a run: the fastest for the teachers measured on a CPU, whose caches larger batches overflow."""


class AdoptedModel:
    """Embeds faces with somebody else's ONNX model; its first output is the raw embedding.

    A model of another size gets aligned faces of 112x112 resized. One that gives a single number, as quality networks
    do, embeds into one dimension: the number is its direction, 1 or -1, times the norm.

    Attributes:
        dim: length of the embedding.
        batch: faces a run; 1 where the graph turned out to fix it.
    """

    def __init__(self, path: Path, contract: InputContract, threads: int = 1, batch: int = BATCH) -> None:
        """Open and probe the model.

        Args:
            path: an .onnx file.
            contract: the input that the model was made for; no file states it, so it must be declared.
            threads: that one run may use.
            batch: most faces a run.

        Raises:
            ConfigError: no such file, not ONNX, not the contract's input, or no embedding comes out.
        """
        self.contract = contract
        self._session = open_session(_mended(path), threads, str(path), fold_weights=True)
        self._input = check_input(self._session, contract, str(path))
        probe = np.random.default_rng(0).integers(0, 256, (2, contract.size, contract.size, 3), dtype=np.uint8)
        single = self._probe(probe, 1)
        if single is None or single.ndim != 2 or len(single) != 2:
            raise ConfigError(f"{path}: one face does not give one embedding (1, dim)")
        self.dim = int(single.shape[1])
        together = self._probe(probe, 2)
        free = together is not None and np.allclose(single, together, rtol=1e-2, atol=1e-2 * np.abs(single).max())
        self.batch = batch if free else 1

    def embed(self, faces: Faces, flip: bool = False) -> tuple[Embeddings, Norms]:
        """Embed aligned faces; see `Embedder.embed`."""
        return embed_batched(self._raw, faces, self.dim, self.batch, flip)

    def _raw(self, faces: Faces) -> NDArray[np.float32]:
        side = self.contract.size
        if side != SIZE and faces.shape[1:] == (SIZE, SIZE, 3):
            smaller = [cv2.resize(face, (side, side), interpolation=cv2.INTER_LINEAR) for face in faces]
            faces = np.stack(smaller) if smaller else np.empty((0, side, side, 3), np.uint8)
        prepared = self.contract.prepare(faces)
        return np.asarray(self._session.run(None, {self._input: prepared})[0], dtype=np.float32)

    def _probe(self, faces: Faces, batch: int) -> NDArray[np.float32] | None:
        """Embeddings of the faces, `batch` at a time; nothing where the graph cannot run so."""
        try:
            parts = [self._raw(faces[start : start + batch]) for start in range(0, len(faces), batch)]
            return np.concatenate(parts)
        except Exception:  # onnxruntime has one class per status, with no common base
            return None


def _mended(path: Path) -> bytes:
    try:
        return mend_onnx(onnx.load(path)).SerializeToString()
    except FileNotFoundError as error:
        raise ConfigError(f"{path} is missing; put the model there or name another") from error
    except DecodeError as error:
        raise ConfigError(f"{path} is not an ONNX model: {error}") from error
