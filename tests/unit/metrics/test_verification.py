from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from stages.lib.metrics.det import rank_scores
from stages.lib.metrics.verification import (
    det_curve,
    eer,
    error_rates,
    fnmr_at_fmr,
    fold_accuracy,
    rates_at,
    verification,
)

SCORES = np.array([0.9, 0.8, 0.4, 0.7, 0.3, 0.2, 0.1])
GENUINE = np.array([True, True, True, False, False, False, False])


@st.composite
def scored_pairs(draw: st.DrawFn) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Scores on a coarse grid, so that ties within and across the classes are common."""
    genuine = draw(st.lists(st.integers(-8, 8), min_size=1, max_size=20))
    impostor = draw(st.lists(st.integers(-8, 8), min_size=1, max_size=20))
    return np.array(genuine + impostor) / 8.0, np.arange(len(genuine) + len(impostor)) < len(genuine)


@given(scored_pairs())
def test_curve_equals_counting_at_every_threshold(
    pairs: tuple[NDArray[np.float64], NDArray[np.bool_]],
) -> None:
    scores, genuine = pairs
    det = det_curve(scores, genuine)
    assert det.thresholds[:-1].tolist() == sorted(set(scores.tolist()))
    for threshold, fmr, fnmr in zip(det.thresholds, det.fmr, det.fnmr, strict=True):
        accepted = [bool(score >= threshold) for score in scores]
        false_match = sum(a and not g for a, g in zip(accepted, genuine, strict=True))
        false_reject = sum(g and not a for a, g in zip(accepted, genuine, strict=True))
        assert fmr == false_match / (~genuine).sum()
        assert fnmr == false_reject / genuine.sum()
        assert rates_at(scores, genuine, float(threshold)) == pytest.approx((fmr, fnmr))


@given(scored_pairs())
def test_curve_runs_from_accepting_all_to_accepting_none(
    pairs: tuple[NDArray[np.float64], NDArray[np.bool_]],
) -> None:
    det = det_curve(*pairs)
    assert (det.fmr[0], det.fnmr[0], det.fmr[-1], det.fnmr[-1]) == (1.0, 0.0, 0.0, 1.0)
    assert np.all(np.diff(det.fmr) <= 0)
    assert np.all(np.diff(det.fnmr) >= 0)
    assert np.isfinite(det.thresholds).all()


@given(scored_pairs())
def test_error_rates_depend_on_the_order_of_scores_only(
    pairs: tuple[NDArray[np.float64], NDArray[np.bool_]],
) -> None:
    scores, genuine = pairs
    plain, mapped = verification(scores, genuine), verification(np.exp(3 * scores) - 5, genuine)
    for name in ("eer", "fnmr@1e-2", "tar@1e-3", "resolved@1e-2"):
        assert plain[name] == mapped[name]


@given(scored_pairs(), st.sampled_from([0.0, 0.01, 0.1, 0.5]))
def test_the_corners_of_a_curve_hold_its_error_rates(
    pairs: tuple[NDArray[np.float64], NDArray[np.bool_]], target: float
) -> None:
    ranking = rank_scores(*pairs)
    weights = [np.arange(1, 1 + len(side)) % 4 for side in (ranking.genuine, ranking.impostor)]
    weights[0][0] = weights[1][0] = 1
    whole, corners = (error_rates(r.det(*weights), (target,)) for r in (ranking, ranking.corners()))
    assert {n: float(v) for n, v in corners.items()} == pytest.approx({n: float(v) for n, v in whole.items()})


@given(scored_pairs(), st.data())
def test_whole_weights_equal_repeated_pairs(
    pairs: tuple[NDArray[np.float64], NDArray[np.bool_]], data: st.DataObject
) -> None:
    scores, genuine = pairs
    weights = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(scores), max_size=len(scores))))
    weights[0] = weights[-1] = 1
    repeated = verification(np.repeat(scores, weights), np.repeat(genuine, weights))
    assert verification(scores, genuine, weights) == pytest.approx(repeated)


@given(scored_pairs())
def test_weights_of_one_change_nothing(pairs: tuple[NDArray[np.float64], NDArray[np.bool_]]) -> None:
    assert verification(*pairs, weights=np.ones(len(pairs[0]))) == verification(*pairs)


def test_golden_values_by_hand() -> None:
    values = verification(SCORES, GENUINE, fmr_targets=(0.25, 1e-2))
    # FMR stays 1/4 while FNMR climbs from 0 to 1/3, so the curve crosses the diagonal at 1/4.
    assert values["eer"] == pytest.approx(0.25)
    assert (values["threshold@2.5e-1"], values["fnmr@2.5e-1"], values["resolved@2.5e-1"]) == (0.4, 0.0, 1.0)
    assert values["tar@1e-2"] == pytest.approx(2 / 3)
    assert (values["threshold@1e-2"], values["resolved@1e-2"]) == (0.8, 0.0)
    assert values["zerofmr"] == pytest.approx(1 / 3)
    # Means 0.7 and 0.325; population variances 0.14 / 3 and 0.63 / 4 - 0.325^2 = 0.051875.
    assert (values["genuine_mean"], values["impostor_mean"]) == pytest.approx((0.7, 0.325))
    assert values["fdr"] == pytest.approx(0.375**2 / (0.14 / 3 + 0.051875))


def test_keys_are_spelt_as_the_reports_read_them() -> None:
    assert set(verification(SCORES, GENUINE)) == {
        "eer", "zerofmr", "fdr", "genuine_mean", "impostor_mean",
        "fnmr@1e-2", "tar@1e-2", "threshold@1e-2", "resolved@1e-2",
        "fnmr@1e-3", "tar@1e-3", "threshold@1e-3", "resolved@1e-3",
    }  # fmt: skip


@given(scored_pairs())
def test_eer_is_zero_for_separated_and_half_for_identical_classes(
    pairs: tuple[NDArray[np.float64], NDArray[np.bool_]],
) -> None:
    scores, genuine = pairs
    assert eer(det_curve(scores + 3.0 * genuine, genuine)) == 0.0
    doubled, both = np.concatenate([scores, scores]), np.arange(2 * len(scores)) < len(scores)
    assert eer(det_curve(doubled, both)) == pytest.approx(0.5)


@given(scored_pairs(), st.sampled_from([0.0, 1e-3, 0.01, 0.1, 0.25, 0.5]))
def test_operating_point_is_the_lowest_that_keeps_the_target(
    pairs: tuple[NDArray[np.float64], NDArray[np.bool_]], target: float
) -> None:
    det = det_curve(*pairs)
    point = fnmr_at_fmr(det, target)
    allowed = [index for index, fmr in enumerate(det.fmr) if fmr <= target]
    assert point.threshold == det.thresholds[allowed[0]]
    assert point.fnmr == min(det.fnmr[allowed])
    assert point.fmr <= target
    assert point.resolved == any(0 < fmr <= target for fmr in det.fmr)


@pytest.mark.parametrize("impostors", [100, 300, 1000, 7000])
def test_a_target_that_equals_a_whole_number_of_false_matches_is_met_exactly(impostors: int) -> None:
    scores = np.append(np.linspace(0, 0.5, impostors), [0.9])
    point = fnmr_at_fmr(det_curve(scores, scores > 0.8), 1e-2)
    assert point.fmr == 1e-2
    assert point.resolved


def test_one_false_match_in_fifty_cannot_resolve_one_in_a_thousand() -> None:
    scores = np.append(np.linspace(0, 0.5, 50), [0.3, 0.9])
    genuine = np.arange(52) >= 50
    point = fnmr_at_fmr(det_curve(scores, genuine), 1e-3)
    assert (point.fmr, point.fnmr, point.resolved) == (0.0, 0.5, False)


def test_threshold_of_single_precision_scores_separates_them_again() -> None:
    scores = np.array([0.1, 0.7, 0.3, 0.7], dtype=np.float32)
    genuine = np.array([True, True, False, False])
    point = fnmr_at_fmr(det_curve(scores, genuine), 1e-3)
    assert rates_at(scores, genuine, point.threshold) == (0.0, 1.0)
    assert not (scores >= np.float32(point.threshold)).any()


def test_fdr_is_infinite_without_spread() -> None:
    assert verification(np.array([1.0, 1.0, 0.0]), np.array([True, True, False]))["fdr"] == math.inf
    assert verification(np.array([1.0, 1.0, 1.0]), np.array([True, True, False]))["fdr"] == 0.0


@pytest.mark.parametrize(
    ("scores", "genuine", "message"),
    [
        ([0.1, np.nan], [True, False], "NaN"),
        ([0.1, 0.2], [True, True], "impostor"),
        ([0.1, 0.2], [False, False], "genuine"),
        ([0.1, 0.2, 0.3], [True, False], "must both be"),
    ],
)
def test_scores_without_a_rate_are_refused(scores: list[float], genuine: list[bool], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        verification(np.array(scores), np.array(genuine))
    with pytest.raises(ValueError, match=message):
        rates_at(np.array(scores), np.array(genuine), 0.5)


@pytest.mark.parametrize("weights", [[1.0, -1.0], [1.0], [1.0, np.inf]])
def test_bad_weights_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weights"):
        det_curve(np.array([0.1, 0.2]), np.array([True, False]), weights)


def fold_accuracy_in_loops(scores: list[float], same: list[bool], fold: list[int]) -> list[float]:
    accuracies = []
    for held_out in sorted(set(fold)):
        train = [(s, g) for s, g, f in zip(scores, same, fold, strict=True) if f != held_out]
        test = [(s, g) for s, g, f in zip(scores, same, fold, strict=True) if f == held_out]
        levels = sorted({s for s, _ in train})
        between = [(a + b) / 2 for a, b in pairwise(levels)]
        candidates = [levels[0], *between, np.nextafter(levels[-1], np.inf)]
        right = [sum((s >= t) == g for s, g in train) for t in candidates]
        threshold = candidates[right.index(max(right))]
        accuracies.append(sum((s >= threshold) == g for s, g in test) / len(test))
    return accuracies


def test_ten_folds_as_in_lfw() -> None:
    generator = np.random.default_rng(5)
    fold, same = np.repeat(np.arange(10), 12), np.tile(np.repeat([True, False], 6), 10)
    scores = generator.normal(size=120) + 1.5 * same
    expected = fold_accuracy_in_loops(scores.tolist(), same.tolist(), fold.tolist())
    mean, spread = fold_accuracy(scores, same, fold)
    assert mean == pytest.approx(np.mean(expected))
    assert spread == pytest.approx(np.std(expected, ddof=1))
    assert 0.7 < mean < 0.9


def test_fold_accuracy_by_hand_never_uses_the_held_out_fold() -> None:
    scores = np.array([0.9, 0.1, 0.6, 0.5])
    same = np.array([True, False, True, False])
    # Fold 0 is judged at 0.55 (right twice); fold 1 at 0.5, where its impostor is accepted.
    assert fold_accuracy(scores, same, np.array([0, 0, 1, 1])) == pytest.approx((0.75, math.sqrt(0.125)))


def test_one_fold_is_refused() -> None:
    with pytest.raises(ValueError, match="two folds"):
        fold_accuracy(SCORES, GENUINE, np.zeros(7, dtype=np.int64))
