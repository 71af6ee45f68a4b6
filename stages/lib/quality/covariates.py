"""Covariates of a face: what was true of the capture that bears on how well it can be recognised."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from stages.lib.geometry.pose import pose_from_landmarks
from stages.lib.geometry.template import SIZE, similarity

_CENTRE: Final = (56.0, 66.0)  # x, y of an ellipse from brow to chin and cheek to cheek of the template
_AXES: Final = (38.0, 45.0)
_LUMA: Final = (77, 150, 29)  # BT.601 in 256ths
_FULL: Final = 255 * sum(_LUMA)  # the luma of white
_CHUNK: Final = 256  # faces on the device at once; bounds memory and changes no value


def covariates(
    faces: NDArray[np.uint8], landmarks: ArrayLike, residual: ArrayLike, device: str | torch.device
) -> dict[str, NDArray[np.float32]]:
    """Measure aligned faces.

    Pixels are judged inside an ellipse over the face, so hair and background do not count. They are summed as
    whole numbers, so a face has the same values in any batch and on any device.

    Args:
        faces: (N, 112, 112, 3) uint8 RGB, aligned to the template.
        landmarks: (N, 5, 2) points in source pixels.
        residual: (N,) root-mean-square misfit of the alignment in template pixels.
        device: where pixels are measured.

    Returns:
        (N,) finite float32 each:
        q_sharpness: ln(1 + variance of the 4-neighbour Laplacian of luma in grey levels), 0 to about 14.
        q_brightness, q_contrast: mean and standard deviation of luma, 0 to 1 and 0 to 0.5.
        q_overexposed, q_underexposed: share of pixels with luma above 0.98 and below 0.02, 0 to 1.
        q_interocular: distance of the eyes in source pixels.
        q_face_size: side of the source square that becomes the aligned face, in source pixels.
        q_yaw, q_pitch, q_roll: degrees, signed as in `pose.pose_from_landmarks`.
        q_alignment_residual: `residual`, in template pixels.

    Raises:
        ValueError: shapes disagree, or a face has landmarks that fix no alignment (reject it first).
    """
    if faces.dtype != np.uint8 or faces.shape[1:] != (SIZE, SIZE, 3):
        raise ValueError(f"faces are {faces.dtype} {faces.shape}, expected uint8 (N, {SIZE}, {SIZE}, 3)")
    points = np.asarray(landmarks, dtype=np.float64).reshape(-1, 5, 2)
    misfit = np.asarray(residual, dtype=np.float64)
    if not len(faces) == len(points) == len(misfit):
        raise ValueError(f"{len(faces)} faces, {len(points)} landmark sets and {len(misfit)} residuals")
    columns = {**_photometric(faces, device), **_geometric(points), "q_alignment_residual": misfit}
    for name, values in columns.items():
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            raise ValueError(f"{name} of face {bad[0]} is not finite: reject it first")
    return {name: values.astype(np.float32) for name, values in columns.items()}


def _geometric(points: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    transforms, _ = similarity(points)
    yaw, pitch, roll = pose_from_landmarks(points).astype(np.float64).T
    return {
        "q_interocular": np.linalg.norm(points[:, 1] - points[:, 0], axis=1),
        "q_face_size": SIZE / np.hypot(transforms[:, 0, 0], transforms[:, 1, 0]),
        "q_yaw": yaw,
        "q_pitch": pitch,
        "q_roll": roll,
    }


def _photometric(faces: NDArray[np.uint8], device: str | torch.device) -> dict[str, NDArray[np.float64]]:
    chunks = (faces[start : start + _CHUNK] for start in range(0, len(faces), _CHUNK))
    parts = [_measure(torch.from_numpy(chunk).to(device)) for chunk in chunks]
    table = torch.cat(parts).cpu().numpy() if parts else np.empty((0, 5))
    names = ("q_sharpness", "q_brightness", "q_contrast", "q_overexposed", "q_underexposed")
    return {name: table[:, column] for column, name in enumerate(names)}


def _measure(faces: torch.Tensor) -> torch.Tensor:
    """(N, 112, 112, 3) uint8 -> (N, 5) float64; exact sums of whole numbers up to the last divisions."""
    red, green, blue = faces.to(torch.int32).unbind(-1)
    luma = _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue
    around = luma[:, :-2, 1:-1] + luma[:, 2:, 1:-1] + luma[:, 1:-1, :-2] + luma[:, 1:-1, 2:]
    laplacian = around - 4 * luma[:, 1:-1, 1:-1]
    inside = _ellipse(faces.device)
    pixels, edges = luma[:, inside], laplacian[:, inside[1:-1, 1:-1]]
    mean, variance = _moments(pixels)
    edge_variance = _moments(edges)[1] / sum(_LUMA) ** 2
    bright = (pixels > 0.98 * _FULL).double().mean(dim=1)
    dark = (pixels < 0.02 * _FULL).double().mean(dim=1)
    return torch.stack([edge_variance.log1p(), mean / _FULL, variance.sqrt() / _FULL, bright, dark], dim=1)


def _moments(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance of each row; (N, P) int32 -> two (N,) float64."""
    wide = values.to(torch.int64)
    count, total = values.shape[1], wide.sum(dim=1)
    spread = count * (wide * wide).sum(dim=1) - total * total  # below 2**63: fourfold white, 5,400 pixels
    return total.double() / count, spread.double() / count**2


def _ellipse(device: torch.device) -> torch.Tensor:
    """(112, 112) bool: pixels on the face."""
    along = torch.arange(SIZE, dtype=torch.float64, device=device)
    across = ((along - _CENTRE[0]) / _AXES[0]) ** 2
    down = ((along - _CENTRE[1]) / _AXES[1]) ** 2
    return down[:, None] + across[None, :] <= 1.0
