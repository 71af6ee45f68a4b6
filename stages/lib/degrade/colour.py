"""Whether a photograph has colour."""

from __future__ import annotations

from torch import Tensor


def monochrome(images: Tensor) -> Tensor:
    """(N, 1, 1, 1) bool: the three channels are equal everywhere. Such a face must stay without colour."""
    grey = (images == images[:, :1]).flatten(1).all(dim=1)
    return grey[:, None, None, None]
