from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from stages.lib.errors import ConfigError
from stages.lib.losses.margin import (
    KINDS,
    MarginHead,
    additive,
    angular,
    furthest_pays_most,
    magnitude_margins,
    margin_loss,
)

ANGULAR = {"arcface", "elastic_arc", "elastic_arc_plus", "magface"}


def loss_in_loops(raw: Tensor, centres: Tensor, labels: Tensor, margins: Tensor, kind: str, scale: float) -> float:
    """The equations of the papers, one sample and one class at a time, in double precision."""
    total = 0.0
    for sample, label, margin in zip(raw.double(), labels.tolist(), margins.double().tolist(), strict=True):
        powers = []
        for index, centre in enumerate(centres.double()):
            cosine = float(sample @ centre / (sample.norm() * centre.norm()))
            if index == label:
                cosine = math.cos(math.acos(cosine) + margin) if kind in ANGULAR else cosine - margin
            powers.append(math.exp(scale * cosine))
        total -= math.log(powers[label] / sum(powers))
    return total / len(labels)


def ranked_in_loops(raw: Tensor, centres: Tensor, labels: Tensor, margins: Tensor) -> Tensor:
    """Time after time, the largest margin left goes to the furthest sample left."""
    cosines = F.cosine_similarity(raw.double(), centres.double()[labels]).tolist()
    left, given = margins.tolist(), torch.empty_like(margins)
    for sample in sorted(range(len(cosines)), key=cosines.__getitem__):
        given[sample] = left.pop(left.index(max(left)))
    return given


def batch(samples: int = 12, embedding: int = 8, classes: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    raw = 4.0 * torch.randn(samples, embedding, generator=generator)
    return raw, torch.randint(classes, (samples,), generator=generator)


@pytest.mark.parametrize("kind", KINDS)
def test_head_equals_the_plain_loops(kind: str) -> None:
    raw, labels = batch()
    head = MarginHead(8, 5, kind, scale=16.0, margin=0.4, sigma=0.1)
    drawn = head.margins(len(labels), raw.device, torch.Generator().manual_seed(7))
    if kind.endswith("plus"):
        drawn = ranked_in_loops(raw, head.weight.detach(), labels, drawn)
    lengths = [min(max(float(sample.norm()), 10.0), 110.0) for sample in raw]
    if kind == "magface":
        drawn = torch.tensor([0.4 + 0.0035 * (length - 10) for length in lengths])
    expected = loss_in_loops(raw, head.weight.detach(), labels, drawn, kind, 16.0)
    if kind == "magface":
        expected += 35 * 16 / 64 * sum(length / 110**2 + 1 / length for length in lengths) / len(lengths)

    loss = head(raw, labels, torch.Generator().manual_seed(7))

    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert loss.dtype == torch.float32


def test_golden_value_of_one_sample_at_sixty_degrees() -> None:
    cosine = torch.tensor([[0.5, 0.0]])
    label, margin = torch.tensor([0]), torch.tensor([math.pi / 6])
    # cos(60 + 30 degrees) = 0, so both classes are equally likely.
    assert margin_loss(cosine, label, margin, angular, 64.0).item() == pytest.approx(math.log(2), abs=1e-4)
    assert margin_loss(cosine, label, torch.tensor([0.5]), additive, 64.0).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", [1.0, -1.0])
def test_gradients_are_finite_where_an_embedding_lies_on_a_centre(kind: str, side: float) -> None:
    head = MarginHead(8, 5, kind)
    torch.nn.init.eye_(head.weight)  # axes, so that the cosines are 1 and -1 to the last bit
    raw = (side * head.weight[:3]).detach().requires_grad_()
    for gradient in torch.autograd.grad(head(raw, torch.arange(3)), [raw, head.weight]):
        assert torch.isfinite(gradient).all()


def test_autocast_does_not_reach_the_head() -> None:
    raw, labels = batch()
    head = MarginHead(8, 5, "arcface")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = head(raw, labels)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, head(raw, labels))
    assert torch.isfinite(head(raw.bfloat16(), labels))


def test_elastic_margins_follow_their_distribution_and_change_every_step() -> None:
    head = MarginHead(4, 3, "elastic_arc", margin=0.5, sigma=0.05)
    generator = torch.Generator().manual_seed(0)
    first, second = (head.margins(20_000, torch.device("cpu"), generator) for _ in range(2))
    assert not torch.equal(first, second)
    assert abs(first.mean().item() - 0.5) < 3 * 0.05 / math.sqrt(20_000)
    assert first.std().item() == pytest.approx(0.05, rel=0.02)


