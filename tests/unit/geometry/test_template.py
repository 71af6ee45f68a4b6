from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.lib.geometry.template import ARCFACE_TEMPLATE, SIZE, similarity


def by_least_squares(points: np.ndarray) -> tuple[np.ndarray, float]:
    """The similarity as ten linear equations in its four unknowns."""
    rows, wanted = [], []
    for (x, y), (u, v) in zip(points, ARCFACE_TEMPLATE, strict=True):
        rows += [[x, -y, 1, 0], [y, x, 0, 1]]
        wanted += [u, v]
    (a, b, tx, ty), *_ = np.linalg.lstsq(np.array(rows), np.array(wanted), rcond=None)
    matrix = np.array([[a, -b, tx], [b, a, ty]])
    missed = [np.sum((matrix @ [x, y, 1] - t) ** 2) for (x, y), t in zip(points, ARCFACE_TEMPLATE, strict=True)]
    return matrix, float(np.sqrt(np.mean(missed)))


def test_agrees_with_least_squares_face_by_face() -> None:
    rng = np.random.default_rng(0)
    faces = rng.uniform(-200, 900, (64, 5, 2))
    transforms, residual = similarity(faces)
    for face, matrix, miss in zip(faces, transforms, residual, strict=True):
        expected, expected_miss = by_least_squares(face)
        np.testing.assert_allclose(matrix, expected, rtol=1e-8, atol=1e-8)
        assert miss == pytest.approx(expected_miss, rel=1e-9)


@given(
    angle=st.floats(-np.pi, np.pi),
    scale=st.floats(0.05, 50),
    shift=st.tuples(st.floats(-5000, 5000), st.floats(-5000, 5000)),
)
def test_undoes_any_similarity_of_the_template(angle: float, scale: float, shift: tuple[float, float]) -> None:
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = ARCFACE_TEMPLATE @ turn.T + shift
    (matrix,), (miss,) = similarity(moved[None])
    np.testing.assert_allclose(moved @ matrix[:, :2].T + matrix[:, 2], ARCFACE_TEMPLATE, atol=1e-6)
    assert miss < 1e-6


def test_a_mirrored_face_misfits_and_is_not_reflected() -> None:
    mirrored = ARCFACE_TEMPLATE * [-1, 1] + [SIZE, 0]
    (matrix,), (miss,) = similarity(mirrored[None])
    assert np.linalg.det(matrix[:, :2]) > 0
    assert miss > 10


@pytest.mark.parametrize("value", [0.0, 37.3, 1e6, np.nan, np.inf])
def test_degenerate_points_are_marked_and_spare_their_neighbours(value: float) -> None:
    faces = np.stack([ARCFACE_TEMPLATE, np.full((5, 2), value)])
    transforms, residual = similarity(faces)
    assert np.isnan(transforms[1]).all()
    assert residual[1] == np.inf
    np.testing.assert_allclose(transforms[0], [[1, 0, 0], [0, 1, 0]], atol=1e-9)


def test_one_missing_point_is_enough_to_reject() -> None:
    face = ARCFACE_TEMPLATE.copy()
    face[2, 1] = np.nan
    _, residual = similarity(face[None])
    assert residual[0] == np.inf


def test_no_faces_and_wrong_shapes() -> None:
    transforms, residual = similarity(np.empty((0, 5, 2)))
    assert transforms.shape == (0, 2, 3)
    assert residual.shape == (0,)
    with pytest.raises(ValueError, match=r"\(N, 5, 2\)"):
        similarity(np.zeros((3, 10)))
