"""What a student is trained for: named terms, each with a weight, summed by the loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from stages.lib.errors import ConfigError
from stages.lib.losses.margin import MarginHead
from stages.lib.losses.segmentation import inverse_frequency, parse_loss, resample_labels
from stages.lib.losses.template import template_loss
from stages.lib.models.parser import FaceParser


@dataclass(frozen=True)
class Batch:
    """One step's faces on the device.

    Attributes:
        images: float (B, 3, 112, 112) in [0, 1], RGB.
        labels: int64 (B,) class indices.
        templates: float (B, D), the teacher's unit templates of the clean faces.
        generator: for losses that draw; seeded by the step.
        parses: uint8 (B, 112, 112) what each pixel shows, 255 where nobody knows; None where no objective asks.
    """

    images: Tensor
    labels: Tensor
    templates: Tensor
    generator: torch.Generator
    parses: Tensor | None = None


@dataclass(frozen=True)
class Sizes:
    """What an objective must fit.

    Attributes:
        embedding: length of the student's.
        classes: training people.
        template: length of the teacher's templates.
        taps: `FaceEncoder.taps` of the student.
        pixels: of each class of the training faces' segmentations; empty where no objective asks.
    """

    embedding: int
    classes: int
    template: int
    taps: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    pixels: tuple[int, ...] = ()


class Identity(nn.Module):
    """Margin loss over the training people."""

    def __init__(self, sizes: Sizes, head: str, scale: float, margin: float, sigma: float) -> None:
        super().__init__()
        self.head = MarginHead(sizes.embedding, sizes.classes, head, scale, margin, sigma)

    def forward(self, raw: Tensor, features: Sequence[Tensor], batch: Batch) -> Tensor:
        return self.head(raw, batch.labels, batch.generator)


class Template(nn.Module):
    """1 - cos to the teacher's template of the clean face (MaskInv, arXiv 2112.05646, written as cosine)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        if sizes.embedding != sizes.template:
            raise ConfigError(
                f"the teacher's templates have length {sizes.template}, the student's embedding "
                f"{sizes.embedding}: set the student's `embedding` to {sizes.template}"
            )

    def forward(self, raw: Tensor, features: Sequence[Tensor], batch: Batch) -> Tensor:
        return template_loss(raw, batch.templates)


class Segmentation(nn.Module):
    """Parsing the face as a second task over the same encoder (Seg-Distilled-ID); the decoder stays behind."""

    class_weights: Tensor

    def __init__(self, sizes: Sizes, stride: int) -> None:
        super().__init__()
        weights = inverse_frequency(torch.tensor(sizes.pixels))
        self.register_buffer("class_weights", weights, persistent=False)
        self.decoder = FaceParser(*sizes.taps, classes=len(weights), stride=stride)

    def forward(self, raw: Tensor, features: Sequence[Tensor], batch: Batch) -> Tensor:
        logits = self.decoder([tap.float() for tap in features])
        assert batch.parses is not None  # `distill` loads them for a student that has this objective
        return parse_loss(logits, resample_labels(batch.parses, *logits.shape[2:]), self.class_weights)


BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "identity": Identity,
    "template": Template,
    "segmentation": Segmentation,
}


class Objectives(nn.Module):
    """A weighted sum of objectives over one forward pass of the student."""

    def __init__(self, settings: Mapping[str, Mapping[str, Any]], sizes: Sizes) -> None:
        """Build every objective of non-zero weight.

        Args:
            settings: name -> its arguments, `weight` among them.
            sizes: what the objectives must fit.
        """
        super().__init__()
        active = {name: dict(given) for name, given in settings.items() if given["weight"] > 0}
        if not active:
            raise ConfigError("a student needs at least one objective of weight above 0")
        self.weights = {name: float(given.pop("weight")) for name, given in active.items()}
        self.terms = nn.ModuleDict({name: BUILDERS[name](sizes, **given) for name, given in active.items()})

    def forward(self, raw: Tensor, features: Sequence[Tensor], batch: Batch) -> dict[str, Tensor]:
        """Return each term, unweighted, and `total`; scalars.

        Args:
            raw: (B, D) raw embeddings.
            features: the encoder's feature maps, finest first.
            batch: what else the step knows.
        """
        terms = {name: module(raw, features, batch) for name, module in self.terms.items()}
        total = torch.stack([self.weights[name] * value for name, value in terms.items()]).sum()
        return {**terms, "total": total}
