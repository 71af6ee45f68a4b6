from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from stages.lib.losses.template import template_loss


def batch(samples: int, size: int) -> tuple[Tensor, Tensor]:
    student, teacher = torch.randn(2, samples, size, generator=torch.Generator().manual_seed(0))
    return student, F.normalize(teacher)


def test_equals_the_plain_loop() -> None:
    student, teacher = batch(6, 16)
    total = 0.0
    for one, other in zip(student.tolist(), teacher.tolist(), strict=True):
        dot = sum(a * b for a, b in zip(one, other, strict=True))
        total += 1 - dot / sum(a * a for a in one) ** 0.5
    assert template_loss(student, teacher).item() == pytest.approx(total / 6, abs=1e-6)


@pytest.mark.parametrize("size", [2, 128, 512])
def test_value_does_not_depend_on_the_embedding_size(size: int) -> None:
    teacher = torch.zeros(3, size)
    teacher[:, 0] = 1.0
    student = torch.zeros(3, size)
    student[:, 0], student[:, 1] = 0.6, 0.8
    assert template_loss(7.0 * student, teacher).item() == pytest.approx(0.4, abs=1e-6)
    assert template_loss(7.0 * teacher, teacher).item() == pytest.approx(0.0, abs=1e-6)
    assert template_loss(-7.0 * teacher, teacher).item() == pytest.approx(2.0, abs=1e-6)


def test_mean_squared_error_of_the_official_form_is_a_constant_factor_away() -> None:
    student, teacher = batch(5, 64)
    official = 100.0 * F.mse_loss(F.normalize(student), teacher).item()
    assert official == pytest.approx((2 * 100.0 / 64) * template_loss(student, teacher).item(), rel=1e-5)


def test_only_the_student_learns() -> None:
    student, teacher = (tensor.requires_grad_() for tensor in batch(4, 8))
    slopes = torch.autograd.grad(template_loss(student, teacher), [student, teacher], allow_unused=True)
    assert slopes[0].abs().sum() > 0
    assert slopes[1] is None


def test_shapes_that_would_broadcast_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(4, 8\) and teacher \(1, 8\)"):
        template_loss(torch.ones(4, 8), torch.ones(1, 8))
