"""Seg-Distilled-ID: parsing the face as a second task over the same encoder; the decoder stays behind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from stages.lib.classes import UNKNOWN
from stages.lib.losses.segmentation import inverse_frequency, parse_loss, resample_labels, without_covers_alone
from stages.lib.metrics.parsing import confusion, mean_iou
from stages.lib.models.parser import FaceParser
from stages.lib.models.student import FaceEncoder
from stages.lib.objectives.base import Batch, Task, Term, View
from stages.lib.training.data import FaceSet, as_seen, class_pixels


class Objective(Term):
    """Cross-entropy of the face's classes, told on the feature map of a stride (arXiv 2209.01115).

    Only faces with a parse are decoded: most photographs have none, and would learn nothing from it.
    """

    class_weights: Tensor

    @classmethod
    def needs(cls, settings: Mapping[str, Any]) -> frozenset[str]:
        return frozenset({"parses"})

    def __init__(self, task: Task, stride: int, balance: float) -> None:
        super().__init__()
        weights = inverse_frequency(torch.tensor(class_pixels(task.faces)), balance)
        self.register_buffer("class_weights", weights, persistent=False)
        self.decoder = FaceParser(*task.encoder.taps, classes=len(weights), stride=stride)
        self._unseen = task.unseen

    def forward(self, view: View, batch: Batch) -> Tensor:
        assert batch.parses is not None
        cells = view.features[self.decoder.finest].shape[2:]
        labels = without_covers_alone(resample_labels(batch.parses, *cells))
        parsed = (labels != UNKNOWN).flatten(1).any(dim=1).nonzero()[:, 0]
        if not len(parsed):
            return view.raw.new_zeros(())
        maps = view.features
        if len(parsed) < len(labels):  # maps that are finer than what is told are not read
            maps = [tap if place < self.decoder.finest else tap[parsed] for place, tap in enumerate(maps)]
        return parse_loss(self.decoder([tap.float() for tap in maps]), labels[parsed], self.class_weights)

    def figures(self, encoder: FaceEncoder) -> dict[str, float]:
        """`miou_<name>` of each set of unseen clean faces with segmentations, in the cells that the decoder tells."""
        counts = {name: self._confusion(encoder, faces) for name, faces in self._unseen.items()}
        return {f"miou_{name}": mean_iou(count) for name, count in counts.items() if count.any()}

    @torch.inference_mode()
    def _confusion(self, encoder: FaceEncoder, faces: FaceSet) -> Tensor:
        device, classes = self.class_weights.device, len(self.class_weights)
        total = torch.zeros(classes, classes, dtype=torch.int64, device=device)
        assert faces.parses is not None
        known = (faces.parses[: len(faces)] != UNKNOWN).any(axis=(1, 2)).nonzero()[0]
        for rows, images in as_seen(faces, known, str(device)):
            logits = self.decoder(encoder.with_features(images)[1])
            truth = resample_labels(torch.from_numpy(faces.parses[rows]).to(device), *logits.shape[2:])
            total += confusion(logits.argmax(1), truth, classes)
        return total
