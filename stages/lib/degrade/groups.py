"""Faces that only some of their batch can share a computation with."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Key = TypeVar("Key", bound=Hashable)


def by_group(keys: Sequence[Key], act: Callable[[Key, NDArray[np.intp]], Tensor]) -> Tensor:
    """Compute group by group what faces of one key share, and return it in the order of the faces.

    Args:
        keys: of N faces, N at least 1.
        act: a key and the places (n,) of its faces in the batch -> their results (n, ...).

    Returns:
        (N, ...), on the device of the results.
    """
    groups: dict[Key, list[int]] = {}
    for face, key in enumerate(keys):
        groups.setdefault(key, []).append(face)
    done = torch.cat([act(key, np.array(faces)) for key, faces in groups.items()])
    order = np.concatenate(list(groups.values()))
    return done.index_select(0, torch.from_numpy(order.argsort()).to(done.device))


def rows(values: Tensor, faces: NDArray[np.intp]) -> Tensor:
    """Values of some faces: `values[faces]`, which torch does slowly on a CPU."""
    return values.index_select(0, torch.from_numpy(faces).to(values.device))
