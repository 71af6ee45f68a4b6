"""How far the embedding of a face is to be trusted: a number that ships with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor
from torch.nn import functional as F

from stages.lib.degrade import training_variant
from stages.lib.errors import ConfigError
from stages.lib.losses.running import RunningScore
from stages.lib.models.contract import OF_TEACHER, Technique
from stages.lib.models.student import FaceEncoder
from stages.lib.objectives.base import Batch, Task, Term, View, same_length
from stages.lib.quality.others import OtherPictures
from stages.lib.quality.techniques import certainty_ratio, distribution_distance, embedding_robustness, pair_label
from stages.lib.training.data import FaceSet, as_seen

OF_ITSELF: Final[frozenset[Technique]] = frozenset({"norm", "ser_fiq"})
"""Techniques that ask the student alone, and no other picture."""
SDD_COSINES: Final = 24
SER_PASSES: Final = 100


class Objective(Term):
    """Smooth L1 distance to what a published technique makes of the face as it is shown.

    The target is stretched to 0..1 by the mean and spread of recent steps, which become 1/2 and a sixth: that of a
    small student fills little of its range, and a head that told its mean would be right enough. No gradient reaches
    the embedding through the target. As the student learns, and as faces are degraded, the target follows.

    In three techniques the person's other pictures tell it, by their clean templates. The face's own template has no
    say, or a person of one picture would get the best quality of all; such a person takes no part. Nor do centres tell
    it, to which a cosine is the higher the more pictures they are made of. `cr_fiqa` is the certainty ratio (CR-FIQA,
    Boutros et al., CVPR 2023, learnt jointly), of mean cosines in place of those with a trained classifier; `pair` the
    label that LightQNet (Chen et al., IEEE SPL 2021) gives a mated pair of the mean cosine; `sdd_fiqa` the distance of
    `SDD_COSINES` drawn genuine cosines from as many impostor ones (SDD-FIQA, Ou et al., CVPR 2021, which averages
    twelve such rounds; here each epoch draws one, and the training averages). With `teacher_` before their names they
    are of what the teacher makes of the face as it is shown, as LightQNet has it: the student then judges faces for
    another model.

    Two ask the student alone: `ser_fiq` how steady its embedding is under `SER_PASSES` draws of dropout in its tail
    (SER-FIQ, Terhoerst et al., CVPR 2020), so that one pass ships an estimate of what takes a hundred, and `norm` how
    long it is, which is free: for AI-KD to pass on.
    """

    @classmethod
    def needs(cls, settings: Mapping[str, Any]) -> frozenset[str]:
        shown = {"shown"} if settings["technique"] in OF_TEACHER else set()
        return frozenset(shown if settings["technique"] in OF_ITSELF else shown | {"templates"})

    @classmethod
    def says(cls, settings: Mapping[str, Any]) -> Technique:
        technique: Technique = settings["technique"]
        return technique

    def __init__(self, task: Task, technique: Technique) -> None:
        super().__init__()
        if task.encoder.quality is None:
            raise ConfigError("the student was built without the head that tells quality")
        if technique == "ser_fiq" and not task.encoder.dropout.p:
            raise ConfigError("ser_fiq asks how steady an embedding is under dropout: set the student's `dropout`")
        self.technique = technique
        self.score = RunningScore(momentum=0.9)
        self.others = None if technique in OF_ITSELF else _others(task.faces)
        if self.others is not None:
            same_length(task)
            if not self.others.tell:
                raise ConfigError(
                    "quality is told by a person's other pictures and by other people: nobody to learn from has two "
                    "faces, or there is one person alone"
                )
        # of what the teacher makes of unseen faces askew nothing is known
        self._unseen = None if technique in OF_TEACHER else task.unseen.get("val")

    def forward(self, view: View, batch: Batch) -> Tensor:
        told = slice(None) if self.others is None else self.others.known(batch.labels).nonzero()[:, 0]
        target = self.target(view, batch)[told]
        if not len(target):
            return view.raw.new_zeros(())
        wanted = (1.0 + self.score(target)) / 2.0
        return F.smooth_l1_loss(torch.sigmoid(view.heads["quality"][told]), wanted, beta=0.5)

    @torch.no_grad()
    def target(self, view: View, batch: Batch) -> Tensor:
        """(B,) before it is stretched; of no meaning for the only picture of a person, but `OF_ITSELF`."""
        if self.technique == "norm":
            return view.raw.norm(dim=1)
        if self.technique == "ser_fiq":
            assert view.encoder is not None
            return embedding_robustness(F.normalize(view.encoder.stochastic(view.features, SER_PASSES), dim=2))
        assert self.others is not None
        unit = F.normalize(view.raw)
        if self.technique in OF_TEACHER:
            assert batch.shown is not None
            unit = batch.shown
        own = (unit, batch.templates, batch.labels)
        match self.technique.removeprefix("teacher_"):
            case "pair":
                return pair_label(self.others.mean_cosine(*own))
            case "cr_fiqa":
                return certainty_ratio(self.others.mean_cosines(*own), batch.labels)
        drawn = self.others.draw(unit, batch.faces, batch.labels, SDD_COSINES, batch.generator)
        return distribution_distance(*drawn)

    @torch.inference_mode()
    def figures(self, encoder: FaceEncoder) -> dict[str, float]:
        """`val_quality` and `val_quality_askew`: of unseen people, clean and with their landmarks off.

        Each is Spearman's correlation of what the student says of a face with the mean cosine of its embedding and the
        teacher's templates of the person's other pictures. Nothing of techniques `OF_TEACHER`, where the templates have
        another length, where nobody has two faces, or there is one person alone.
        """
        faces = self._unseen
        if faces is None or faces.templates.shape[1] != encoder.architecture.embedding:
            return {}
        others, device = _others(faces), next(encoder.parameters()).device
        if not others.tell:
            return {}
        templates, labels = torch.from_numpy(faces.templates), torch.from_numpy(faces.labels)
        rows = others.known(labels).nonzero()[:, 0]
        found: dict[str, list[Tensor]] = {"val_quality": [], "val_quality_askew": []}
        for part, clean in as_seen(faces, rows.numpy(), str(device)):
            for name, images in zip(found, (clean, _askew(faces, part, clean)), strict=True):
                raw = encoder(images)
                worth = others.mean_cosine(F.normalize(raw.float()).cpu(), templates[part], labels[part])
                found[name].append(torch.stack([encoder.quality_logits(raw).cpu(), worth]))
        told = {name: float(spearmanr(*torch.cat(said, dim=1).numpy())[0]) for name, said in found.items()}
        return {name: correlation for name, correlation in told.items() if np.isfinite(correlation)}


def _others(faces: FaceSet) -> OtherPictures:
    return OtherPictures(faces.templates, faces.labels, len(faces.subjects))


def _askew(faces: FaceSet, rows: NDArray[np.int64], images: Tensor) -> Tensor:
    """The faces as a detector that errs would have cut them out, the same ones after every epoch."""
    pixels, ids = (255 * images).round().to(torch.uint8), [faces.ids[row] for row in rows]
    moved = training_variant(pixels, ids, faces.landmarks[rows], {"misalignment": 1.0}, 0, 0, images.device)
    return moved.images.float().div_(255)
