"""Distances of windows from a reference, derived again in plain loops."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from stages.lib.drift.reference import Reference
from stages.lib.drift.statistics import METRICS, embedding_distances, measure

NUMBERS = st.lists(st.integers(-40, 40), min_size=25, max_size=60)


def reference(values: list[float]) -> Reference:
    """A reference of one column, every face a block of its own."""
    rows = pa.table({"x": pa.array(values, pa.float64()), "who": pa.array(range(len(values)), pa.int64())})
    return Reference.of(rows, ["x"], "who", "made")


def quantile(values: list[float], share: float) -> float:
    """The least value with at least that share at or below it."""
    ordered = sorted(values)
    return next(value for at, value in enumerate(ordered, 1) if at >= share * len(ordered) - 1e-9)


def psi(window: list[float], own: list[float]) -> float:
    """Over the bins between the reference's deciles, each with its upper edge; half a face for each bin."""
    edges = sorted({quantile(own, k / 10) for k in range(1, 10)})
    half = 0.5 / min(len(window), len(own))
    bounds = [-math.inf, *edges, math.inf]
    bins = len(edges) + 1
    total = 0.0
    for low, high in pairwise(bounds):
        inside = [sum(low < value <= high for value in side) / len(side) for side in (window, own)]
        p, q = ((share + half) / (1 + half * bins) for share in inside)
        total += (p - q) * math.log(p / q)
    return total


@given(NUMBERS, NUMBERS)
def test_every_statistic_is_that_of_the_loops(window: list[int], own: list[int]) -> None:
    found = measure({"x": np.array(window, np.float64)}, reference([float(v) for v in own]))
    sd = float(np.std(own))
    low, high = quantile([float(v) for v in own], 0.05), quantile([float(v) for v in own], 0.95)
    assert found["x", "psi"] == pytest.approx(psi([float(v) for v in window], [float(v) for v in own]), abs=1e-9)
    expected = wasserstein_distance(window, own) / sd if sd > 0 else 0.0
    assert found["x", "wasserstein"] == pytest.approx(expected, abs=1e-6)
    assert found["x", "tail_low"] == pytest.approx(sum(v < low for v in window) / len(window))
    assert found["x", "tail_high"] == pytest.approx(sum(v > high for v in window) / len(window))


@given(NUMBERS)
def test_a_window_does_not_differ_from_itself(values: list[int]) -> None:
    found = measure({"x": np.array(values, np.float64)}, reference([float(v) for v in values]))
    assert found["x", "psi"] == pytest.approx(0, abs=1e-12) and found["x", "wasserstein"] == pytest.approx(0, abs=1e-9)
    assert max(found["x", "tail_low"], found["x", "tail_high"]) <= 0.05 + 1e-9


def test_what_is_not_told_is_left_out() -> None:
    own = [*np.linspace(0, 1, 50), math.nan]
    window = np.array([0.2, math.nan, 0.8])
    assert measure({"x": window}, reference(own)) == measure({"x": window[[0, 2]]}, reference(own[:-1]))
    assert measure({"x": np.array([math.nan])}, reference(own)) == {}
    assert {metric for _, metric in measure({"x": window}, reference(own))} == set(METRICS)


def test_embeddings_are_compared_by_means_and_covariances() -> None:
    random = np.random.default_rng(3)
    both = random.normal(size=(60, 5))
    both /= np.linalg.norm(both, axis=1, keepdims=True)
    window = np.zeros((1, 60), np.int64)
    window[0, :20] = 1
    ((mean, covariance),) = embedding_distances(both @ both.T, window, 1 - window)
    sides = both[:20], both[20:]
    a, b = (side.mean(axis=0) for side in sides)
    assert mean == pytest.approx(1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    first, second = (np.cov(side.T, bias=True) for side in sides)
    assert covariance == pytest.approx(np.linalg.norm(first - second) / np.linalg.norm(second))
