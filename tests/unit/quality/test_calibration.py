"""Bands against plain loops, and what is to be expected of faces that fall into them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.lib.errors import ConfigError
from stages.lib.metrics.bootstrap import subject_weights
from stages.lib.quality.calibration import FEWEST_PEOPLE, QualityBands, calibrate, load_bands, save_bands


@pytest.fixture
def pairs() -> tuple[np.ndarray, ...]:
    draw = np.random.default_rng(0)
    quality, subject = draw.uniform(size=400), draw.integers(0, 15, 400)
    return quality, draw.uniform(size=400) > quality, subject, subject_weights(15, 50, seed=1)


def test_bands_equal_plain_loops(pairs: tuple[np.ndarray, ...]) -> None:
    quality, missed, subject, weights = pairs
    bands = calibrate(*pairs, count=4)
    cuts = [-np.inf, *np.quantile(quality, [0.25, 0.5, 0.75]), np.inf]
    for k, (low, high) in enumerate(pairwise(cuts)):
        inside = [i for i in range(400) if low <= quality[i] < high]
        assert bands.pairs[k] == len(inside)
        assert bands.fnmr[k] == pytest.approx(np.mean([missed[i] for i in inside]))
        drawn = [m for i in inside for m in [missed[i]] * weights[7][subject[i]]]
        assert bands.replicates[7, k] == pytest.approx(np.mean(drawn))
    assert np.all(np.diff(bands.fnmr) < 0)  # the lower the quality, the more misses


def test_what_is_expected_of_the_faces_themselves_is_what_was_measured(pairs: tuple[np.ndarray, ...]) -> None:
    quality, missed, *_ = pairs
    bands = calibrate(*pairs, count=10)
    whole = bands.expected(quality)
    assert whole.value == pytest.approx(missed.mean())
    assert whole.low < whole.value < whole.high
    same = bands.change(quality, quality)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    worse = bands.change(quality * 0.5, quality)
    assert 0 < worse.low < worse.value < worse.high
    lowest = bands.expected(np.array([-1.0]))
    assert lowest.value == bands.fnmr[0] and bands.intervals()[0] == (lowest.low, lowest.high)


@given(st.lists(st.integers(0, 3), min_size=40, max_size=120), st.integers(1, 12))
def test_every_face_has_a_band_with_people_in_it(levels: list[int], count: int) -> None:
    quality, people = np.array(levels, float), np.arange(len(levels)) % 12
    bands = calibrate(quality, quality < 2, people, subject_weights(12, 4, seed=0), count)
    assert bands.pairs.sum() == len(levels)
    whose = [people[bands.of(quality) == k] for k in range(len(bands.fnmr))]
    assert min(len(set(band)) for band in whose) >= FEWEST_PEOPLE
    assert len(bands.edges) == len(bands.fnmr) - 1 and np.all(np.diff(bands.edges) > 0)
    np.testing.assert_array_equal(np.bincount(bands.of(quality), minlength=len(bands.fnmr)), bands.pairs)


def test_nothing_is_told_of_nobody() -> None:
    copies = np.ones(400), np.ones(400, bool), np.arange(400) % 9, np.ones((2, 9), int)
    with pytest.raises(ConfigError, match="of 9 people"):
        calibrate(*copies, count=10)
    bands = QualityBands(np.empty(0), np.ones(1, int), np.ones(1), np.ones((2, 1)))
    for nobody in (np.empty(0), np.array([0.5, np.nan])):
        with pytest.raises(ConfigError, match="nothing is to be expected"):
            bands.expected(nobody)


def test_bands_are_read_back_as_they_were_written(pairs: tuple[np.ndarray, ...], tmp_path: Path) -> None:
    bands = calibrate(*pairs, count=3)
    save_bands(bands, tmp_path / "bands.parquet")
    for name, value in vars(load_bands(tmp_path / "bands.parquet")).items():
        np.testing.assert_array_equal(value, vars(bands)[name])
    (tmp_path / "bands.parquet").write_bytes(b"nothing")
    pq.write_table(pa.table({"score": [0.5]}), tmp_path / "other.parquet")
    for missing in ("bands.parquet", "none.parquet", "other.parquet"):
        with pytest.raises(ConfigError, match="run the stage reference"):
            load_bands(tmp_path / missing)
