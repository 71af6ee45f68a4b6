from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.lib.metrics.protocol import all_pairs, pair_scores

subject_lists = st.lists(st.integers(-3, 9), min_size=1, max_size=25)


@given(subject_lists)
def test_all_pairs_equals_the_double_loop(subjects: list[int]) -> None:
    protocol = all_pairs(np.array(subjects), max_impostors=1000, seed=0)
    expected = {(i, j, subjects[i] == subjects[j]) for i in range(len(subjects)) for j in range(i + 1, len(subjects))}
    listed = list(zip(protocol.left.tolist(), protocol.right.tolist(), protocol.genuine.tolist(), strict=True))
    assert len(listed) == len(expected)
    assert set(listed) == expected


@given(subject_lists, st.integers(0, 60), st.integers(0, 5))
def test_sample_keeps_every_genuine_pair_and_never_crosses_subjects(subjects: list[int], most: int, seed: int) -> None:
    faces = np.array(subjects)
    protocol = all_pairs(faces, most, seed)
    everything = all_pairs(faces, 1000, seed)
    names = np.unique(faces)

    same = faces[protocol.left] == faces[protocol.right]
    assert np.array_equal(same, protocol.genuine)
    assert protocol.genuine.sum() == everything.genuine.sum()
    assert (~protocol.genuine).sum() == min(most, (~everything.genuine).sum())
    assert len(set(zip(protocol.left.tolist(), protocol.right.tolist(), strict=True))) == len(protocol.left)
    assert np.all(protocol.left < protocol.right)
    assert protocol.subjects == len(names)
    assert np.array_equal(names[protocol.subject_left], faces[protocol.left])
    assert np.array_equal(names[protocol.subject_right], faces[protocol.right])


def test_sample_is_seeded_and_uniform() -> None:
    subjects = np.repeat(np.arange(5), 2)
    count: dict[tuple[int, int], int] = {}
    draws, most, population = 1500, 10, 40
    for seed in range(draws):
        protocol = all_pairs(subjects, most, seed)
        for pair in zip(
            protocol.left[~protocol.genuine].tolist(), protocol.right[~protocol.genuine].tolist(), strict=True
        ):
            count[pair] = count.get(pair, 0) + 1
    share = most / population
    assert len(count) == population
    tolerance = 5 * (draws * share * (1 - share)) ** 0.5
    assert all(abs(n - draws * share) < tolerance for n in count.values())
    assert np.array_equal(all_pairs(subjects, most, 3).right, all_pairs(subjects, most, 3).right)


def test_sampling_twenty_thousand_million_pairs_stays_small() -> None:
    subjects = np.repeat(np.arange(100_000), 2)
    tracemalloc.start()
    protocol = all_pairs(subjects, max_impostors=50_000, seed=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(protocol.left) == 150_000
    assert peak < 64 * 2**20


def test_scores_compare_the_template_of_the_left_face_with_the_probe_of_the_right() -> None:
    generator = np.random.default_rng(0)
    templates, probes = generator.normal(size=(2, 12, 7)).astype(np.float32)
    protocol = all_pairs(np.arange(12) // 3, 30, seed=1)
    scores = pair_scores(protocol, templates, probes, block=5)
    for index, (left, right) in enumerate(zip(protocol.left, protocol.right, strict=True)):
        assert scores[index] == pytest.approx(float(templates[left] @ probes[right]), abs=1e-5)


def test_negative_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="max_impostors=-1"):
        all_pairs(np.arange(4), -1, 0)
