"""A shipped threshold keeps its false match rate on the pairs it was read from, or is not given."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from stages.lib.deploy.threshold import MIN_FALSE_MATCHES, compare_people, impostors, thresholds
from stages.lib.models.embedder import unit

PEOPLE, EACH = 20, 3
SUBJECTS = [f"p{place % PEOPLE}" for place in range(PEOPLE * EACH)]
DIFFERENT = [(a, b) for a, b in combinations(range(len(SUBJECTS)), 2) if SUBJECTS[a] != SUBJECTS[b]]


@pytest.fixture
def embeddings() -> np.ndarray:
    return unit(np.random.default_rng(3).normal(size=(len(SUBJECTS), 6)).astype(np.float32))[0]


def test_a_threshold_is_the_lowest_that_keeps_its_rate(embeddings: np.ndarray) -> None:
    scores = sorted(float(np.vecdot(embeddings[a], embeddings[b])) for a, b in DIFFERENT)
    found = thresholds(embeddings, compare_people(SUBJECTS), [0.1, 1e-2])
    assert list(found) == ["1e-1", "1e-2"]
    for target, threshold in zip((0.1, 1e-2), found.values(), strict=True):
        assert (threshold.impostor_pairs, threshold.people) == (len(DIFFERENT), PEOPLE)
        allowed = int(target * len(scores))
        assert sum(score >= threshold.cosine for score in scores) == allowed
        # a genuine score may lie between the last impostor that is accepted and the first that is not
        assert scores[-allowed - 1] < threshold.cosine <= scores[-allowed]


def test_a_rate_that_the_pairs_cannot_show_has_no_threshold(embeddings: np.ndarray) -> None:
    pairs = compare_people(SUBJECTS)
    edge = MIN_FALSE_MATCHES / impostors(pairs)
    assert set(thresholds(embeddings, pairs, [edge * 1.01])) != set()
    assert thresholds(embeddings, pairs, [edge * 0.99, 1e-3]) == {}
    assert thresholds(embeddings[:3], compare_people(["a", "a", "a"]), [0.1]) == {}
    assert thresholds(embeddings[:0], compare_people([]), [0.1]) == {}


def test_a_model_that_tells_nobody_apart_has_no_threshold(embeddings: np.ndarray) -> None:
    assert thresholds(np.ones_like(embeddings) / np.sqrt(np.float32(6)), compare_people(SUBJECTS), [0.1]) == {}
