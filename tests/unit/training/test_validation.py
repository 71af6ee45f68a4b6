"""What is measured after an epoch: clean templates against degraded probes of unseen people."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stages.lib.training.data import FaceSet
from stages.lib.training.validation import Validation


class Lookup(nn.Module):
    """Gives each image the vector that is written down for it."""

    def __init__(self, images: np.ndarray, vectors: np.ndarray) -> None:
        super().__init__()
        self.table = {image.tobytes(): vector for image, vector in zip(images, vectors, strict=True)}

    def forward(self, faces: Tensor) -> Tensor:
        images = (faces.permute(0, 2, 3, 1) * 255).round().byte().numpy()
        return torch.from_numpy(np.stack([self.table[image.tobytes()] for image in images]))


def test_the_figures_are_those_of_a_loop(make_faces: Callable[..., FaceSet]) -> None:
    faces = make_faces(count=6, variants=2)
    vectors = np.random.default_rng(0).normal(size=(18, 16)).astype(np.float32)
    figures = Validation(faces, "cpu")(Lookup(faces.images, vectors))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    probes = unit[faces.variants[:, 0]]
    cosines = [probe @ template for probe, template in zip(probes, faces.templates, strict=True)]
    assert figures["val_template"] == pytest.approx(np.mean(cosines))
    assert type(figures["val_eer"]) is float  # a numpy scalar would make the checkpoint unreadable
    assert 0 < figures["val_eer"] <= 1


def test_a_perfect_encoder_and_one_of_another_length(make_faces: Callable[..., FaceSet]) -> None:
    faces = make_faces(count=6, variants=1)
    person = np.eye(3, dtype=np.float32)[np.concatenate([faces.labels, faces.labels])]
    figures = Validation(faces, "cpu")(Lookup(faces.images, person))
    assert figures == {"val_eer": 0.0}  # three numbers cannot be compared with templates of sixteen
    clean_only = replace(faces, variants=np.empty((6, 0), np.int64))
    assert Validation(clean_only, "cpu")(Lookup(faces.images, person)) == {"val_eer": 0.0}
