"""Seg-Distilled-ID: parsing the face as a second task over the same encoder; the decoder stays behind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from stages.lib.losses.segmentation import inverse_frequency, parse_loss, resample_labels, without_covers_alone
from stages.lib.models.parser import FaceParser
from stages.lib.objectives.base import Batch, Task, Term, View
from stages.lib.training.data import class_pixels


class Objective(Term):
    """Cross-entropy of the face's classes, told on the feature map of a stride (arXiv 2209.01115)."""

    class_weights: Tensor

    @classmethod
    def needs(cls, settings: Mapping[str, Any]) -> frozenset[str]:
        return frozenset({"parses"})

    def __init__(self, task: Task, stride: int, balance: float) -> None:
        super().__init__()
        weights = inverse_frequency(torch.tensor(class_pixels(task.faces)), balance)
        self.register_buffer("class_weights", weights, persistent=False)
        self.decoder = FaceParser(*task.taps, classes=len(weights), stride=stride)

    def forward(self, view: View, batch: Batch) -> Tensor:
        logits = self.decoder([tap.float() for tap in view.features])
        assert batch.parses is not None
        labels = resample_labels(without_covers_alone(batch.parses), *logits.shape[2:])
        return parse_loss(logits, labels, self.class_weights)
