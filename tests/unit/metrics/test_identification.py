from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.lib.metrics.identification import rank1, split_gallery


@given(st.lists(st.integers(0, 6), max_size=30))
def test_gallery_is_the_first_face_of_each_subject_with_a_probe(subjects: list[int]) -> None:
    gallery, probes = split_gallery(np.array(subjects, dtype=np.int64))
    repeated = [row for row, subject in enumerate(subjects) if subjects.count(subject) >= 2]
    assert gallery.tolist() == [row for row in repeated if subjects.index(subjects[row]) == row]
    assert probes.tolist() == [row for row in repeated if subjects.index(subjects[row]) != row]


@given(st.integers(0, 10_000), st.integers(1, 9))
def test_hits_equal_the_plain_loop_for_every_block(seed: int, block: int) -> None:
    generator = np.random.default_rng(seed)
    gallery_subject = generator.integers(0, 4, size=7)
    probe_subject = generator.choice(gallery_subject, size=11)
    # Small whole numbers: products are exact and ties common.
    gallery = generator.integers(-2, 3, size=(7, 3)).astype(np.float32)
    probes = generator.integers(-2, 3, size=(11, 3)).astype(np.float32)
    expected = []
    for probe, subject in zip(probes, probe_subject, strict=True):
        own = [float(g @ probe) for g, s in zip(gallery, gallery_subject, strict=True) if s == subject]
        rest = [float(g @ probe) for g, s in zip(gallery, gallery_subject, strict=True) if s != subject]
        expected.append(max(own) > max(rest, default=-np.inf))
    assert rank1(gallery, gallery_subject, probes, probe_subject, block).tolist() == expected


def test_a_collapsed_model_identifies_nobody() -> None:
    same = np.ones((6, 4), dtype=np.float32) / 2
    assert not rank1(same[:3], np.arange(3), same, np.arange(6) % 3).any()


def test_the_set_must_be_closed_and_the_embeddings_finite() -> None:
    faces, broken = np.eye(3, dtype=np.float32), np.full((3, 3), np.nan, dtype=np.float32)
    with pytest.raises(ValueError, match="closed-set"):
        rank1(faces, np.arange(3), faces, np.array([0, 1, 9]))
    with pytest.raises(ValueError, match="NaN"):
        rank1(faces, np.arange(3), broken, np.arange(3))
