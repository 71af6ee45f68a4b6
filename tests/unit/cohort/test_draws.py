"""Truncated normal numbers against rejection, and weighted picks."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest, truncnorm

from stages.lib.cohort.draws import normal, pick, truncated


def test_truncated_is_the_truncated_normal() -> None:
    values = truncated(np.random.default_rng(0), np.full(20_000, 0.5), 1.0, -1.0, 1.2)
    assert kstest(values, truncnorm(-1.5, 0.7, loc=0.5).cdf).pvalue > 0.01


@given(st.floats(-50, 50), st.floats(0, 10), st.floats(-3, 0), st.floats(0, 3), st.integers(0, 1000))
def test_always_inside_and_finite(mean: float, deviation: float, low: float, high: float, seed: int) -> None:
    assert low <= normal(np.random.default_rng(seed), mean, deviation, low, high) <= high


def test_pick_follows_the_weights_and_never_takes_a_zero() -> None:
    generator = np.random.default_rng(1)
    drawn = [pick(generator, {"never": 0.0, "one": 1.0, "three": 3.0, "no": 0.0}) for _ in range(4000)]
    assert set(drawn) == {"one", "three"}
    assert abs(drawn.count("three") / 4000 - 0.75) < 0.03
