"""Identity classification with a margin: ArcFace, CosFace, their elastic forms, and MagFace."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.lib.errors import ConfigError

COSINE_LIMIT = 1.0 - 1e-7  # the slope of arccos is infinite at 1


def angular(cosine: Tensor, margin: Tensor) -> Tensor:
    """ArcFace: cos(theta + m), taken literally.

    As in the ElasticFace formula there is no "easy margin" and no linear tail beyond theta = pi - m. Past
    that angle the value rises again, so the target's own gradient points away from the centre.
    """
    return torch.cos(torch.acos(cosine) + margin)


def additive(cosine: Tensor, margin: Tensor) -> Tensor:
    """CosFace: cos(theta) - m."""
    return cosine - margin


Penalty = Callable[[Tensor, Tensor], Tensor]


class Kind(NamedTuple):
    """How a head lowers the cosine of the true class; whether margins are drawn, then ranked, or grow with length."""

    penalty: Penalty
    elastic: bool = False
    ranked: bool = False
    magnitude: bool = False


KINDS: dict[str, Kind] = {
    "arcface": Kind(angular),
    "cosface": Kind(additive),
    "elastic_arc": Kind(angular, elastic=True),
    "elastic_cos": Kind(additive, elastic=True),
    "elastic_arc_plus": Kind(angular, elastic=True, ranked=True),
    "elastic_cos_plus": Kind(additive, elastic=True, ranked=True),
    "magface": Kind(angular, magnitude=True),
}

SHORTEST, LONGEST = 10.0, 110.0  # lengths of embeddings that MagFace tells apart
STEEPNESS = 0.0035  # radians of margin for each unit of length
PULL = 35.0 / 64.0  # of what rewards length, for each unit of the scale: 35 at the paper's 64


def magnitude_margins(raw: Tensor, least: float) -> tuple[Tensor, Tensor]:
    """MagFace: (N,) margins m(a) that grow with the length a of (N, D) raw embeddings, and (N,) g(a), least at 110.

    m(a) = least + .0035 (a - 10) and g(a) = a / 110^2 + 1 / a, for a in 10..110; between these ends gradients reach
    the length through both. A face that is easily told apart can pay a larger margin for a smaller g: its length
    becomes its quality.

    Source: MagFace, Meng et al., CVPR 2021.
    """
    length = raw.norm(dim=1).clamp(SHORTEST, LONGEST)
    return least + STEEPNESS * (length - SHORTEST), length / LONGEST**2 + 1.0 / length


def furthest_pays_most(margins: Tensor, cosine: Tensor) -> Tensor:
    """Hand out the margins of one step by rank: the largest to the sample furthest from its class centre.

    Args:
        margins: (N,) as they were drawn.
        cosine: (N,) of each sample and the centre of its own class; no gradient passes.

    Returns:
        (N,) the same margins in another order; samples at the same cosine keep theirs in order of the batch.

    Source: ElasticFace, arXiv 2109.09416, the "+" forms.
    """
    furthest_first = torch.argsort(cosine.detach(), stable=True)
    # `furthest_first` says which sample stands at a rank, not which rank a sample has: scatter, do not gather
    return torch.empty_like(margins).scatter(0, furthest_first, margins.sort(descending=True).values)


def margin_loss(cosine: Tensor, labels: Tensor, margins: Tensor, penalty: Penalty, scale: float) -> Tensor:
    """Softmax cross-entropy in which only the true class pays a margin.

    Args:
        cosine: (N, C) float32 cosines of embeddings and class centres, strictly inside (-1, 1).
        labels: (N,) int64 in [0, C).
        margins: (N,) float32, one margin a sample: radians for `angular`, cosine units for `additive`.
        penalty: how a margin lowers the cosine of the true class.
        scale: factor s of all logits.

    Returns:
        Scalar, the mean over samples.
    """
    index = labels[:, None]
    target = penalty(cosine.gather(1, index), margins[:, None])
    return F.cross_entropy(scale * cosine.scatter(1, index, target), labels)


def check_labels(labels: Tensor, classes: int) -> None:
    """Refuse labels that would index past the class centres.

    On a GPU such a label trips an assertion inside a kernel, which ends the process without naming it. The
    check costs one synchronisation a step.

    Raises:
        ConfigError: a label is no whole number, below 0, or not below `classes`.
    """
    if labels.is_floating_point():
        raise ConfigError(f"labels are {labels.dtype}: give whole numbers, one a sample")
    low, high = torch.stack(torch.aminmax(labels)).tolist()
    if low < 0 or high >= classes:
        raise ConfigError(
            f"labels span [{low}, {high}] but the head has {classes} classes, so they must lie in "
            f"[0, {classes - 1}]: number the training subjects from 0 without gaps"
        )


class MarginHead(nn.Module):
    """Class centres and the margin loss over them; used in training only.

    Elastic kinds draw m_i ~ N(margin, sigma) for every sample of every step, not clamped. Their "plus" forms
    draw the same margins and hand them out by rank over the samples of the call. The head leaves autocast: half
    precision cannot tell cosines near 1 apart.

    Args:
        embedding: size D of the embeddings.
        classes: number C of training subjects.
        kind: a key of `KINDS`; `sigma` matters to the elastic kinds only.
        scale: s, the factor of all logits.
        margin: m; the papers use 0.50 for the angular kinds, 0.35 for the cosine kinds, and 0.45 for faces of least
            length in `magface`.
        sigma: standard deviation of the drawn margins; the paper uses 0.05 for the elastic kinds, 0.0175 for
            `elastic_arc_plus` and 0.02 for `elastic_cos_plus`.

    Raises:
        ConfigError: the kind is unknown.

    Sources: ArcFace, arXiv 1801.07698; CosFace, arXiv 1801.09414; ElasticFace, arXiv 2109.09416;
    MagFace, arXiv 2103.06627.
    """

    def __init__(
        self,
        embedding: int,
        classes: int,
        kind: str,
        scale: float = 64.0,
        margin: float = 0.5,
        sigma: float = 0.05,
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ConfigError(f"margin head {kind!r} is unknown: choose one of {', '.join(KINDS)}")
        self.penalty, elastic, self.ranked, self.magnitude = KINDS[kind]
        self.scale, self.margin, self.sigma = scale, margin, sigma if elastic else 0.0
        self.weight = nn.Parameter(torch.empty(classes, embedding))
        nn.init.normal_(self.weight, std=0.01)

    def margins(self, count: int, device: torch.device, generator: torch.Generator | None) -> Tensor:
        """(count,) margins of one step, drawn on the generator's device: a CPU seed serves every machine.

        Those of `magface` are not drawn: see `magnitude_margins`.
        """
        if not self.sigma:
            return torch.full((count,), self.margin, device=device)
        source = generator.device if generator is not None else device
        noise = torch.randn(count, generator=generator, device=source)
        return (self.margin + self.sigma * noise).to(device)

    def forward(self, raw: Tensor, labels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Mean loss of (N, D) raw embeddings with (N,) labels in [0, C); ConfigError for a label outside."""
        check_labels(labels, self.weight.shape[0])
        labels = labels.long()
        with torch.autocast(raw.device.type, enabled=False):
            # products are divided by the centres' lengths, not thousands of centres: it takes half the time
            lengths = self.weight.float().norm(dim=1).clamp(min=1e-12)
            cosine = F.linear(F.normalize(raw.float()), self.weight.float()) / lengths
            cosine = cosine.clamp(-COSINE_LIMIT, COSINE_LIMIT)
            if self.magnitude:
                margins, reward = magnitude_margins(raw.float(), self.margin)
                loss = margin_loss(cosine, labels, margins, self.penalty, self.scale)
                return loss + PULL * self.scale * reward.mean()
            margins = self.margins(len(labels), raw.device, generator)
            if self.ranked:
                margins = furthest_pays_most(margins, cosine.gather(1, labels[:, None])[:, 0])
            return margin_loss(cosine, labels, margins, self.penalty, self.scale)
