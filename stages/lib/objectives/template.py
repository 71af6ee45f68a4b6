"""MaskInv: towards the teacher's template of the clean face, whatever the student is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from stages.lib.losses.template import template_loss
from stages.lib.objectives.base import Batch, Task, Term, View, same_length


class Objective(Term):
    """1 - cos to the template (arXiv 2112.05646, written as a cosine)."""

    @classmethod
    def needs(cls, settings: Mapping[str, Any]) -> frozenset[str]:
        return frozenset({"templates"})

    def __init__(self, task: Task) -> None:
        super().__init__()
        same_length(task)

    def forward(self, view: View, batch: Batch) -> Tensor:
        return template_loss(view.raw, batch.templates)
