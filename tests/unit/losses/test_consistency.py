from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from stages.lib.errors import ConfigError
from stages.lib.losses.consistency import (
    FORMS,
    ConsistencyHead,
    class_weights,
    norm_penalty,
    other_rows,
    relation_loss,
    soft_loss,
)

Vector = Sequence[float]


def cos(one: Vector, other: Vector) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True)) / (math.hypot(*one) * math.hypot(*other))


def softmax(logits: Vector) -> list[float]:
    powers = [math.exp(value) for value in logits]
    return [power / sum(powers) for power in powers]


def batch(samples: int = 6, size: int = 8, classes: int = 5, others: int = 7) -> dict[str, Tensor]:
    """A student whose faces resemble their templates more or less, from close to turned away."""
    generator = torch.Generator().manual_seed(5)
    templates = F.normalize(torch.randn(samples, size, generator=generator))
    closeness = torch.linspace(-1.0, 2.0, samples)[:, None]
    return {
        "raw": 3.0 * (closeness * templates + 0.4 * torch.randn(samples, size, generator=generator)),
        "teacher": templates,
        "labels": torch.randint(classes, (samples,), generator=generator),
        "weights": F.normalize(torch.randn(classes, size, generator=generator)),
        "queue": F.normalize(torch.randn(others, size, generator=generator)),
    }


def classification_in_loops(given: dict[str, Tensor], form: str, scale: float, m0: float) -> float:
    """L_cc of a first batch, one face and one class at a time, in double precision."""
    raw, teacher, weights = (given[name].tolist() for name in ("raw", "teacher", "weights"))
    norms = [math.hypot(*face) for face in raw]
    mean = sum(norms) / len(norms)
    std = math.sqrt(sum((norm - mean) ** 2 for norm in norms) / len(norms))
    total = 0.0
    for face, template, norm, label in zip(raw, teacher, norms, given["labels"].tolist(), strict=True):
        cosines = [cos(face, centre) for centre in weights]
        theta = math.acos(cosines[label])
        if form == "C":
            z = min(1.0, max(-1.0, 0.333 * (norm - mean) / (std + 0.001)))
            angle = min(math.pi, max(0.0, theta - m0 * z))
            cosines[label] = math.cos(angle) - m0 * z - m0
        else:
            similarity = {"A": cos(face, template), "B": cos(template, weights[label]), "fixed": 1.0}[form]
            cosines[label] = math.cos(theta + m0 * min(1.0, max(0.0, similarity)))
        total -= math.log(softmax([scale * cosine for cosine in cosines])[label])
    return total / len(raw)


@pytest.mark.parametrize("form", FORMS)
def test_classification_equals_the_plain_loops(form: str) -> None:
    given = batch()
    head = ConsistencyHead(given["weights"], form, scale=16.0, margin=0.4)
    loss = head(given["raw"], given["labels"], given["teacher"])
    assert loss.item() == pytest.approx(classification_in_loops(given, form, 16.0, 0.4), rel=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_without_a_margin_every_form_is_plain_softmax(form: str) -> None:
    given = batch()
    plain = F.cross_entropy(64.0 * F.normalize(given["raw"]) @ given["weights"].T, given["labels"])
    head = ConsistencyHead(given["weights"], form, margin=0.0)
    assert head(given["raw"], given["labels"], given["teacher"]).item() == pytest.approx(plain.item(), rel=1e-5)


def test_form_a_margin_lies_between_zero_and_m0_and_grows_with_the_similarity() -> None:
    angles = torch.linspace(math.pi, 0.0, 25)  # of the student to its template: opposite, then ever closer
    student = 5.0 * torch.stack([angles.cos(), angles.sin()], dim=1)
    template = torch.tensor([[1.0, 0.0]]).expand(25, 2)
    margins = ConsistencyHead(torch.eye(2), "A", margin=0.5).margins(student, torch.zeros(25).long(), template)
    assert (margins[:12] == 0.0).all()  # at right angles and beyond
    assert (margins[13:].diff() > 0.0).all()
    assert margins[-1].item() == pytest.approx(0.5)


def test_form_c_spares_small_norms_and_follows_them_from_batch_to_batch() -> None:
    head = ConsistencyHead(torch.eye(2), "C", margin=0.4)
    labels = torch.zeros(3).long()
    shifts = head.margins(torch.tensor([[1.0, 0.0], [3.0, 0.0], [500.0, 0.0]]), labels, None)
    assert shifts[0] < shifts[1] < 0.0 < shifts[2] <= 0.4
    assert head.norm_score is not None
    first = [head.norm_score.mean.item(), head.norm_score.std.item()]
    assert first == pytest.approx([168.0, math.sqrt((167**2 + 165**2 + 332**2) / 3)])
    head.margins(torch.tensor([[2.0, 0.0]] * 3), labels, None)
    second = [head.norm_score.mean.item(), head.norm_score.std.item()]
    assert second == pytest.approx([0.99 * first[0] + 0.01 * 2.0, 0.99 * first[1]])
    head.eval().margins(torch.tensor([[9.0, 0.0]] * 3), labels, None)
    assert [head.norm_score.mean.item(), head.norm_score.std.item()] == second


def test_form_c_angle_turns_round_at_neither_end() -> None:
    near, far = torch.cos(torch.tensor([0.1, math.pi - 0.1]))
    assert norm_penalty(near, torch.tensor(0.4), torch.tensor(0.4)).item() == pytest.approx(1.0 - 0.8)
    assert norm_penalty(far, torch.tensor(-0.4), torch.tensor(0.4)).item() == pytest.approx(-1.0)


def test_margin_warms_up_linearly_and_goes_on_where_a_checkpoint_stopped() -> None:
    given = batch()
    head = ConsistencyHead(given["weights"], "fixed", margin=0.4, warmup=4)
    found = []
    for step in range(6):
        if step == 2:
            state, head = head.state_dict(), ConsistencyHead(given["weights"], "fixed", margin=0.4, warmup=4)
            head.load_state_dict(state)
            assert set(state) == {"steps"}  # W would swell every checkpoint
        head.eval()(given["raw"], given["labels"])  # counts for nothing
        found.append(head.margins(given["raw"], given["labels"], None)[0].item())
        head.train()(given["raw"], given["labels"])
    assert found == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4, 0.4])


