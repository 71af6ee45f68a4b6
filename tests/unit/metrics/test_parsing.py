"""Intersection over union, in plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from stages.lib.classes import UNKNOWN
from stages.lib.metrics.parsing import confusion, mean_iou


def test_mean_iou_equals_plain_loops_over_the_classes_that_occur() -> None:
    random = np.random.default_rng(0)
    said, truth = random.integers(5, size=(2, 3, 8, 8))
    truth[truth == 3] = UNKNOWN  # so class 3 never occurs: what is taken for it is wrong, and it has no mean of its own
    ious = []
    for label in (0, 1, 2, 4):
        both = one = 0
        for s, t in zip(said.ravel(), truth.ravel(), strict=True):
            both += s == t == label
            one += t != UNKNOWN and label in (s, t)
        ious.append(both / one)
    parts = [confusion(torch.from_numpy(s), torch.from_numpy(t), 5) for s, t in zip(said, truth, strict=True)]
    assert mean_iou(torch.stack(parts).sum(0)) == pytest.approx(np.mean(ious))
    assert mean_iou(confusion(torch.from_numpy(truth % 5), torch.from_numpy(truth), 5)) == 1.0


def test_nothing_known_is_no_figure() -> None:
    assert math.isnan(mean_iou(confusion(torch.zeros(4), torch.full((4,), UNKNOWN), 3)))
