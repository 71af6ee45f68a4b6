"""How well faces are parsed: intersection over union of the classes."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.lib.classes import UNKNOWN


def confusion(said: Tensor, truth: Tensor, classes: int) -> Tensor:
    """(K, K) int64 number of pixels of each true class (row) that were taken for each class (column).

    Counts add up over batches. Pixels whose truth is `UNKNOWN` do not count, whatever is said of them.

    Args:
        said: whole numbers in [0, K), any shape.
        truth: the same shape, in [0, K) or `UNKNOWN`.
        classes: K.
    """
    known = truth != UNKNOWN
    places = truth[known].long() * classes + said[known].long()
    return torch.bincount(places, minlength=classes * classes).reshape(classes, classes)


def mean_iou(counts: Tensor) -> float:
    """Mean over the classes that occur in the truth of intersection / union, in 0..1; NaN where nothing was counted.

    Args:
        counts: (K, K) as from `confusion`.
    """
    met = counts.diagonal().double()
    union = counts.sum(0) + counts.sum(1) - counts.diagonal()
    return float((met / union)[counts.sum(1) > 0].mean())