@pytest.mark.parametrize("kind", ["elastic_arc", "elastic_cos"])
def test_plus_hands_the_same_margins_out_by_distance(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Regression: the official code takes the order of a sort for the ranks, which leaves no correlation.
    raw, labels = batch(samples=512, embedding=64, classes=40)
    heads = [MarginHead(64, 40, name, margin=0.5, sigma=0.05) for name in (kind, f"{kind}_plus")]
    seen: list[tuple[Tensor, Tensor]] = []

    def watch(cosine: Tensor, labels: Tensor, margins: Tensor, *rest: object) -> Tensor:
        seen.append((cosine.detach().gather(1, labels[:, None])[:, 0], margins))
        return cosine.sum()

    monkeypatch.setattr("stages.lib.losses.margin.margin_loss", watch)
    for head in heads:
        head(raw, labels, torch.Generator().manual_seed(11))

    (_, plain), (cosine, plus) = seen
    assert torch.corrcoef(torch.stack([cosine, plus]))[0, 1] < -0.9
    assert abs(plus.mean().item() - 0.5) < 3 * 0.05 / math.sqrt(512)
    assert torch.equal(plus.sort().values, plain.sort().values)
    assert not torch.equal(plus, plain)


def test_margins_by_rank_of_three_samples() -> None:
    # A cycle, which is not its own inverse: an order taken for ranks would give 0.1, 0.3, 0.2.
    cosine = torch.tensor([0.2, 0.9, -0.5])
    assert furthest_pays_most(torch.tensor([0.1, 0.2, 0.3]), cosine).tolist() == pytest.approx([0.2, 0.1, 0.3])


def test_sigma_matters_to_elastic_kinds_only() -> None:
    raw, labels = batch()
    fixed = MarginHead(8, 5, "cosface", margin=0.35, sigma=9.0)
    still = MarginHead(8, 5, "elastic_cos", margin=0.35, sigma=0.0)
    still.load_state_dict(fixed.state_dict())
    assert torch.equal(fixed(raw, labels), still(raw, labels))


def test_without_a_margin_it_is_softmax_over_scaled_cosines_whatever_the_norms() -> None:
    raw, labels = batch()
    head = MarginHead(8, 5, "arcface", scale=10.0, margin=0.0)
    plain = F.cross_entropy(10.0 * F.normalize(raw) @ F.normalize(head.weight).T, labels).item()
    assert head(raw, labels).item() == pytest.approx(plain, rel=1e-5)
    assert head(100.0 * raw, labels).item() == pytest.approx(plain, rel=1e-5)


def test_angular_margin_is_literal_beyond_pi() -> None:
    target = angular(torch.cos(torch.tensor([math.pi - 0.5, math.pi - 0.1])), torch.tensor(0.5))
    assert target.tolist() == pytest.approx([-1.0, math.cos(math.pi + 0.4)], abs=1e-5)
    assert target[1] > target[0]


def test_golden_values_of_magface_and_length_that_learns() -> None:
    raw = torch.zeros(3, 4)
    raw[:, 0] = torch.tensor([60.0, 3.0, 500.0])
    margins, reward = magnitude_margins(raw, 0.45)
    assert margins.tolist() == pytest.approx([0.625, 0.45, 0.8])
    assert reward[0].item() == pytest.approx(0.021625, abs=1e-6)
    assert reward[2] < reward[0] < reward[1]
    raw, labels = batch(embedding=128)
    raw = 20 * F.normalize(raw)
    for kind in ("magface", "arcface"):
        head = MarginHead(128, 5, kind, margin=0.45).double()
        stretch = torch.ones((), dtype=torch.float64, requires_grad=True)
        head(stretch * raw.double(), labels).backward()
        with torch.no_grad():
            longer, shorter = (head(s * raw.double(), labels).item() for s in (1.001, 0.999))
        assert stretch.grad is not None
        assert stretch.grad.item() == pytest.approx((longer - shorter) / 0.002, rel=1e-2, abs=1e-3)
        assert (abs(stretch.grad.item()) > 0.1) == (kind == "magface")


def test_labels_of_a_byte_serve_every_kind() -> None:
    raw, labels = batch()
    for kind in KINDS:
        head = MarginHead(8, 5, kind, sigma=0.0)
        assert torch.equal(head(raw, labels.byte()), head(raw, labels))


@pytest.mark.parametrize("labels", [[1, 2, 5], [-1, 0, 1]])
def test_label_outside_the_classes_names_both(labels: list[int]) -> None:
    raw, _ = batch(samples=3)
    with pytest.raises(ConfigError, match=r"labels span .* 5 classes.*\[0, 4\]"):
        MarginHead(8, 5, "arcface")(raw, torch.tensor(labels))


def test_labels_must_be_whole_numbers() -> None:
    raw, _ = batch(samples=3)
    with pytest.raises(ConfigError, match="whole numbers"):
        MarginHead(8, 5, "arcface")(raw, torch.tensor([0.0, 1.0, 2.0]))


def test_unknown_kind_lists_the_known() -> None:
    with pytest.raises(ConfigError, match=r"'sphere'.*arcface.*elastic_cos"):
        MarginHead(8, 5, "sphere")


def test_training_lowers_the_loss_and_separates_the_classes() -> None:
    raw, labels = batch(samples=20)
    torch.manual_seed(0)
    head, points = MarginHead(8, 5, "elastic_arc", scale=16.0), raw.clone().requires_grad_()
    generator = torch.Generator().manual_seed(0)
    start = head(points, labels, generator).item()
    for _ in range(60):
        slopes = torch.autograd.grad(head(points, labels, generator), [points, head.weight])
        with torch.no_grad():
            points.sub_(5.0 * slopes[0])
            head.weight.sub_(0.001 * slopes[1])
    assert head(points, labels, generator).item() < 0.1 * start
    assert torch.equal((F.normalize(points) @ F.normalize(head.weight).T).argmax(1), labels)
