"""AI-KD: the quality of a face should not depend on how well its detector placed it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from stages.lib.degrade import training_variant
from stages.lib.errors import ConfigError
from stages.lib.geometry.template import ARCFACE_TEMPLATE
from stages.lib.losses.template import template_loss
from stages.lib.models.student import FaceEncoder
from stages.lib.objectives.base import Batch, Task, Term, View


class Objective(Term):
    """(1 - cos(e, e')) * feature + SmoothL1_0.5(q', q), where e and q are of the face as it is shown, and e' and q' of
    the same picture out of place. Where faces are shown out of place already (`synthesize.probabilities`), the copy
    sees them so too.

    e and q are those of a frozen copy of the student itself, in eval mode, taken at the step at which the term begins:
    give it a `start` at which the student is worth copying. The student goes on from there. So q is whatever technique
    `quality` has taught the student until then.

    Source: AI-KD, Babnik et al., IWBF 2024. Its released code has the student's own module for a teacher, in train
    mode. Its labels are computed once beforehand; here the copy gives them for every degradation.
    """

    begun: Tensor

    def __init__(self, task: Task, misaligned: Mapping[str, float], feature: float) -> None:
        """Make room for the copy.

        Args:
            task: with an encoder that has the quality head.
            misaligned: degradation that moves the face -> probability; empty leaves it in place, which is a control.
            feature: weight of the first part; 0 is a control.

        Raises:
            ConfigError: the student has no quality head.
        """
        super().__init__()
        if task.encoder.quality is None:
            raise ConfigError("the student was built without the head that tells quality")
        self.misaligned, self.feature, self.seed = dict(misaligned), feature, task.seed
        self.teacher: FaceEncoder = copy.deepcopy(task.encoder).requires_grad_(False).eval()
        self.register_buffer("begun", torch.tensor(False))

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all but the copy."""
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(self, view: View, batch: Batch) -> Tensor:
        assert view.encoder is not None
        if not self.begun:
            self.teacher.load_state_dict(view.encoder.state_dict())
            self.begun.fill_(True)
        with torch.autocast(batch.images.device.type, torch.bfloat16, enabled=batch.images.is_cuda):
            with torch.no_grad():
                wanted, _ = self.teacher.with_features(batch.images)
                quality = torch.sigmoid(self.teacher.quality_logits(wanted))
            raw, logits = _as_shipped(view.encoder, self.out_of_place(batch))
        told = F.smooth_l1_loss(torch.sigmoid(logits), quality, beta=0.5)
        return told + self.feature * template_loss(raw.float(), F.normalize(wanted.float())) if self.feature else told

    def out_of_place(self, batch: Batch) -> Tensor:
        """The faces (B, 3, 112, 112) as a detector that errs would have cut them out, drawn anew at every step.

        Aligned faces have their points near the template's, and so has their mirror image.
        """
        if not self.misaligned:
            return batch.images
        draw = int(torch.randint(2**31, (), generator=batch.generator))
        pixels = (255 * batch.images).round().to(torch.uint8)
        points = np.tile(np.asarray(ARCFACE_TEMPLATE, np.float32), (len(pixels), 1, 1))
        ids = [str(place) for place in range(len(pixels))]
        moved = training_variant(pixels, ids, points, self.misaligned, self.seed, draw, pixels.device).images
        return moved.float().div_(255)


def _as_shipped(encoder: FaceEncoder, images: Tensor) -> tuple[Tensor, Tensor]:
    """Embeddings and quality with the running statistics, which pictures out of place must not move."""
    training = encoder.training
    encoder.eval()
    raw, _ = encoder.with_features(images)
    encoder.train(training)
    return raw, encoder.quality_logits(raw)
