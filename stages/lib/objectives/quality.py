"""How far the embedding of a face is to be trusted: a number that ships with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from stages.lib.errors import ConfigError
from stages.lib.losses.consistency import class_weights
from stages.lib.losses.quality import certainty_ratio, pair_label
from stages.lib.models.contract import Technique
from stages.lib.objectives.base import Batch, Task, Term, View, same_length


class Objective(Term):
    """Smooth L1 distance to what the student itself makes of the face as it is shown.

    `cr_fiqa` is the certainty ratio (CR-FIQA, Boutros et al., CVPR 2023, learnt jointly) among the teacher's class
    centres; `pair` is what the face is worth beside the teacher's template of its clean picture (LightQNet, Chen et
    al., IEEE SPL 2021). No gradient reaches the embedding through the target. As the student learns, and as faces are
    degraded, the target follows: the quality is of this model's own embeddings.
    """

    centres: Tensor

    @classmethod
    def says(cls, settings: Mapping[str, Any]) -> Technique:
        technique: Technique = settings["technique"]
        return technique

    def __init__(self, task: Task, technique: Technique) -> None:
        super().__init__()
        if "quality" not in task.heads:
            raise ConfigError("the student was built without the head that tells quality")
        same_length(task)
        self.technique = technique
        faces = task.faces
        centres = class_weights(torch.from_numpy(faces.templates), torch.from_numpy(faces.labels), len(faces.subjects))
        self.register_buffer("centres", centres, persistent=False)

    def forward(self, view: View, batch: Batch) -> Tensor:
        with torch.no_grad():
            if self.technique == "pair":
                target = pair_label(F.cosine_similarity(view.raw, batch.templates))
            else:
                target = certainty_ratio(F.normalize(view.raw) @ self.centres.T, batch.labels).clamp(0.0, 1.0)
        return F.smooth_l1_loss(torch.sigmoid(view.heads["quality"]), target, beta=0.5)
