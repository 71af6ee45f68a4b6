"""Labels that belong to the pixels of an image, taken to the alignment template with them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from stages.lib.codec import decode_classes, encode_png
from stages.lib.geometry.warp import warp


def move(points: NDArray[np.float32], transforms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Take (N, P, 2) points through (N, 2, 3) transforms: landmarks always belong to the row's own image."""
    return np.einsum("nij,npj->npi", transforms[:, :, :2], points) + transforms[:, None, :, 2]


def move_dense(
    points: Sequence[list[float] | None], transforms: NDArray[np.float64]
) -> list[NDArray[np.float64] | None]:
    """Take x, y, x, y, ... of the faces that have dense landmarks through their transforms.

    Args:
        points: N times an even number of values, the same for all, or None.
        transforms: (N, 2, 3).
    """
    moved: list[NDArray[np.float64] | None] = [None] * len(points)
    known = [row for row, values in enumerate(points) if values is not None]
    if known:
        dense = np.asarray([points[row] for row in known], np.float32).reshape(len(known), -1, 2)
        for row, values in zip(known, move(dense, transforms[known]), strict=True):
            moved[row] = values.ravel()
    return moved


def warp_segmentations(
    labels: Sequence[bytes | None], transforms: NDArray[np.float64], device: str | torch.device
) -> list[bytes | None]:
    """Take the segmentations of the faces that have one through their transforms.

    Args:
        labels: N times an encoded image of classes, or None.
        transforms: (N, 2, 3).
        device: where they are sampled.

    Returns:
        PNG of 112x112 classes, or None.
    """
    known = [(row, decode_classes(label)) for row, label in enumerate(labels) if label is not None]
    rows = [row for row, _ in known]
    warped = warp([classes[..., None] for _, classes in known], transforms[rows], device, classes=True)
    moved: list[bytes | None] = [None] * len(labels)
    for row, classes in zip(rows, warped, strict=True):
        moved[row] = encode_png(classes[..., 0])
    return moved
