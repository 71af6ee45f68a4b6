"""How far the embedding of a face is to be trusted: a number that ships with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor
from torch.nn import functional as F

from stages.lib.degrade import training_variant
from stages.lib.errors import ConfigError
from stages.lib.losses.consistency import class_sums
from stages.lib.losses.quality import certainty_ratio, pair_label
from stages.lib.losses.running import RunningScore
from stages.lib.models.contract import OF_TEACHER, Technique
from stages.lib.models.student import FaceEncoder
from stages.lib.objectives.base import Batch, Task, Term, View, same_length
from stages.lib.training.data import FaceSet, as_seen


class Objective(Term):
    """Smooth L1 distance to what the student itself makes of the face as it is shown, beside the teacher's templates.

    The target is stretched to 0..1 by the mean and spread of recent steps, which become 1/2 and a sixth: that of a
    small student fills little of its range, and a head that told its mean would be right enough.

    The other pictures of the person tell the target: the mean of the cosines with their clean templates. The face's own
    template has no say, or a person of one picture would get the best quality of all; such a person takes no part. Nor
    do centres tell it, to which a cosine is the higher the more pictures they are made of. `cr_fiqa` is the certainty
    ratio (CR-FIQA, Boutros et al., CVPR 2023, learnt jointly), with such means in place of the cosines with a trained
    classifier; `pair` is the label that LightQNet (Chen et al., IEEE SPL 2021) gives a mated pair of that cosine. No
    gradient reaches the embedding through the target. As the student learns, and as faces are degraded, the target
    follows: the quality is of this model's own embeddings. `teacher_cr_fiqa` and `teacher_pair` are the same of what
    the teacher makes of the face as it is shown, as LightQNet has it: the student then judges faces for another model.
    """

    sums: Tensor
    counts: Tensor

    @classmethod
    def needs(cls, settings: Mapping[str, Any]) -> frozenset[str]:
        return frozenset({"shown"} if settings["technique"] in OF_TEACHER else ())

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
        self.score = RunningScore(momentum=0.9)
        self.register_buffer("sums", class_sums(templates, labels, len(counts)), persistent=False)
        self.register_buffer("counts", counts, persistent=False)
        # of what the teacher makes of unseen faces askew nothing is known
        self._unseen = task.unseen.get("val") if technique not in OF_TEACHER else None

    def forward(self, view: View, batch: Batch) -> Tensor:
        told = (self.counts[batch.labels] > 1).nonzero()[:, 0]
        if not len(told):
            return view.raw.new_zeros(())
        target = (1.0 + self.score(self.target(view.raw.detach(), batch)[told])) / 2.0
        return F.smooth_l1_loss(torch.sigmoid(view.heads["quality"][told]), target, beta=0.5)

    def target(self, raw: Tensor, batch: Batch) -> Tensor:
        """(B,) before it is stretched; of no meaning for the only picture of a person."""
        unit = F.normalize(raw)
        if self.technique in OF_TEACHER:
            assert batch.shown is not None
            unit = batch.shown
        own = beside_others(unit, batch.templates, self.sums[batch.labels], self.counts[batch.labels])
        if not self.technique.endswith("cr_fiqa"):
            return pair_label(own)
        alike = (unit @ self.sums.T) / self.counts  # mean cosine with the pictures of each person
        return certainty_ratio(alike.scatter(1, batch.labels[:, None], own[:, None]), batch.labels)

    @torch.inference_mode()
    def figures(self, encoder: FaceEncoder) -> dict[str, float]:
        """`val_quality` and `val_quality_askew`: of unseen people, clean and with their landmarks off.

        Each is Spearman's correlation of what the student says of a face with the mean cosine of its embedding and the
        teacher's templates of the person's other pictures. Nothing, where nobody has two, nor `OF_TEACHER`.
        """
        faces = self._unseen
        if faces is None:
            return {}
        templates, labels = torch.from_numpy(faces.templates), torch.from_numpy(faces.labels)
        counts, sums = torch.bincount(labels), class_sums(templates, labels, len(faces.subjects))
        rows = (counts[labels] > 1).nonzero()[:, 0]
        found: dict[str, list[Tensor]] = {"val_quality": [], "val_quality_askew": []}
        for part, clean in as_seen(faces, rows.numpy(), str(self.sums.device)):
            for name, images in zip(found, (clean, _askew(faces, part, clean)), strict=True):
                raw = encoder(images)
                own = labels[part]
                worth = beside_others(F.normalize(raw.float()).cpu(), templates[part], sums[own], counts[own])
                found[name].append(torch.stack([encoder.quality_logits(raw).cpu(), worth]))
        told = {name: float(spearmanr(*torch.cat(said, dim=1).numpy())[0]) for name, said in found.items() if said}
        return {name: correlation for name, correlation in told.items() if np.isfinite(correlation)}


def beside_others(unit: Tensor, templates: Tensor, sums: Tensor, counts: Tensor) -> Tensor:
    """(N,) mean cosine with the person's other pictures; 0 where there are none.

    Args:
        unit: (N, D) embeddings.
        templates: (N, D) of the same faces, which have no say.
        sums: (N, D) of the templates of each face's person.
        counts: (N,) how many these are.
    """
    return (unit * (sums - templates)).sum(dim=1) / (counts - 1).clamp(min=1)


def _askew(faces: FaceSet, rows: NDArray[np.int64], images: Tensor) -> Tensor:
    """The faces as a detector that errs would have cut them out, the same ones after every epoch."""
    pixels, ids = (255 * images).round().to(torch.uint8), [faces.ids[row] for row in rows]
    moved = training_variant(pixels, ids, faces.landmarks[rows], {"misalignment": 1.0}, 0, 0, images.device)
    return moved.images.float().div_(255)
