"""Segmentation of the face as a task beside identity: pixel losses over the samples that carry a parse."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from stages.lib.classes import COVERS, UNKNOWN
from stages.lib.errors import ConfigError


def parse_loss(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cross-entropy of pixels: the weighted mean within a sample, then the mean over samples with a parse.

    Every parse counts the same, however many of its pixels are known. Only ratios of the weights matter, and
    equal probabilities of all K classes give log K.

    Args:
        logits: (N, K, H, W), any float type; computed in float32.
        labels: (N, H, W) whole numbers in [0, K), or `UNKNOWN`; a sample without a parse is `UNKNOWN` all over.
        weights: (K,) >= 0, one a class, as from `inverse_frequency`; empty: all classes weigh the same.

    Returns:
        Scalar >= 0, float32. Without any parse it is exactly 0, and so is its gradient.

    Raises:
        ConfigError: a label is no whole number, or neither a class nor `UNKNOWN`.
        ValueError: the shapes do not fit together.

    Source: Seg-Distilled-ID, arXiv 2209.01115, names the task; the form of its loss is not published.
    """
    _check_shapes(logits, labels)
    _check_classes(labels, logits.shape[1])
    known = labels != UNKNOWN
    classes = labels.long().where(known, 0)
    weighing = logits.new_ones(logits.shape[1]) if weights is None else weights
    return _over_parses(F.cross_entropy(logits.float(), classes, reduction="none"), weighing.float()[classes] * known)


def pixel_counts(labels: Tensor, classes: int) -> Tensor:
    """(K,) int64 number of pixels of each class in labels of any shape, without `UNKNOWN`; add them up over batches.

    Raises:
        ConfigError: a label is no whole number, or neither a class nor `UNKNOWN`.
    """
    _check_classes(labels, classes)
    return torch.bincount(labels[labels != UNKNOWN].long(), minlength=classes)


def inverse_frequency(counts: Tensor, balance: float = 1.0) -> Tensor:
    """Weights that lift rare classes; at balance 1 each class that occurs has the same share of all pixels.

    Args:
        counts: (K,) pixels of each class >= 0, of the training faces.
        balance: exponent of the inverse frequency, 0 to 1; at 0 each pixel weighs the same.

    Returns:
        (K,) float32 whose mean over all pixels counted is 1; 0 for a class that never occurs.

    Raises:
        ConfigError: no pixel was counted.
    """
    occurs = counts > 0
    if not occurs.any():
        raise ConfigError("no training face has a segmentation: give faces with one, or the term the weight 0")
    shares = counts / counts.sum()
    weights = torch.where(occurs, shares.clamp(min=1e-12) ** -balance, 0.0)
    return weights / (weights * shares).sum()


def without_covers_alone(labels: Tensor) -> Tensor:
    """Labels (N, H, W) with `UNKNOWN` all over a face of which only its cover is known, which would teach nothing else.

    A photograph without a segmentation on which a mask was drawn is such a face.
    """
    bare = labels != UNKNOWN
    for cover in COVERS:
        bare &= labels != cover
    return torch.where(bare.flatten(1).any(1)[:, None, None], labels, UNKNOWN)


def resample_labels(labels: Tensor, height: int, width: int) -> Tensor:
    """(N, height, width) labels for logits of that size: of each cell, the pixel at its centre.

    Args:
        labels: (N, H, W) of any type; no class is made up between two others, and `UNKNOWN` stays.
        height: of the logits.
        width: of the logits.
    """
    rows, columns = (
        ((torch.arange(new, device=labels.device) + 0.5) * (old / new)).long()
        for new, old in zip((height, width), labels.shape[1:], strict=True)
    )
    return labels[:, rows[:, None], columns]


def _over_parses(pixels: Tensor, weights: Tensor) -> Tensor:
    total = weights.sum(dim=(1, 2))
    carries = total > 0
    # a sum and not a choice of samples, so that a batch without parses still has its place in the graph
    samples = (pixels * weights).sum(dim=(1, 2)) / torch.where(carries, total, 1.0)
    return samples.sum() / carries.sum().clamp(min=1)


def _check_shapes(logits: Tensor, pixels: Tensor) -> None:
    if logits.ndim != 4 or pixels.shape != (len(logits), *logits.shape[2:]):
        raise ValueError(f"logits {tuple(logits.shape)} are not (N, K, H, W) for pixels {tuple(pixels.shape)}")


def _check_classes(labels: Tensor, classes: int) -> None:
    """On a GPU a label outside would end the process inside a kernel; the check costs a synchronisation."""
    if labels.is_floating_point():
        raise ConfigError(f"segmentation labels are {labels.dtype}: give whole numbers")
    low, high = torch.stack(torch.aminmax(labels.where(labels != UNKNOWN, 0))).tolist()
    if low < 0 or high >= classes:
        raise ConfigError(
            f"segmentation labels span [{low}, {high}] but there are {classes} classes: they must lie in "
            f"[0, {classes - 1}] or be {UNKNOWN}, which is left out"
        )
