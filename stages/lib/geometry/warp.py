"""Cut aligned faces out of images of any size, in batches on any device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import cv2
import kornia.geometry.transform as K
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from stages.lib.geometry.template import SIZE

_ALIAS_FREE: Final = 1.5  # bilinear sampling may shrink by this much before it skips source pixels
_MARGIN: Final = 2.0  # template pixels around the crop, so that its edge is interpolated from true pixels
_CANVAS: Final = 256  # holds a template turned by 45 degrees and shrunk by `_ALIAS_FREE`, with its margin
_CHUNK: Final = 16  # faces on the device at once: fits a cache, bounds memory, changes no pixel


def warp(
    images: Sequence[NDArray[np.uint8]], transforms: ArrayLike, device: str | torch.device, *, classes: bool = False
) -> NDArray[np.uint8]:
    """Warp each image onto the alignment template.

    Only the part of the image that the template covers is touched. Where it shrinks by more than 1.5 it is
    first averaged down to the template's scale, so nothing aliases; the rest is one bilinear warp. Every part
    lies on a canvas of one size, so that a face has the same bytes alone and in any batch, and is sampled in
    float64, so that the order of a device's operations does not show once rounded.

    Args:
        images: N images, (H, W, C) uint8 of any sizes and one number of channels, such as RGB.
        transforms: (N, 2, 3) similarities, image pixel to template pixel, from `template.similarity`.
        device: where the faces are sampled.
        classes: the values are classes, of which none may be made up between two others.

    Returns:
        (N, 112, 112, C) uint8. What lies outside the image is 0.

    Raises:
        ValueError: the counts differ, an image is not (H, W, C) uint8, or a transform is not finite (reject
            faces with an infinite residual first).
    """
    matrices = np.asarray(transforms, dtype=np.float64).reshape(-1, 2, 3)
    if len(matrices) != len(images):
        raise ValueError(f"{len(images)} images but {len(matrices)} transforms")
    bad = np.flatnonzero(~np.isfinite(matrices).all(axis=(1, 2)))
    if bad.size:
        raise ValueError(f"transform {bad[0]} is not finite: reject faces with an infinite residual first")
    faces = np.empty((len(images), SIZE, SIZE, images[0].shape[-1] if len(images) else 3), np.uint8)
    for start in range(0, len(images), _CHUNK):
        part = slice(start, start + _CHUNK)
        faces[part] = _sample(*_canvases(images[part], matrices[part], classes), device, classes)
    return faces


def _canvases(
    images: Sequence[NDArray[np.uint8]], matrices: NDArray[np.float64], classes: bool
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The covered part of each image at the corner of a canvas, and the maps from canvas to template."""
    canvases = np.zeros((len(images), _CANVAS, _CANVAS, images[0].shape[-1]), np.uint8)
    maps = np.empty((len(images), 2, 3))
    for canvas, onto, image, matrix in zip(canvases, maps, images, matrices, strict=True):
        region, onto[:] = _region(image, matrix, classes)
        canvas[: region.shape[0], : region.shape[1]] = region.reshape(*region.shape[:2], canvas.shape[2])
    return canvases, maps


def _region(
    image: NDArray[np.uint8], matrix: NDArray[np.float64], classes: bool
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Crop what the template covers, averaged down if it shrinks, and its own map to the template."""
    if image.dtype != np.uint8 or image.ndim != 3:
        raise ValueError(f"image is {image.dtype} {image.shape}, expected uint8 (height, width, channels)")
    limits = np.array(image.shape[1::-1])
    near, far = -_MARGIN, SIZE - 1 + _MARGIN
    corners = np.array([[near, far, near, far], [near, near, far, far]]) - matrix[:, 2:]
    covered = np.linalg.solve(matrix[:, :2], corners)
    low = np.clip(np.floor(covered.min(axis=1)), 0, limits).astype(int)
    high = np.clip(np.ceil(covered.max(axis=1)) + 1, 0, limits).astype(int)
    region = image[low[1] : high[1], low[0] : high[0]]
    ratio = np.ones(2)
    shrink = 1.0 / np.sqrt(abs(np.linalg.det(matrix[:, :2])))
    if region.size and shrink > _ALIAS_FREE:
        extent = high - low
        size = np.maximum(1, np.rint(extent / shrink)).astype(int)
        kernel = cv2.INTER_NEAREST_EXACT if classes else cv2.INTER_AREA
        region = cv2.resize(region, size.tolist(), interpolation=kernel).astype(np.uint8, copy=False)
        ratio = extent / size
    # Pixel centres sit at whole numbers: region pixel p came from image pixel low + (p + 1/2) * ratio - 1/2.
    linear = matrix[:, :2] * ratio
    shift = matrix[:, :2] @ (low + 0.5 * ratio - 0.5) + matrix[:, 2]
    return region, np.column_stack([linear, shift])


def _sample(
    canvases: NDArray[np.uint8], maps: NDArray[np.float64], device: str | torch.device, classes: bool
) -> NDArray[np.uint8]:
    pixels = torch.from_numpy(canvases).to(device).permute(0, 3, 1, 2).double()
    mode = "nearest" if classes else "bilinear"
    warped = K.warp_affine(pixels, torch.from_numpy(maps).to(device), (SIZE, SIZE), mode, align_corners=True)
    return warped.round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
