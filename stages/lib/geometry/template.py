"""The aligned face: where the five landmarks lie, and the similarity that brings a face there."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

SIZE: Final = 112
"""Side of the square aligned face in pixels."""

ARCFACE_TEMPLATE: Final[NDArray[np.float64]] = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)
"""Right eye, left eye, nose, right mouth corner, left mouth corner of the person; x, y in pixels."""
ARCFACE_TEMPLATE.setflags(write=False)

_DEGENERATE = 1e-6  # share of the points' spread that must be explained, or the scale is noise


def similarity(landmarks: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least-squares similarity (rotation, scale, shift; never a reflection) of each face onto the template.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns", PAMI 1991.
    In the plane, with points as complex numbers, the optimum without reflection is linear: the centred
    template is `a * centred landmarks`, where `a` holds scale and rotation, so no SVD is needed.

    Args:
        landmarks: (N, 5, 2) points, x then y, in source pixels, ordered as `ARCFACE_TEMPLATE`.

    Returns:
        transforms: (N, 2, 3), source pixel to template pixel.
        residual: (N,) root-mean-square distance to the template in template pixels.
        A face whose points coincide, are not finite or fix no scale gets a NaN transform and an infinite
        residual, so that a bound on the residual rejects it.

    Raises:
        ValueError: the landmarks are not (N, 5, 2).
    """
    points = np.asarray(landmarks, dtype=np.float64)
    if points.ndim != 3 or points.shape[1:] != (5, 2):
        raise ValueError(f"landmarks have shape {points.shape}, expected (N, 5, 2)")
    target = ARCFACE_TEMPLATE[:, 0] + 1j * ARCFACE_TEMPLATE[:, 1]
    with np.errstate(all="ignore"):
        source = points[..., 0] + 1j * points[..., 1]
        source_mean = source.mean(axis=1, keepdims=True)
        centred, wanted = source - source_mean, target - target.mean()
        spread = (np.abs(centred) ** 2).sum(axis=1)
        match = (centred.conj() * wanted).sum(axis=1)
        spin = match / spread
        shift = target.mean() - spin * source_mean[:, 0]
        miss = spin[:, None] * centred - wanted
        residual = np.sqrt((np.abs(miss) ** 2).mean(axis=1))
        explained = np.abs(match) / np.sqrt(spread * (np.abs(wanted) ** 2).sum())
        # Below the resolution of float64 around these coordinates, the points differ by rounding only.
        apart = np.sqrt(spread) > _DEGENERATE * (1.0 + np.abs(source_mean[:, 0]))
        usable = np.isfinite(residual) & apart & (explained > _DEGENERATE)
    rows = np.stack([spin.real, -spin.imag, shift.real, spin.imag, spin.real, shift.imag], axis=-1)
    transforms = np.where(usable[:, None], rows, np.nan).reshape(-1, 2, 3)
    return transforms, np.where(usable, residual, np.inf)
