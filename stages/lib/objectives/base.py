"""What objectives are built for, and what they see of a step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor, nn

from stages.lib.errors import ConfigError
from stages.lib.models.student import FaceEncoder
from stages.lib.training.data import FaceSet


@dataclass(frozen=True)
class Task:
    """What an objective must fit.

    Attributes:
        encoder: the student, untrained. A term that keeps it keeps a copy: its own weights stay behind.
        faces: that are trained on.
        steps: of an epoch.
        seed: of the training run.
        unseen: people that are not trained on, by where they are from, for what a term measures of itself.
    """

    encoder: FaceEncoder
    faces: FaceSet
    steps: int
    seed: int
    unseen: Mapping[str, FaceSet] = field(default_factory=dict)

    @property
    def embedding(self) -> int:
        """Length of the student's."""
        return self.encoder.architecture.embedding


@dataclass(frozen=True)
class Batch:
    """One step's faces on the device.

    Attributes:
        faces: int64 (B,) rows of the clean faces among the N that are trained on.
        images: float (B, 3, 112, 112) in [0, 1], RGB, as the student sees them.
        labels: int64 (B,) class indices.
        templates: float (B, D), the teacher's unit templates of the clean faces.
        generator: for losses that draw; seeded by the step.
        done: share of the training that lies behind, in [0, 1).
        parses: uint8 (B, 112, 112) what each pixel shows, 255 where nobody knows; None where no objective asks.
        shown: float (B, D), the teacher's unit templates of the faces as they are shown; None where no objective asks.
    """

    faces: Tensor
    images: Tensor
    labels: Tensor
    templates: Tensor
    generator: torch.Generator
    done: float = 0.0
    parses: Tensor | None = None
    shown: Tensor | None = None


@dataclass(frozen=True)
class View:
    """What the student made of a batch.

    Attributes:
        raw: float (B, embedding) embeddings, not normalised.
        features: the encoder's feature maps, finest first.
        heads: logits by the name of the head: `occlusion` (B, H, W), of the last map's cells being covered, and
            `quality` (B,); what the student does not say is absent.
        encoder: the student itself, for terms that show it further pictures.
    """

    raw: Tensor
    features: list[Tensor]
    heads: Mapping[str, Tensor] = field(default_factory=dict)
    encoder: FaceEncoder | None = None


class Term(nn.Module):
    """One thing that a student is trained for: a file of this folder, whose `Objective` derives from this.

    The constructor takes the task and, by keyword, the settings of the file's name under `students.*.objectives` in
    params, save `weight`, `start` and `ramp`. Its weights are trained with the student and stay behind.
    """

    @classmethod
    def needs(cls, settings: Mapping[str, Any]) -> frozenset[str]:
        """What it learns from beside faces and people: `templates`, which every batch carries, `parses`, `shown`."""
        return frozenset()

    @classmethod
    def says(cls, settings: Mapping[str, Any]) -> Any:
        """What `build_encoder` must be given under the term's name, so that the student has the head that it trains."""
        return None

    def forward(self, view: View, batch: Batch) -> Tensor:
        """Scalar to minimise."""
        raise NotImplementedError

    def figures(self, encoder: FaceEncoder) -> dict[str, float]:
        """What it measures of itself after an epoch, encoder and term in eval mode; nothing, unless it says so."""
        return {}

    def artefacts(self) -> Iterator[tuple[str, pa.Table]]:
        """File name and rows of what should be kept beside the student."""
        return iter(())


def same_length(task: Task) -> None:
    """Refuse a student whose embedding cannot be compared with the teacher's templates.

    Raises:
        ConfigError: the lengths differ.
    """
    length = task.faces.templates.shape[1]
    if task.embedding != length:
        raise ConfigError(
            f"the teacher's templates have length {length}, the student's embedding {task.embedding}: set the "
            f"student's `embedding` to {length}"
        )
