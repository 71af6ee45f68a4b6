"""Descriptions of people and shots -> tensors, one row an image."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

import numpy as np
import torch
from torch import Tensor


def column(
    items: Sequence[object], name: str, device: torch.device | str, dtype: torch.dtype = torch.float32
) -> Tensor:
    """One field of every item.

    Args:
        items: B identities or shots.
        name: path of a numeric field, such as `skin.tone`.
        device: where the tensor goes.
        dtype: of the tensor.

    Returns:
        (B, ...) with the field's own shape behind B.
    """
    field = attrgetter(name)
    return torch.as_tensor(np.asarray([field(item) for item in items]), dtype=dtype).to(device)


def flag(items: Sequence[object], name: str, *values: object, device: torch.device | str) -> Tensor:
    """(B,) bool: whether the field of an item is one of the values."""
    field = attrgetter(name)
    return torch.tensor([field(item) in values for item in items], dtype=torch.bool, device=device)
