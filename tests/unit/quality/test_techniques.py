"""Golden vectors of the published techniques, and the same in plain loops."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from stages.lib import executor
from stages.lib.errors import ConfigError
from stages.lib.quality import techniques
from stages.lib.quality.techniques import cr_fiqa, scaled, sdd_fiqa, ser_fiq, wasserstein


def turned(*radians: float) -> np.ndarray:
    return np.stack([np.cos(radians), np.sin(radians)], axis=-1)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


@pytest.mark.parametrize(("own", "nearest", "expected"), [(0.7, 0.3, 0.5385), (0.7, -0.1, 0.7778)])
def test_certainty_ratio_keeps_its_plus_one(own: float, nearest: float, expected: float) -> None:
    face = np.array([[own, nearest, np.sqrt(1 - own**2 - nearest**2)]])
    far = np.array([-1.0, 0.0, 0.0])
    quality = cr_fiqa(face, np.array([0]), np.stack([np.eye(3)[0], np.eye(3)[1], far]))
    assert quality == pytest.approx([expected], abs=1e-4)


def test_certainty_ratio_of_many_faces_equals_plain_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "BLOCK", 20)
    draw = np.random.default_rng(0)
    faces, centres, labels = unit(draw.normal(size=(23, 8))), unit(draw.normal(size=(5, 8))), draw.integers(0, 5, 23)
    expected = []
    for face, label in zip(faces, labels, strict=True):
        others = max(float(face @ centres[c]) for c in range(5) if c != label)
        expected.append(float(face @ centres[label]) / (others + 1 + 1e-9))
    np.testing.assert_allclose(cr_fiqa(faces, labels, centres), expected)
    with pytest.raises(ConfigError, match="at least two"):
        cr_fiqa(faces, labels * 0, centres[:1])


def test_wasserstein_of_samples_of_one_size() -> None:
    assert wasserstein(np.array([0.8, 0.7, 0.9, 0.6]), np.array([0.1, 0.2, 0.0, 0.3])) == pytest.approx(0.6)
    one, other = np.random.default_rng(1).normal(size=(2, 3, 24))
    np.testing.assert_allclose(wasserstein(one, other), [*map(wasserstein_distance, one, other)])


def test_a_face_among_its_own_beats_one_among_strangers_and_the_only_one_has_no_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draw = np.random.default_rng(2)
    centres = unit(draw.normal(size=(6, 64)))
    labels = np.array([4, 0, 0, 1, 1, 2, 2, 3, 3, 0])
    faces = unit(centres[labels] + 0.3 * unit(draw.normal(size=(10, 64))))
    faces[9] = centres[1]  # called one of person 0, looks like person 1
    ids = [f"f{n}" for n in range(10)]
    quality = sdd_fiqa(faces, labels, ids, seed=3)
    assert np.isnan(quality[0])
    assert quality[1:].min() == quality[9] == 0.0
    assert quality[1:].max() == 1.0
    order = np.random.default_rng(5).permutation(10)
    monkeypatch.setattr(executor, "BLOCK", 1)
    shuffled = sdd_fiqa(faces[order], labels[order], [ids[row] for row in order], seed=3)
    np.testing.assert_allclose(quality[order], shuffled)
    with pytest.raises(ConfigError, match="two faces"):
        sdd_fiqa(faces, np.arange(10), ids, seed=3)


def test_genuine_and_impostor_partners_are_of_the_right_person(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every cosine to the own person is 1 and to another 0, so any wrong partner, or the face itself, would show."""
    people = np.array([2, 0, 1, 0, 2, 1, 1, 0])
    seen: list[tuple[np.ndarray, np.ndarray]] = []

    def spy(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        seen.append((one, other))
        return wasserstein(one, other)

    monkeypatch.setattr(techniques, "wasserstein", spy)
    monkeypatch.setattr(executor, "BLOCK", 1)
    own = np.arange(8)
    faces = np.concatenate([np.eye(3)[people], 1e-3 * np.eye(8)[own]], axis=1)  # a product with itself is above 1
    sdd_fiqa(faces, people, [str(n) for n in own], seed=0)
    assert len(seen) == 8
    for genuine, impostor in seen:
        np.testing.assert_array_equal(genuine, np.ones_like(genuine))
        np.testing.assert_array_equal(impostor, np.zeros_like(impostor))


def test_steadiness_under_dropout() -> None:
    passes = turned(0.0, 0.2, 0.4)[:, None]
    assert ser_fiq(passes) == pytest.approx([0.867996], abs=1e-6)
    draw = unit(np.random.default_rng(4).normal(size=(5, 3, 16)))
    for face, found in enumerate(ser_fiq(draw)):
        gaps = [np.linalg.norm(a - b) for a, b in combinations(draw[:, face], 2)]
        assert found == pytest.approx(2 / (1 + np.exp(np.mean(gaps))))
    assert ser_fiq(np.repeat(draw[:1], 4, axis=0)) == pytest.approx(np.ones(3))
    with pytest.raises(ConfigError, match="at least two"):
        ser_fiq(draw[:1])


def test_scaling_leaves_the_unknown_alone() -> None:
    np.testing.assert_array_equal(scaled(np.array([2.0, np.nan, 4.0, 3.0])), [0.0, np.nan, 1.0, 0.5])
    np.testing.assert_array_equal(scaled(np.array([2.0, 2.0])), [0.0, 0.0])
