from __future__ import annotations

import itertools

import numpy as np
import pytest

from stages.lib.geometry.pose import HEAD, pose_from_landmarks, rotations
from stages.lib.geometry.template import ARCFACE_TEMPLATE

GRID = np.array(list(itertools.product([-60, -35, 0, 20, 60], [-30, 0, 25], [-40, 0, 15])), dtype=float)


def project(angles: np.ndarray, distance: float) -> np.ndarray:
    """Landmarks of the generic head through a pinhole at `distance` mm."""
    camera = HEAD @ rotations(angles).transpose(0, 2, 1)
    return 900.0 * camera[..., :2] / (camera[..., 2:] + distance) + [320.0, 240.0]


def test_recovers_every_angle_of_a_distant_head() -> None:
    np.testing.assert_allclose(pose_from_landmarks(project(GRID, 1e6)), GRID, atol=0.1)


def test_perspective_of_a_portrait_costs_under_two_degrees_of_yaw() -> None:
    yaws = np.array([[yaw, 0, 0] for yaw in range(-60, 61, 10)], dtype=float)
    found = pose_from_landmarks(project(yaws, 2000.0))
    assert np.abs(found[:, 0] - yaws[:, 0]).max() < 2.0


def test_signs() -> None:
    front = ARCFACE_TEMPLATE
    nose_right, nose_up, left_eye_low = front.copy(), front.copy(), front.copy()
    nose_right[2, 0] += 8
    nose_up[2, 1] -= 6
    left_eye_low[[1, 4], 1] += 6
    left, up, leaning = pose_from_landmarks(np.stack([nose_right, nose_up, left_eye_low]))
    base = pose_from_landmarks(front[None])[0]
    assert left[0] - base[0] > 10
    assert up[1] - base[1] > 5
    assert leaning[2] - base[2] > 5


def test_the_mean_of_detected_faces_looks_at_the_camera() -> None:
    # YuNet's landmarks of all LFW images, aligned and averaged
    mean = np.array([[37.7, 52.4], [74.1, 52.3], [56.1, 73.6], [40.3, 90.6], [72.0, 90.5]])
    assert np.abs(pose_from_landmarks(mean[None])).max() < 2.0


def test_roll_is_the_slope_of_the_eye_line_at_any_yaw_and_pitch() -> None:
    points = project(GRID, 1e6)
    across = points[:, 1] - points[:, 0]
    np.testing.assert_allclose(np.rad2deg(np.arctan2(across[:, 1], across[:, 0])), GRID[:, 2], atol=0.1)


def test_scale_and_place_do_not_matter() -> None:
    points = project(GRID, 1500.0)
    np.testing.assert_allclose(pose_from_landmarks(points * 7.5 - 300), pose_from_landmarks(points), atol=1e-3)


def test_missing_points_give_nan_and_spare_their_neighbours() -> None:
    faces = np.stack([ARCFACE_TEMPLATE, np.full((5, 2), np.nan)])
    angles = pose_from_landmarks(faces)
    assert np.isfinite(angles[0]).all()
    assert np.isnan(angles[1]).all()
    assert angles.dtype == np.float32
    with pytest.raises(ValueError, match=r"\(N, 5, 2\)"):
        pose_from_landmarks(np.zeros((5, 2)))
