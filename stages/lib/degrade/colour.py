"""Whether a photograph has colour."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def monochrome(images: Tensor) -> Tensor:
    """(N, 1, 1, 1) bool: the three channels are equal everywhere. Such a face must stay without colour."""
    coloured = (images[:, 1:] != images[:, :1]).flatten(1)
    # Eight answers at a time: a CPU takes ten times as long to reduce them one by one.
    return (coloured.view(torch.int64).amax(dim=1) == 0)[:, None, None, None]


def tinted(images: Tensor, tint: NDArray[np.int64]) -> Tensor:
    """(N, 3, 1, 1) colour of a thing from its RGB (N, 3); grey on a monochrome photograph."""
    colour = torch.from_numpy(tint.astype(np.float32)).to(images.device)[..., None, None]
    grey = 0.299 * colour[:, :1] + 0.587 * colour[:, 1:2] + 0.114 * colour[:, 2:]
    return torch.where(monochrome(images), grey, colour)
