"""Margin loss over the training people: ArcFace, CosFace and their elastic forms."""

from __future__ import annotations

from torch import Tensor

from stages.lib.losses.margin import MarginHead
from stages.lib.objectives.base import Batch, Task, Term, View


class Objective(Term):
    """Class centres that are learned beside the student; see `MarginHead`."""

    def __init__(self, task: Task, head: str, scale: float, margin: float, sigma: float) -> None:
        super().__init__()
        self.head = MarginHead(task.embedding, len(task.faces.subjects), head, scale, margin, sigma)

    def forward(self, view: View, batch: Batch) -> Tensor:
        return self.head(view.raw, batch.labels, batch.generator)