@pytest.mark.parametrize("form", FORMS)
def test_classification_teaches_only_the_student_and_never_through_the_margin(form: str) -> None:
    given = batch()
    raw, teacher, weights = (given[name].requires_grad_() for name in ("raw", "teacher", "weights"))
    head = ConsistencyHead(weights, form)
    assert not list(head.parameters())
    assert not head.weights.requires_grad
    loss = head(raw, given["labels"], teacher)
    slopes = torch.autograd.grad(loss, [raw, teacher, weights], allow_unused=True)
    assert slopes[0] is not None and slopes[0].abs().sum() > 0
    assert slopes[1] is None and slopes[2] is None
    # what could lower the margin must not be learned, be it a smaller norm or a smaller similarity
    assert not head.margins(raw, given["labels"], teacher).requires_grad


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("side", [1.0, -1.0])
def test_gradients_are_finite_where_a_face_lies_on_a_centre(form: str, side: float) -> None:
    raw = (side * torch.eye(5)[:3]).requires_grad_()
    loss = ConsistencyHead(torch.eye(5), form)(raw, torch.arange(3), torch.eye(5)[:3])
    assert torch.isfinite(torch.autograd.grad(loss, raw)[0]).all()


def test_soft_loss_equals_the_plain_loops() -> None:
    given = batch()
    total = 0.0
    for face, template in zip(given["raw"].tolist(), given["teacher"].tolist(), strict=True):
        p, q = (
            softmax([64.0 * cos(one, centre) / 4.0 for centre in given["weights"].tolist()]) for one in (template, face)
        )
        total += 16.0 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    found = soft_loss(given["raw"], given["teacher"], given["weights"])
    assert found.item() == pytest.approx(total / 6, rel=1e-5)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(1, 9), st.integers(2, 16), st.floats(0.1, 50.0))
def test_soft_loss_is_never_negative_and_zero_for_equal_directions(
    seed: int, samples: int, classes: int, size: int, length: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, samples, size, generator=generator)
    weights = F.normalize(torch.randn(classes, size, generator=generator))
    assert soft_loss(student, F.normalize(teacher), weights).item() >= -1e-4  # T^2 = 16 times float32 rounding
    assert soft_loss(length * teacher, F.normalize(teacher), weights).item() == pytest.approx(0.0, abs=1e-4)


def test_relation_loss_equals_the_plain_loops() -> None:
    given = batch()
    total = 0.0
    for face, template in zip(given["raw"].tolist(), given["teacher"].tolist(), strict=True):
        p = softmax([cos(template, other) / 0.04 for other in given["queue"].tolist()])
        q = softmax([cos(face, other) / 0.1 for other in given["queue"].tolist()])
        total -= sum(a * math.log(b) for a, b in zip(p, q, strict=True))
    found = relation_loss(given["raw"], given["teacher"], given["queue"])
    assert found.item() == pytest.approx(total / 6, rel=1e-5)


