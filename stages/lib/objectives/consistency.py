"""CCFace: a degraded face should fall into the class that its clean face has at the teacher."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from stages.lib.losses.consistency import ConsistencyHead, class_weights, other_rows, relation_loss, soft_loss
from stages.lib.objectives.base import Batch, Task, Term, View, same_length

Form = Literal["A", "B", "C", "fixed"]


class Objective(Term):
    """L_cc + soft * L_soft + relation * L_x over the teacher's class weights (arXiv 2308.09230).

    The margin is warmed up over the first epoch. `trainable` lets the class weights of L_cc learn on, which is a
    control; L_soft keeps the teacher's. Both have one `scale`, or L_soft would outweigh what it is added to.
    """

    templates: Tensor
    classes: Tensor

    @classmethod
    def needs(cls, settings: Mapping[str, Any]) -> frozenset[str]:
        return frozenset({"templates", "shown"} if settings["form"] == "B" else {"templates"})

    def __init__(
        self,
        task: Task,
        form: Form,
        scale: float,
        margin: float,
        soft: float,
        relation: float,
        queue: int,
        trainable: bool,
    ) -> None:
        super().__init__()
        same_length(task)
        faces = task.faces
        self.soft, self.relation, self.queue = soft, relation, queue
        self.register_buffer("templates", torch.from_numpy(faces.templates), persistent=False)
        weights = class_weights(self.templates, torch.from_numpy(faces.labels), len(faces.subjects))
        self.register_buffer("classes", weights, persistent=False)
        self.head = ConsistencyHead(weights, form, scale, margin, task.steps, trainable)

    def forward(self, view: View, batch: Batch) -> Tensor:
        teacher = batch.shown if self.head.form == "B" else batch.templates
        loss = self.head(view.raw, batch.labels, teacher)
        if self.soft:
            loss = loss + self.soft * soft_loss(view.raw, batch.templates, self.classes, scale=self.head.scale)
        if self.relation:
            others = other_rows(len(self.templates), batch.faces.cpu(), self.queue, batch.generator)
            loss = loss + self.relation * relation_loss(view.raw, batch.templates, self.templates[others])
        return loss
