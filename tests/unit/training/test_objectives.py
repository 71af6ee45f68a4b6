"""Terms are weighted, switched off by weight 0, and refuse what they do not fit."""

from __future__ import annotations

import pytest
import torch

from stages.lib.errors import ConfigError
from stages.lib.training.objectives import Batch, Objectives, Sizes

IDENTITY = {"weight": 2.0, "head": "arcface", "scale": 16.0, "margin": 0.2, "sigma": 0.05}
SIZES = Sizes(embedding=8, classes=3, template=8)


def test_the_total_is_the_weighted_sum_and_gradients_reach_every_class() -> None:
    torch.manual_seed(0)
    objectives = Objectives({"identity": IDENTITY, "template": {"weight": 3.0}}, SIZES)
    batch = Batch(torch.empty(4, 0), torch.tensor([0, 1, 2, 0]), torch.randn(4, 8), torch.Generator())
    raw = torch.randn(4, 8, requires_grad=True)
    terms = objectives(raw, [], batch)
    pairs = zip(raw.detach(), batch.templates, strict=True)
    cosine = [float(torch.dot(r, t) / r.norm() / t.norm()) for r, t in pairs]
    assert terms["template"].item() == pytest.approx(sum(1 - c for c in cosine) / 4, rel=1e-5)
    total = 2 * terms["identity"].item() + 3 * terms["template"].item()
    assert terms["total"].item() == pytest.approx(total, rel=1e-6)
    terms["total"].backward()
    assert raw.grad is not None
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in objectives.parameters())


def test_weight_zero_is_absence() -> None:
    objectives = Objectives({"identity": {**IDENTITY, "weight": 0.0}, "template": {"weight": 1.0}}, SIZES)
    assert set(objectives.terms) == {"template"}
    assert list(objectives.parameters()) == []  # no margin head is kept, trained or saved
    unfit = Objectives({"identity": IDENTITY, "template": {"weight": 0.0}}, Sizes(8, 3, template=512))
    assert set(unfit.terms) == {"identity"}


def test_what_cannot_be_trained_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least one objective"):
        Objectives({"template": {"weight": 0.0}}, SIZES)
    with pytest.raises(ConfigError, match=r"length 512.*set the student's `embedding` to 512"):
        Objectives({"template": {"weight": 1.0}}, Sizes(8, 3, template=512))
