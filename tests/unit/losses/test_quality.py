"""Golden vectors of the targets, and the same in plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stages.lib.losses.quality import certainty_ratio, pair_label


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
