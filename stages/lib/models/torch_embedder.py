"""Embedding with a torch encoder: what validation during training and the parity gate call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.lib.models.contract import ENCODER_INPUT, Faces
from stages.lib.models.embedder import Embeddings, Norms, embed_batched
from stages.lib.models.student import FaceEncoder


class TorchEmbedder:
    """Embeds faces with an encoder on its own device.

    Attributes:
        dim: length of the embedding.
    """

    def __init__(self, encoder: FaceEncoder, batch: int = 64) -> None:
        """Wrap an encoder; its mode is left as it is between calls."""
        self._encoder = encoder
        self._batch = batch
        self.dim = encoder.architecture.embedding

    def embed(self, faces: Faces, flip: bool = False) -> tuple[Embeddings, Norms]:
        """Embed aligned faces in eval mode; see `Embedder.embed`."""
        with self._evaluating():
            return embed_batched(self._raw, faces, self.dim, self._batch, flip)

    def heads(self, faces: Faces) -> dict[str, NDArray[np.float32]]:
        """What else the encoder says in eval mode, by the name of the output; all in 0..1.

        `occlusion` (N, H, W) is the covered share of each cell of the last feature map, `quality` (N,) how far the
        embedding is to be trusted. Heads that the encoder lacks are absent.
        """
        found: dict[str, list[NDArray[np.float32]]] = {}
        with self._evaluating(), torch.inference_mode():
            for start in range(0, len(faces), self._batch):
                raw, features = self._encoder.with_features(self._prepared(faces[start : start + self._batch]))
                for name, logits in self._encoder.heads(raw, features).items():
                    found.setdefault(name, []).append(torch.sigmoid(logits).cpu().numpy())
        return {name: np.concatenate(parts) for name, parts in found.items()}

    def _raw(self, faces: Faces) -> NDArray[np.float32]:
        with torch.inference_mode():
            return np.asarray(self._encoder(self._prepared(faces)).float().cpu().numpy())

    def _prepared(self, faces: Faces) -> Tensor:
        return torch.from_numpy(ENCODER_INPUT.prepare(faces)).to(next(self._encoder.parameters()).device)

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        training = self._encoder.training
        self._encoder.eval()
        try:
            yield
        finally:
            self._encoder.train(training)
