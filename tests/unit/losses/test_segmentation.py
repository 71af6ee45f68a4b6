from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from stages.lib.classes import UNKNOWN
from stages.lib.errors import ConfigError
from stages.lib.losses.segmentation import (
    inverse_frequency,
    parse_loss,
    pixel_counts,
    resample_labels,
)

CLASSES = 4
WEIGHTS = torch.tensor([0.5, 2.0, 1.0, 7.0])


def batch() -> tuple[Tensor, Tensor]:
    """Three samples: fully parsed, parsed in part, without a parse."""
    generator = torch.Generator().manual_seed(5)
    logits = 2.0 * torch.randn(3, CLASSES, 5, 6, generator=generator)
    labels = torch.randint(CLASSES, (3, 5, 6), generator=generator).byte()
    labels[1, :2] = UNKNOWN
    labels[2] = UNKNOWN
    return logits, labels


def loss_in_loops(logits: Tensor, labels: Tensor, weights: Tensor) -> float:
    samples = []
    for scores, classes in zip(logits.double(), labels, strict=True):
        loss = weight = 0.0
        for row in range(classes.shape[0]):
            for column in range(classes.shape[1]):
                label = int(classes[row, column])
                if label != UNKNOWN:
                    powers = [math.exp(score) for score in scores[:, row, column].tolist()]
                    loss -= float(weights[label]) * math.log(powers[label] / sum(powers))
                    weight += float(weights[label])
        if weight:
            samples.append(loss / weight)
    return sum(samples) / len(samples)


def test_loss_equals_the_plain_loops() -> None:
    logits, labels = batch()
    assert parse_loss(logits, labels).item() == pytest.approx(loss_in_loops(logits, labels, torch.ones(CLASSES)))
    loss = parse_loss(logits, labels, WEIGHTS)
    assert loss.item() == pytest.approx(loss_in_loops(logits, labels, WEIGHTS))
    assert parse_loss(logits, labels, 10 * WEIGHTS).item() == pytest.approx(loss.item())


def test_equal_probabilities_give_log_k_whatever_the_weights() -> None:
    logits, labels = batch()
    assert parse_loss(0 * logits, labels, WEIGHTS).item() == pytest.approx(math.log(CLASSES))


def test_pixels_left_out_and_samples_without_a_parse_contribute_nothing() -> None:
    logits, labels = batch()
    logits.requires_grad_()
    loss = parse_loss(logits, labels, WEIGHTS)
    (slope,) = torch.autograd.grad(loss, logits)
    ignored = (labels == UNKNOWN)[:, None].expand_as(slope)
    assert (slope[ignored] == 0).all()
    assert (slope[~ignored] != 0).all()
    torch.testing.assert_close(loss, parse_loss(logits[:2], labels[:2], WEIGHTS))


def test_batch_without_a_parse_gives_zero_and_a_gradient_of_zero() -> None:
    logits, labels = batch()
    logits.requires_grad_()
    loss = parse_loss(logits, torch.full_like(labels, UNKNOWN))
    assert loss.item() == 0.0
    (slope,) = torch.autograd.grad(loss, logits)
    assert torch.equal(slope, torch.zeros_like(logits))


def test_inverse_frequency_gives_every_class_that_occurs_the_same_share() -> None:
    labels = torch.tensor([0] * 60 + [1] * 30 + [3] * 10 + [UNKNOWN] * 25, dtype=torch.uint8).reshape(5, 25)
    counts = pixel_counts(labels, CLASSES)
    assert counts.tolist() == [60, 30, 0, 10]
    weights = inverse_frequency(counts)
    assert (weights * counts).tolist() == pytest.approx([100 / 3, 100 / 3, 0, 100 / 3])
    with pytest.raises(ConfigError, match="no training face has a segmentation"):
        inverse_frequency(torch.zeros(CLASSES, dtype=torch.int64))


def test_resampled_labels_are_pixels_of_their_cells() -> None:
    labels = torch.arange(48, dtype=torch.uint8).reshape(1, 6, 8)
    assert resample_labels(labels, 2, 2).tolist() == [[[10, 14], [34, 38]]]
    assert torch.equal(resample_labels(labels, 6, 8), labels)


def test_autocast_and_half_precision_do_not_reach_the_loss() -> None:
    logits, labels = batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = parse_loss(logits, labels, WEIGHTS)
    assert torch.equal(inside, parse_loss(logits, labels, WEIGHTS))
    assert parse_loss(logits.bfloat16(), labels).dtype == torch.float32


@pytest.mark.parametrize("label", [CLASSES, -1])
def test_label_that_is_no_class_names_the_range(label: int) -> None:
    logits, labels = batch()
    wrong = labels.long()
    wrong[0, 0, 0] = label
    with pytest.raises(ConfigError, match=rf"{label}.*4 classes.*\[0, 3\] or be 255"):
        parse_loss(logits, wrong)
    with pytest.raises(ConfigError, match="whole numbers"):
        parse_loss(logits, labels.float())


def test_shapes_must_fit() -> None:
    logits, labels = batch()
    with pytest.raises(ValueError, match=r"not \(N, K, H, W\)"):
        parse_loss(logits, labels[:, :4])
