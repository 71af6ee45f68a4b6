"""Embedding with a torch encoder: what validation during training and the parity gate call."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

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
        training = self._encoder.training
        self._encoder.eval()
        try:
            return embed_batched(self._raw, faces, self.dim, self._batch, flip)
        finally:
            self._encoder.train(training)

    def _raw(self, faces: Faces) -> NDArray[np.float32]:
        device = next(self._encoder.parameters()).device
        with torch.inference_mode():
            batch = torch.from_numpy(ENCODER_INPUT.prepare(faces)).to(device)
            return np.asarray(self._encoder(batch).float().cpu().numpy())
