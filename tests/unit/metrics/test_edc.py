"""Error versus discard: the golden vectors of the design, plain loops and properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata, spearmanr

from stages.lib.metrics import edc
from stages.lib.metrics.bootstrap import subject_weights
from stages.lib.metrics.edc import (
    bootstrap_normalised_area,
    error_versus_discard,
    error_versus_discard_refitted,
    rank_correlation,
)

QUALITY = np.array([0.9, 0.8, 0.7, 0.2, 0.6, 0.1, 0.95, 0.5, 0.4, 0.3])
MATED = np.array([0.80, 0.75, 0.30, 0.10, 0.60, 0.20, 0.90, 0.45, 0.55, 0.35])
IMPOSTOR_QUALITY = np.array([0.85, 0.75, 0.65, 0.25, 0.55, 0.15, 0.92, 0.45, 0.35, 0.05])
IMPOSTOR = np.array([0.10, 0.20, 0.05, 0.45, 0.15, 0.52, 0.12, 0.30, 0.25, 0.58])


def in_loops(mated: np.ndarray, quality: np.ndarray, threshold: float, fraction: float) -> float:
    """FNMR with every whole group of lowest quality gone that fits into the fraction."""
    kept = list(range(len(mated)))
    for q in sorted(set(quality.tolist())):
        rest = [i for i in kept if quality[i] > q]
        if not rest or len(mated) - len(rest) > fraction * len(mated) + 1e-9:
            break
        kept = rest
    return sum(mated[i] < threshold for i in kept) / len(kept)


def test_golden_vector_of_variant_a() -> None:
    curve = error_versus_discard(MATED, QUALITY, 0.5)
    expected = [0.5, 0.4444, 0.375, 0.2857, 0.3333, 0.2, 0.25]
    assert [curve.at(k / 10) for k in range(7)] == pytest.approx(expected, abs=1e-4)
    assert (curve.area(0.2), curve.area(0.3)) == pytest.approx((0.094444, 0.131944), abs=1e-6)
    areas = curve.normalised_area(0.2), curve.normalised_area(0.3)
    assert areas == pytest.approx((0.944444, 0.879630), abs=1e-6)
    assert (curve.misses, curve.resolved) == (5, False)


def test_golden_vector_of_variant_b() -> None:
    curve, thresholds = error_versus_discard_refitted(MATED, QUALITY, IMPOSTOR, IMPOSTOR_QUALITY, 0.1)
    assert thresholds[:9:2] == pytest.approx([0.52, 0.52, 0.45, 0.30, 0.30])
    assert curve.fnmr[:9:2] == pytest.approx([0.5, 0.4444, 0.375, 0.1429, 0.1667], abs=1e-4)
    assert curve.misses == 5


@given(st.permutations(range(20)), st.integers(1, 4))
def test_order_does_not_decide_who_leaves_first_in_variant_b(order: list[int], levels: int) -> None:
    scores, qualities = np.concatenate([MATED, IMPOSTOR]), np.concatenate([QUALITY, IMPOSTOR_QUALITY])
    coarse, rows = np.round(qualities * levels), np.array(order)
    own, other = rows[rows < 10], rows[rows >= 10]
    plain = error_versus_discard_refitted(MATED, coarse[:10], IMPOSTOR, coarse[10:], 0.1)[0]
    mixed = error_versus_discard_refitted(scores[own], coarse[own], scores[other], coarse[other], 0.1)[0]
    assert plain.fnmr.tolist() == mixed.fnmr.tolist()
    blind = error_versus_discard_refitted(MATED, np.ones(10), IMPOSTOR, np.ones(10), 0.1)[0]
    assert blind.normalised_area(0.3) == pytest.approx(1.0)


pairs = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=40)


@given(pairs)
def test_steps_equal_plain_loops_and_ties_leave_together(drawn: list[tuple[int, int]]) -> None:
    mated, quality = np.array(drawn, float).T
    curve = error_versus_discard(mated, quality, 5.0)
    for fraction in (0.0, 0.1, 0.25, 0.5, 0.9):
        assert curve.at(fraction) == pytest.approx(in_loops(mated, quality, 5.0, fraction))
    fine = np.arange(3000) / 3000 * 0.3  # the area by a sum over thin slices
    assert curve.area(0.3) == pytest.approx(np.mean([curve.at(f) for f in fine]) * 0.3, abs=2e-3)


@given(pairs)
def test_constant_quality_knows_nothing_the_score_knows_best_and_scales_do_not_matter(
    drawn: list[tuple[int, int]],
) -> None:
    mated, quality = np.array(drawn, float).T
    curve = error_versus_discard(mated, quality, 5.0)
    blind = error_versus_discard(mated, np.zeros(len(mated)), 5.0)
    oracle = error_versus_discard(mated, mated + np.arange(len(mated)) * 1e-6, 5.0)
    mapped = error_versus_discard(mated, np.exp(quality), 5.0)
    if curve.misses:
        assert blind.normalised_area(0.2) == pytest.approx(1.0)
        assert mapped.normalised_area(0.3) == pytest.approx(curve.normalised_area(0.3))
    else:
        assert np.isnan(curve.normalised_area(0.3))
    for fraction in (0.0, 0.2, 0.6):
        assert oracle.at(fraction) <= curve.at(fraction) + 1e-12


def test_replicates_equal_the_pairs_of_copied_people(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    subject, mated, quality = draw.integers(0, 9, 80), draw.uniform(size=80), draw.integers(0, 12, 80) / 12
    weights = subject_weights(9, 30, seed=1)
    found = bootstrap_normalised_area(mated, quality, 0.4, subject, weights, (0.2, 0.3))
    monkeypatch.setattr(edc, "BLOCK", 10)
    blocks = bootstrap_normalised_area(mated, quality, 0.4, subject, weights, (0.2, 0.3))
    np.testing.assert_allclose(found, blocks)
    for row, *values in zip(weights, *found, strict=True):
        rows = np.repeat(np.arange(80), row[subject])
        curve = error_versus_discard(mated[rows], quality[rows], 0.4)
        assert [curve.normalised_area(0.2), curve.normalised_area(0.3)] == pytest.approx(values)


def test_scores_without_qualities_are_refused() -> None:
    with pytest.raises(ValueError, match="one of each for every pair"):
        error_versus_discard(MATED, QUALITY[:-1], 0.5)
    with pytest.raises(ValueError, match="leave its pair out"):
        error_versus_discard(MATED, np.where(QUALITY > 0.8, np.nan, QUALITY), 0.5)
    with pytest.raises(ValueError, match="below 1"):
        error_versus_discard_refitted(MATED, QUALITY, IMPOSTOR, IMPOSTOR_QUALITY, 1.0)


def test_rank_correlation_is_spearmans_and_resamples_weigh_its_ranks() -> None:
    draw = np.random.default_rng(0)
    quality, subject = draw.integers(0, 9, 60) / 9, draw.integers(0, 6, 60)
    mated, weights = quality + draw.normal(0, 0.4, 60), subject_weights(6, 25, seed=1)
    whole, replicates = rank_correlation(mated, quality, subject, weights)
    assert whole == pytest.approx(spearmanr(mated, quality).statistic)
    for row, value in zip(weights, replicates, strict=True):
        rows = np.repeat(np.arange(60), row[subject])
        ranks = [rankdata(side)[rows] for side in (mated, quality)]
        assert np.corrcoef(*ranks)[0, 1] == pytest.approx(value)
    assert np.isnan(rank_correlation(mated, np.ones(60), subject, weights)[0])
