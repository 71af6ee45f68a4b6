"""How far the embedding of a face is to be trusted: a number that ships with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from stages.lib.errors import ConfigError
from stages.lib.losses.consistency import class_sums
from stages.lib.losses.quality import certainty_ratio, pair_label
from stages.lib.models.contract import Technique
from stages.lib.objectives.base import Batch, Task, Term, View, same_length


class Objective(Term):
    """Smooth L1 distance to what the student itself makes of the face as it is shown, beside the teacher's templates.

    The other pictures of the person tell the target: the mean of the cosines with their clean templates. The face's own
    template has no say, or a person of one picture would get the best quality of all; such a person takes no part. Nor
    do centres tell it, to which a cosine is the higher the more pictures they are made of. `cr_fiqa` is the certainty
    ratio (CR-FIQA, Boutros et al., CVPR 2023, learnt jointly), with such means in place of the cosines with a trained
    classifier; `pair` is the label that LightQNet (Chen et al., IEEE SPL 2021) gives a mated pair of that cosine. No
    gradient reaches the embedding through the target. As the student learns, and as faces are degraded, the target
    follows: the quality is of this model's own embeddings.
    """

    sums: Tensor
    counts: Tensor

    @classmethod
    def says(cls, settings: Mapping[str, Any]) -> Technique:
        technique: Technique = settings["technique"]
        return technique

    def __init__(self, task: Task, technique: Technique) -> None:
        super().__init__()
        if task.encoder.quality is None:
            raise ConfigError("the student was built without the head that tells quality")
        same_length(task)
        templates, labels = torch.from_numpy(task.faces.templates), torch.from_numpy(task.faces.labels)
        counts = torch.bincount(labels, minlength=len(task.faces.subjects))
        if counts.max() < 2:
            raise ConfigError("nobody to learn from has two faces: no picture can be told by another what it is worth")
        self.technique = technique
        self.register_buffer("sums", class_sums(templates, labels, len(counts)), persistent=False)
        self.register_buffer("counts", counts, persistent=False)

    def forward(self, view: View, batch: Batch) -> Tensor:
        target = self.target(view.raw.detach(), batch)
        loss = F.smooth_l1_loss(torch.sigmoid(view.heads["quality"]), target, beta=0.5, reduction="none")
        told = self.counts[batch.labels] > 1
        return (loss * told).sum() / told.sum().clamp(min=1)

    def target(self, raw: Tensor, batch: Batch) -> Tensor:
        """(B,) in 0..1; of no meaning for the only picture of a person."""
        unit, place = F.normalize(raw), batch.labels[:, None]
        alike = (unit @ self.sums.T) / self.counts  # mean cosine with the pictures of each person
        others = (self.counts[batch.labels] - 1).clamp(min=1)
        own = (unit * (self.sums[batch.labels] - batch.templates)).sum(dim=1) / others
        if self.technique == "pair":
            return pair_label(own)
        return certainty_ratio(alike.scatter(1, place, own[:, None]), batch.labels).clamp(0.0, 1.0)
