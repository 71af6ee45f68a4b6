"""Which parts of the face are covered: a map that ships with the embedding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from stages.lib.classes import COVERS
from stages.lib.errors import ConfigError
from stages.lib.objectives.base import Batch, Task, Term, View


class Objective(Term):
    """Binary cross-entropy of each cell of the last feature map with the share of it that is covered.

    A pixel of unknown class counts as bare. Photographs come without a segmentation, so a real hand before a face is
    learnt as bare; what was drawn on them is known.
    """

    @classmethod
    def needs(cls, settings: Mapping[str, Any]) -> frozenset[str]:
        return frozenset({"parses"})

    @classmethod
    def says(cls, settings: Mapping[str, Any]) -> bool:
        return True

    def __init__(self, task: Task) -> None:
        super().__init__()
        if task.encoder.occlusion is None:
            raise ConfigError("the student was built without the head that tells what is covered")

    def forward(self, view: View, batch: Batch) -> Tensor:
        logits = view.heads["occlusion"].float()
        assert batch.parses is not None
        covered = sum((batch.parses == label).float() for label in COVERS)
        assert isinstance(covered, Tensor)
        share = F.adaptive_avg_pool2d(covered[:, None], (logits.shape[1], logits.shape[2]))[:, 0]
        return F.binary_cross_entropy_with_logits(logits, share)
