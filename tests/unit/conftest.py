"""Faces in memory, as the loop sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from stages.lib.classes import UNKNOWN
from stages.lib.geometry.template import ARCFACE_TEMPLATE
from stages.lib.models.student import FaceEncoder, build_encoder
from stages.lib.training.data import FaceSet

DIM = 16


def student(embedding: int = DIM, **says: Any) -> FaceEncoder:
    """The smallest of ours, untrained, with the heads asked for."""
    return build_encoder("compact_tiny", embedding, **says)


@pytest.fixture
def make_faces() -> Callable[..., FaceSet]:
    """Faces of smooth noise, two to a person, each with darker variants of itself and a random template.

    Parsed faces say of each pixel whether its red is bright (1) or not (0); every fourth clean face has no parse.
    """

    def make(count: int = 8, variants: int = 2, size: int = 112, parsed: bool = False) -> FaceSet:
        random = np.random.default_rng(count)
        coarse = random.integers(0, 256, (count, 7, 7, 3), np.uint8)
        clean = coarse.repeat(size // 7, axis=1).repeat(size // 7, axis=2)
        darker = [clean // (2 + v) for v in range(variants)]
        templates = random.normal(size=(count, DIM))
        bright = (clean[..., 0] > 127).astype(np.uint8)
        bright[3::4] = UNKNOWN
        return FaceSet(
            np.concatenate([clean, *darker]),
            count * (1 + np.arange(variants)) + np.arange(count)[:, None],
            np.arange(count) // 2,
            tuple(f"p{n}" for n in range(count // 2)),
            (templates / np.linalg.norm(templates, axis=1, keepdims=True)).astype(np.float32),
            np.concatenate([bright] * (1 + variants)) if parsed else None,
            ids=tuple(f"{n:02d}" for n in range(count)),
            landmarks=np.tile(ARCFACE_TEMPLATE.astype(np.float32), (count, 1, 1)),
        )

    return make


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums in one order, so that equal runs are equal to the bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
