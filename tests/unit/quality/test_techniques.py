"""Golden vectors of the published techniques, and the same in plain loops."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance
from torch.nn import functional as F

from stages.lib.errors import ConfigError
from stages.lib.quality.techniques import certainty_ratio, distribution_distance, embedding_robustness, pair_label


def test_golden_ratios() -> None:
    cosines = torch.tensor([[0.7, 0.3, 0.1], [-0.2, 0.7, -0.1]], dtype=torch.float64)
    ratios = certainty_ratio(cosines, torch.tensor([0, 1]))
    assert ratios.tolist() == pytest.approx([0.5385, 0.7778], abs=1e-4)


def test_ratios_equal_plain_loops() -> None:
    random = np.random.default_rng(0)
    cosines, labels = random.uniform(-1, 1, (20, 6)), random.integers(6, size=20)
    expected = [
        row[own] / (max(c for i, c in enumerate(row) if i != own) + 1 + 1e-9)
        for row, own in zip(cosines, labels, strict=True)
    ]
    found = certainty_ratio(torch.from_numpy(cosines), torch.from_numpy(labels))
    np.testing.assert_allclose(found.numpy(), expected)


def test_label_of_a_pair() -> None:
    assert pair_label(torch.tensor([0.2, 0.4, 0.6])).tolist() == pytest.approx([0.0392, 0.5, 0.9608], abs=1e-4)


def test_distance_of_genuine_from_impostor_cosines() -> None:
    golden = distribution_distance(torch.tensor([[0.8, 0.7, 0.9, 0.6]]), torch.tensor([[0.1, 0.2, 0.0, 0.3]]))
    assert golden.tolist() == pytest.approx([0.6])
    genuine, impostor = np.random.default_rng(1).normal(size=(2, 3, 24))
    found = distribution_distance(torch.from_numpy(genuine), torch.from_numpy(impostor))
    np.testing.assert_allclose(found.numpy(), [*map(wasserstein_distance, genuine, impostor)])


def test_robustness_under_dropout() -> None:
    radians = torch.tensor([0.0, 0.2, 0.4])
    golden = embedding_robustness(torch.stack([radians.cos(), radians.sin()], dim=1)[:, None])
    assert golden.tolist() == pytest.approx([0.867996], abs=1e-6)
    passes = F.normalize(torch.randn(30, 3, 16, generator=torch.Generator().manual_seed(4)), dim=2)
    for face, found in enumerate(embedding_robustness(passes)):
        gaps = [torch.linalg.norm(one - other).item() for one, other in combinations(passes[:, face], 2)]
        assert found.item() == pytest.approx(2 / (1 + np.exp(np.mean(gaps))), rel=1e-4)
    assert embedding_robustness(passes[:1].repeat(4, 1, 1)).tolist() == pytest.approx([1.0] * 3)
    with pytest.raises(ConfigError, match="at least two"):
        embedding_robustness(passes[:1])
