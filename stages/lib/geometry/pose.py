"""Head pose from five landmarks: which way a face is turned, without a network."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

HEAD: Final[NDArray[np.float64]] = np.array(
    [
        [-31.5, 0.0, 0.0],
        [31.5, 0.0, 0.0],
        [0.0, 41.0, -28.0],
        [-26.0, 73.0, -3.0],
        [26.0, 73.0, -3.0],
    ]
)
"""Right eye, left eye, nose tip, right and left mouth corner of a generic head, in millimetres.

x to the person's left, y down, z into the head. Round numbers of our own: 63 mm between the pupils, an adult
mean; mouth in the proportions of the alignment template; the nose tip 28 mm before the eyes, and as far below
them as makes the mean face that YuNet sees in press photographs look straight ahead.
"""
HEAD.setflags(write=False)


def rotations(angles: ArrayLike) -> NDArray[np.float64]:
    """Head-to-camera rotations: roll after yaw after pitch.

    The camera looks along z, with x to the right of the image and y down. In this order the axis from eye to
    eye is drawn at the roll angle whatever yaw and pitch are.

    Args:
        angles: (N, 3) yaw, pitch, roll in degrees, signed as in `pose_from_landmarks`.

    Returns:
        (N, 3, 3) rotation matrices.
    """
    radians = np.deg2rad(np.asarray(angles, dtype=np.float64)).reshape(-1, 3)
    (yaw, pitch, roll), zero, one = radians.T, np.zeros(len(radians)), np.ones(len(radians))
    turn = [[np.cos(yaw), zero, -np.sin(yaw)], [zero, one, zero], [np.sin(yaw), zero, np.cos(yaw)]]
    nod = [[one, zero, zero], [zero, np.cos(pitch), np.sin(pitch)], [zero, -np.sin(pitch), np.cos(pitch)]]
    tilt = [[np.cos(roll), -np.sin(roll), zero], [np.sin(roll), np.cos(roll), zero], [zero, zero, one]]
    return np.einsum("ijn,jkn,kln->nil", np.array(tilt), np.array(turn), np.array(nod))


def pose_from_landmarks(landmarks: ArrayLike) -> NDArray[np.float32]:
    """Yaw, pitch and roll by a weak-perspective fit of `HEAD`.

    The least-squares affine camera (Tomasi and Kanade's model: scaled rows of a rotation) is linear in the
    points; its polar factor is the nearest pair of orthonormal rows, and their cross product completes it.

    Args:
        landmarks: (N, 5, 2) points, x then y, in pixels, in the order of `HEAD`.

    Returns:
        (N, 3) degrees. Yaw, -90 to 90, is positive when the people turn to their own left, so that the nose
        moves to the right of the image; pitch is positive when they look up; roll is positive when the line
        from their right to their left eye falls, so that the head leans to their left shoulder. Points that
        are not finite give NaN. YuNet's points barely move past 60 degrees, so larger yaws read as about 65.

    Raises:
        ValueError: the landmarks are not (N, 5, 2).
    """
    points = np.asarray(landmarks, dtype=np.float64)
    if points.ndim != 3 or points.shape[1:] != (5, 2):
        raise ValueError(f"landmarks have shape {points.shape}, expected (N, 5, 2)")
    finite = np.asarray(np.isfinite(points).all(axis=(1, 2), keepdims=True))
    centred = np.where(finite, points, 0.0)
    centred = centred - centred.mean(axis=1, keepdims=True)
    camera = centred.transpose(0, 2, 1) @ np.linalg.pinv(HEAD - HEAD.mean(axis=0)).T
    left, _, right = np.linalg.svd(camera, full_matrices=False)
    rows = left @ right
    forward = np.cross(rows[:, 0], rows[:, 1])
    yaw = np.arcsin(np.clip(forward[:, 0], -1.0, 1.0))
    pitch = np.arctan2(-forward[:, 1], forward[:, 2])
    roll = np.arctan2(rows[:, 1, 0], rows[:, 0, 0])
    angles = np.rad2deg(np.stack([yaw, pitch, roll], axis=-1))
    return np.where(finite[:, 0], angles, np.nan).astype(np.float32)
