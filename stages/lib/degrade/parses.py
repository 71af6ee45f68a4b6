"""Stored segmentations of degraded faces, and what their recorded recipes do to labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from stages.lib.classes import UNKNOWN
from stages.lib.codec import decode_classes, encode_png
from stages.lib.degrade.chain import relabel
from stages.lib.degrade.registry import OPERATORS
from stages.lib.geometry.template import SIZE

_MOVE: Final = tuple(f'"{name}"' for name, operator in OPERATORS.items() if operator.moves)
_COVER: Final = tuple(f'"{name}"' for name, operator in OPERATORS.items() if operator.relabel and not operator.moves)
_UNSEEN: Final = encode_png(np.full((SIZE, SIZE), UNKNOWN, np.uint8))


def moves(steps: str) -> bool:
    """Whether a recipe (JSON, as in `d_params`) moves the face within the picture."""
    return any(name in steps for name in _MOVE)


def covers(steps: str) -> bool:
    """Whether a recipe draws something before the face."""
    return any(name in steps for name in _COVER)


def degraded_parses(
    parents: Sequence[bytes | None], landmarks: NDArray[np.float32], params: Sequence[str], device: str
) -> list[bytes | None]:
    """Segmentations of degraded faces; where no step moves or covers anything, the parent's own.

    A face without one of its own has one as soon as it is covered: what covers it, and all else unknown.

    Args:
        parents: N encoded segmentations of the clean faces, None where there is none.
        landmarks: (N, 5, 2) of the clean faces, pixels.
        params: N recipes.
        device: to compute on.
    """
    out = list(parents)
    rows = [n for n, steps in enumerate(params) if covers(steps) or (parents[n] and moves(steps))]
    if rows:
        before = torch.from_numpy(np.stack([decode_classes(parents[row] or _UNSEEN) for row in rows]))
        after = relabel(before, landmarks[rows], [params[row] for row in rows], device).cpu().numpy()
        for row, classes in zip(rows, after, strict=True):
            out[row] = encode_png(classes)
    return out
