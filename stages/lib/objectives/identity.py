"""Margin loss over the training people: ArcFace, CosFace, their elastic forms, and MagFace."""

from __future__ import annotations

from torch import Tensor

from stages.lib.errors import ConfigError
from stages.lib.losses.margin import SHORTEST, MarginHead
from stages.lib.objectives.base import Batch, Task, Term, View


class Objective(Term):
    """Class centres that are learned beside the student; see `MarginHead`."""

    def __init__(self, task: Task, head: str, scale: float, margin: float, sigma: float) -> None:
        """Draw the centres.

        Raises:
            ConfigError: the head is unknown, or `magface` of an embedding too short for it.
        """
        super().__init__()
        self.head = MarginHead(task.embedding, len(task.faces.subjects), head, scale, margin, sigma)
        begins = task.embedding**0.5  # of as many numbers of variance 1, which batch normalisation gives
        if self.head.magnitude and begins < SHORTEST:
            raise ConfigError(
                f"magface tells lengths from {SHORTEST:g} apart, an embedding of {task.embedding} begins with one of "
                f"{begins:.0f}: give the student an `embedding` of 128 at least"
            )

    def forward(self, view: View, batch: Batch) -> Tensor:
        return self.head(view.raw, batch.labels, batch.generator)