@pytest.mark.parametrize(("loss", "rows"), [(soft_loss, "weights"), (relation_loss, "queue")])
def test_distillation_teaches_only_the_student_and_lowers_its_loss(
    loss: Callable[[Tensor, Tensor, Tensor], Tensor], rows: str
) -> None:
    given = batch()
    student, teacher, bank = (given[name].requires_grad_() for name in ("raw", "teacher", rows))
    value = loss(student, teacher, bank)
    slopes = torch.autograd.grad(value, [student, teacher, bank], allow_unused=True)
    assert slopes[1] is None and slopes[2] is None
    assert loss(student - 0.05 * slopes[0], teacher, bank) < value


def test_autocast_reaches_none_of_the_losses() -> None:
    given = batch()

    def losses(raw: Tensor) -> list[Tensor]:
        heads = [ConsistencyHead(given["weights"], form)(raw, given["labels"], given["teacher"]) for form in FORMS]
        return [
            *heads,
            soft_loss(raw, given["teacher"], given["weights"]),
            relation_loss(raw, given["teacher"], given["queue"]),
        ]

    outside = losses(given["raw"])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = losses(given["raw"])
    assert all(value.dtype == torch.float32 for value in [*inside, *losses(given["raw"].bfloat16())])
    assert torch.equal(torch.stack(inside), torch.stack(outside))


def test_class_weights_are_the_unit_means_of_the_classes() -> None:
    templates = F.normalize(torch.randn(9, 4, generator=torch.Generator().manual_seed(1)))
    labels = torch.tensor([2, 0, 1, 1, 2, 2, 0, 1, 2])
    found = class_weights(templates, labels, 3)
    for label in range(3):
        own = [row for row, of in zip(templates.tolist(), labels.tolist(), strict=True) if of == label]
        mean = [sum(column) / len(own) for column in zip(*own, strict=True)]
        assert found[label].tolist() == pytest.approx([value / math.hypot(*mean) for value in mean], abs=1e-6)


def test_other_rows_are_never_of_the_batch_and_reach_all_others_alike() -> None:
    taken = torch.tensor([9, 0, 3, 4, 3])
    drawn = other_rows(10, taken, 12_000, torch.Generator().manual_seed(2))
    counts = torch.bincount(drawn, minlength=10)
    assert counts[taken].sum() == 0
    assert (counts[[1, 2, 5, 6, 7, 8]] - 2_000).abs().max() < 5 * math.sqrt(2_000)
    assert torch.equal(drawn, other_rows(10, taken, 12_000, torch.Generator().manual_seed(2)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: ConsistencyHead(g["weights"], "D"), r"'D'.*choose one of A, B, C, fixed"),
        (lambda g: ConsistencyHead(g["weights"], "A")(g["raw"], g["labels"]), "form A needs.*clean faces"),
        (lambda g: ConsistencyHead(g["weights"], "B")(g["raw"], g["labels"]), "form B needs.*degraded faces"),
        (lambda g: ConsistencyHead(g["weights"])(g["raw"], g["labels"], g["teacher"][:1]), r"teacher \(1, 8\).*own"),
        (lambda g: ConsistencyHead(g["weights"], "C")(g["raw"], g["labels"] + 4), r"5 classes.*\[0, 4\]"),
        (lambda g: ConsistencyHead(g["weights"], "C")(g["raw"], g["labels"][:2]), "one label a face"),
        (lambda g: ConsistencyHead(g["weights"][:, :4], "C")(g["raw"], g["labels"]), r"weights \(5, 4\).*`embedding`"),
        (lambda g: soft_loss(g["raw"][:, :4], g["teacher"], g["weights"]), r"student \(6, 4\).*`embedding`"),
        (lambda g: relation_loss(g["raw"], g["teacher"], g["queue"][:0]), r"queue \(0, 8\).*M > 0"),
        (lambda g: class_weights(g["teacher"], g["labels"][:2], 5), "one label a template"),
        (lambda g: class_weights(g["teacher"], torch.tensor([0, 1, 3, 3, 3, 3]), 4), "1 of 4.*class 2.*without gaps"),
        (lambda g: class_weights(g["teacher"] * math.nan, g["labels"] * 0, 1), "class 0.*run `teach` again"),
        (lambda g: other_rows(3, torch.arange(3), 4, torch.Generator()), "all 3 faces.*lower `batch`"),
        (lambda g: other_rows(3, torch.tensor([3]), 4, torch.Generator()), r"\[0, 2\].*rows of the templates"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_fix(call: Callable[[dict[str, Tensor]], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call(batch())
