"""The one face of every model that turns aligned faces into embeddings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stages.lib.models.contract import Faces

Embeddings = NDArray[np.float32]
Norms = NDArray[np.float32]

_TINY = np.float32(1e-12)


class Embedder(Protocol):
    """Anything that embeds aligned faces: an exported student, an adopted teacher, a peer."""

    @property
    def dim(self) -> int:
        """Length of the embedding."""
        ...

    def embed(self, faces: Faces, flip: bool = False) -> tuple[Embeddings, Norms]:
        """Embed aligned faces.

        Args:
            faces: (N, 112, 112, 3) RGB uint8; N may be 0.
            flip: average the raw embedding with that of the mirror image before normalising.

        Returns:
            Unit embeddings (N, dim) and the norms (N,) of the raw embeddings that they came from.
        """
        ...


def unit(raw: NDArray[np.float32]) -> tuple[Embeddings, Norms]:
    """Split raw embeddings (N, dim) into direction and length; a zero vector stays zero."""
    norms = np.linalg.norm(raw, axis=1).astype(np.float32)
    return (raw / np.maximum(norms, _TINY)[:, None]).astype(np.float32), norms


def embed_batched(
    run: Callable[[Faces], NDArray[np.float32]], faces: Faces, dim: int, batch: int, flip: bool
) -> tuple[Embeddings, Norms]:
    """Run a model over faces a batch at a time.

    Args:
        run: gives the raw embeddings (n, dim) of n <= `batch` faces.
        faces: (N, H, W, 3) RGB uint8.
        dim: length of the embedding.
        batch: most faces in one call.
        flip: average each raw embedding with that of the mirror image, so that norms keep their scale.

    Returns:
        Unit embeddings (N, dim) and norms (N,).
    """
    raw = np.empty((len(faces), dim), np.float32)
    for start in range(0, len(faces), batch):
        part = faces[start : start + batch]
        values = run(part)
        raw[start : start + batch] = (values + run(part[:, :, ::-1])) / 2 if flip else values
    return unit(raw)
