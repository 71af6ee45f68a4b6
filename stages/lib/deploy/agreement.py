"""How two models, or one model on two days, agree on the same faces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stages.lib.errors import GateFailed
from stages.lib.models.embedder import Embeddings

MIN_COSINE: Final = 0.9999


@dataclass(frozen=True)
class Agreement:
    """Figures face by face.

    Attributes:
        cosine: (N,) between the two unit embeddings.
        max_abs: (N,) largest difference of one component.
    """

    cosine: NDArray[np.float32]
    max_abs: NDArray[np.float32]

    def figures(self) -> dict[str, float]:
        """Worst and mean figures, for reports."""
        return {
            "faces": float(len(self.cosine)),
            "min_cosine": float(self.cosine.min()),
            "mean_cosine": float(self.cosine.mean()),
            "max_abs": float(self.max_abs.max()),
        }


def compare(expected: Embeddings, found: Embeddings) -> Agreement:
    """Agreement of unit embeddings (N, D), row by row."""
    return Agreement((expected * found).sum(axis=1), np.abs(expected - found).max(axis=1))


def head_gap(expected: NDArray[np.float32] | None, found: NDArray[np.float32] | None) -> float:
    """Largest difference of what a head says of N faces: 0 where neither model has it, infinite where one lacks it."""
    if expected is None or found is None:
        return 0.0 if expected is found else np.inf
    return float(np.abs(expected - found).max())


def require(agreement: Agreement, min_cosine: float, what: str) -> Agreement:
    """Pass the figures on where every face agrees.

    Raises:
        GateFailed: no faces, or one below `min_cosine`; not-a-number counts as below.
    """
    if len(agreement.cosine) == 0:
        raise GateFailed(f"{what}: no faces to compare")
    bad = ~(agreement.cosine >= min_cosine)
    if bad.any():
        raise GateFailed(
            f"{what}: {int(bad.sum())} of {len(bad)} faces below cosine {min_cosine}; worst "
            f"{float(agreement.cosine.min()):.6f}, largest difference {float(agreement.max_abs.max()):.2e}"
        )
    return agreement
