from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from stages.lib.losses.selective import SelectiveRegression, selective_loss
from stages.lib.losses.template import template_loss

KEPT = torch.tensor([True, False, True, True, False, False])


def batch(student: int, teacher: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    raw = 4.0 * torch.randn(len(KEPT), student, generator=generator)
    return raw, F.normalize(torch.randn(len(KEPT), teacher, generator=generator))


def test_equals_the_plain_loops_through_the_adapter() -> None:
    raw, templates = batch(5, 8)
    term = SelectiveRegression(5, 8)
    total = 0.0
    for sample, template, kept in zip(raw.tolist(), templates.tolist(), KEPT.tolist(), strict=True):
        adapted = [sum(w * h for w, h in zip(row, sample, strict=True)) for row in term.adapter.weight.tolist()]
        norm = sum(value**2 for value in adapted) ** 0.5
        total += kept * sum((value / norm - f) ** 2 for value, f in zip(adapted, template, strict=True))
    assert term(raw, templates, KEPT).item() == pytest.approx(total / 6, rel=1e-5)


def test_golden_values_from_equal_to_antipodal() -> None:
    _, templates = batch(5, 8)
    assert selective_loss(7.0 * templates, templates, KEPT).item() == pytest.approx(0.0, abs=1e-10)
    assert selective_loss(-7.0 * templates, templates, KEPT).item() == pytest.approx(4.0 * 3 / 6)
    assert selective_loss(-7.0 * templates, templates, torch.zeros(6, dtype=torch.bool)).item() == 0.0


def test_with_all_kept_it_is_twice_the_template_loss() -> None:
    raw, templates = batch(8, 8)
    loss = selective_loss(raw, templates, torch.ones(6, dtype=torch.bool))
    assert loss.item() == pytest.approx(2.0 * template_loss(raw, templates).item(), rel=1e-5)


def test_gradient_reaches_adapter_and_student_through_kept_samples_only() -> None:
    raw, templates = (tensor.requires_grad_() for tensor in batch(5, 8))
    term = SelectiveRegression(5, 8)
    wanted = [term.adapter.weight, raw, templates]
    adapter, student, teacher = torch.autograd.grad(term(raw, templates, KEPT), wanted, allow_unused=True)
    assert teacher is None
    assert torch.equal(student.abs().sum(dim=1) > 0, KEPT)

    other = torch.where(KEPT[:, None], raw, -3.0 * raw)  # the samples left out say something else
    assert torch.equal(adapter, torch.autograd.grad(term(other, templates, KEPT), term.adapter.weight)[0])
    assert adapter.abs().sum() > 0


def test_autocast_does_not_reach_the_term() -> None:
    raw, templates = batch(5, 8)
    term = SelectiveRegression(5, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = term(raw, templates, KEPT)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, term(raw, templates, KEPT))


def test_shapes_that_would_broadcast_and_indices_are_refused() -> None:
    raw, templates = batch(8, 8)
    with pytest.raises(ValueError, match=r"\(6, 8\) and templates \(1, 8\)"):
        selective_loss(raw, templates[:1], KEPT)
    with pytest.raises(ValueError, match=r"int64 \(3,\): give bool \(6,\)"):
        selective_loss(raw, templates, torch.tensor([0, 2, 3]))
    with pytest.raises(ValueError, match=r"bool \(6, 1\): give bool \(6,\)"):
        selective_loss(raw, templates, KEPT[:, None])
