from __future__ import annotations

import math

import numpy as np
import pytest

from stages.lib.metrics.bootstrap import (
    bootstrap_mean,
    bootstrap_verification,
    interval,
    paired_difference,
    subject_weights,
)
from stages.lib.metrics.protocol import all_pairs
from stages.lib.metrics.verification import rates_at, verification


def test_every_replicate_draws_as_many_subjects_as_there_are() -> None:
    weights = subject_weights(50, 2000, seed=1)
    assert weights.shape == (2000, 50)
    assert np.all(weights.sum(axis=1) == 50)
    assert np.abs(weights.mean(axis=0) - 1.0).max() < 5 / math.sqrt(2000)
    assert np.array_equal(weights, subject_weights(50, 2000, seed=1))
    assert not np.array_equal(weights, subject_weights(50, 2000, seed=2))


def test_replicates_equal_scoring_the_copied_subjects() -> None:
    generator = np.random.default_rng(0)
    protocol = all_pairs(generator.integers(0, 12, size=40), 300, seed=0)
    scores = np.round(generator.normal(size=len(protocol.left)) + 1.5 * protocol.genuine, 1)
    weights = subject_weights(protocol.subjects, 8, seed=3)

    replicates = bootstrap_verification(scores, protocol, weights, (0.1, 1e-2), frozen_threshold=1.0)

    for index, weight in enumerate(weights):
        copied_scores, copied_genuine = [], []
        for pair, score in enumerate(scores):
            left, right = protocol.subject_left[pair], protocol.subject_right[pair]
            copies = weight[left] if protocol.genuine[pair] else weight[left] * weight[right]
            copied_scores += [score] * copies
            copied_genuine += [protocol.genuine[pair]] * copies
        copies_of_scores, copies_of_genuine = np.array(copied_scores), np.array(copied_genuine)
        expected = verification(copies_of_scores, copies_of_genuine, fmr_targets=(0.1, 1e-2))
        expected["fmr@frozen"], expected["fnmr@frozen"] = rates_at(copies_of_scores, copies_of_genuine, 1.0)
        assert replicates.keys() == {n for n in expected if not n.startswith(("threshold@", "resolved@"))}
        for name in replicates:
            assert replicates[name][index] == pytest.approx(expected[name]), name


def test_weights_of_one_give_the_estimate_itself() -> None:
    generator = np.random.default_rng(1)
    protocol = all_pairs(np.arange(60) // 3, 500, seed=0)
    scores = (generator.normal(size=len(protocol.left)) + 2 * protocol.genuine).astype(np.float32)
    replicates = bootstrap_verification(scores, protocol, np.ones((1, 20), dtype=np.int64))
    expected = verification(scores, protocol.genuine)
    assert {name: values[0] for name, values in replicates.items()} == pytest.approx(
        {n: expected[n] for n in replicates}
    )


def test_a_replicate_without_impostors_is_undefined_and_left_out_of_the_interval() -> None:
    protocol = all_pairs(np.array([0, 0, 1, 1]), 10, seed=0)
    scores = np.where(protocol.genuine, 0.9, 0.1)
    replicates = bootstrap_verification(scores, protocol, np.array([[2, 0], [1, 1]]))
    assert all(np.isnan(values[0]) for values in replicates.values())
    assert replicates["eer"][1] == 0.0
    assert interval(replicates["eer"]) == (0.0, 0.0)


def test_weights_of_another_protocol_are_refused() -> None:
    protocol = all_pairs(np.array([0, 0, 1, 1]), 10, seed=0)
    with pytest.raises(ValueError, match="protocol has 2 subjects"):
        bootstrap_verification(np.arange(6.0), protocol, subject_weights(3, 4, seed=0))


def test_mean_equals_the_loop_over_faces() -> None:
    generator = np.random.default_rng(2)
    subject = generator.integers(0, 6, size=30)
    hits = generator.random(30) < 0.7
    weights = subject_weights(6, 5, seed=0)
    for value, weight in zip(bootstrap_mean(hits, subject, weights), weights, strict=True):
        copies = [hit for hit, s in zip(hits, subject, strict=True) for _ in range(weight[s])]
        assert value == pytest.approx(np.mean(copies))
    assert np.isnan(bootstrap_mean(np.ones(2), np.array([0, 0]), np.array([[0, 2]])))[0]


def test_interval_covers_the_true_rate_where_resampled_pairs_would_not() -> None:
    """Some subjects match everybody ("wolves"), so impostor scores of one subject move together."""
    generator = np.random.default_rng(7)
    subjects, threshold, rounds, level = 40, 2.0, 60, 0.9
    truth = 0.5 * math.erfc(threshold / 1.5 / math.sqrt(2))  # scores are N(0, 1 + 1 + 0.25)
    protocol = all_pairs(np.arange(2 * subjects) // 2, 780, seed=0)
    covered, covered_by_pairs = 0, 0
    for seed in range(rounds):
        effect = generator.normal(size=subjects)
        scores = effect[protocol.subject_left] + effect[protocol.subject_right]
        scores += 0.5 * generator.normal(size=len(scores))
        weights = subject_weights(subjects, 150, seed)
        replicates = bootstrap_verification(scores, protocol, weights, (), frozen_threshold=threshold)
        low, high = interval(replicates["fmr@frozen"], level)
        covered += low <= truth <= high
        rate = rates_at(scores, protocol.genuine, threshold)[0]
        covered_by_pairs += abs(rate - truth) < 1.645 * math.sqrt(rate * (1 - rate) / 780)
    assert 0.78 <= covered / rounds <= 1.0
    assert covered_by_pairs / rounds < 0.65


def test_percentile_interval_by_hand() -> None:
    assert interval(np.arange(101.0), level=0.9) == pytest.approx((5.0, 95.0))
    assert all(np.isnan(interval(np.full(3, np.nan))))


def test_pairing_removes_what_both_models_share() -> None:
    generator = np.random.default_rng(0)
    shared = generator.normal(0, 1.0, size=(1, 4000))
    control = shared + generator.normal(0, 0.01, size=(3, 4000))
    treatment = shared - 0.5 + generator.normal(0, 0.01, size=(3, 4000))
    mean, low, high = paired_difference(treatment, control)
    assert mean == pytest.approx(-0.5, abs=0.005)
    assert -0.55 < low < -0.5 < high < -0.45


def test_variances_of_seeds_and_of_subjects_add() -> None:
    gaps = np.array([-1.2, -0.3, 0.5, 1.0])
    of_the_mean = gaps.std(ddof=1) / math.sqrt(len(gaps))
    by_subjects = np.random.default_rng(1).normal(0, of_the_mean, size=200_000)
    treatment = gaps[:, None] + by_subjects
    mean, low, high = paired_difference(treatment, np.zeros_like(treatment), level=0.6827)
    assert mean == pytest.approx(0.0, abs=0.01)
    assert (high - low) / 2 == pytest.approx(math.sqrt(2) * of_the_mean, rel=0.03)


def test_one_training_seed_leaves_the_subjects_alone() -> None:
    generator = np.random.default_rng(0)
    treatment, control = generator.normal(size=(2, 1, 500))
    assert paired_difference(treatment, control)[1:] == interval((treatment - control)[0])


def test_unpaired_replicates_are_refused() -> None:
    with pytest.raises(ValueError, match="must both be"):
        paired_difference(np.zeros((3, 10)), np.zeros((2, 10)))
