"""The price of a capture: learnt where a measure costs, none where it does not, flat where nothing is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.lib.drift.price import FEWEST_PEOPLE, Price, learn
from stages.lib.errors import ConfigError
from stages.lib.metrics.bootstrap import interval, subject_weights

PEOPLE, EACH = 30, 120
Pairs = tuple[dict[str, NDArray[np.float64]], NDArray[np.bool_], NDArray[np.int64]]


def chance(sharpness: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of a miss: a tenth of sharp faces, more below 4, and no more than .7."""
    return np.clip(0.1 + 0.2 * (4.0 - sharpness), 0.1, 0.7)


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    random = np.random.default_rng(1)
    subject = np.repeat(np.arange(PEOPLE), EACH)
    sharpness = random.uniform(1.0, 7.0, len(subject))
    measures = {"q_sharpness": sharpness, "quality": random.normal(size=len(subject)), "flat": np.ones(len(subject))}
    return measures, random.random(len(subject)) < chance(sharpness), subject


@pytest.fixture(scope="module")
def price(pairs: Pairs) -> Price:
    return learn(*pairs, subject_weights(PEOPLE, 60, 1))


def told(price: Price, sharpness: float, quality: float = 0.0) -> NDArray[np.float64]:
    found = price.expected({"q_sharpness": np.full(3, sharpness), "quality": np.full(3, quality)})
    assert found is not None
    return found


def test_a_measure_costs_what_it_does_and_one_that_tells_nothing_costs_nothing(price: Price) -> None:
    assert price.columns == ("q_sharpness", "quality"), "a measure that never differs can cost nothing"
    for sharpness in (1.5, 2.5, 4.0, 6.0):
        assert told(price, sharpness)[0] == pytest.approx(chance(np.array(sharpness)), abs=0.06)
    change = told(price, 2.0) - told(price, 5.0)
    low, high = interval(change[1:])
    assert low < 0.4 < high and low > 0.25
    low, high = interval((told(price, 5.0, 1.5) - told(price, 5.0, -1.5))[1:])
    assert low < 0.0 < high


def test_beyond_what_was_seen_nothing_changes_and_what_is_not_measured_does_not_count(price: Price) -> None:
    np.testing.assert_allclose(told(price, -40.0), told(price, 1.0), atol=0.02)
    some = {"q_sharpness": np.array([2.0, np.nan, 2.0]), "quality": np.array([0.0, 0.0, np.nan])}
    found = price.expected(some)
    assert found is not None
    np.testing.assert_allclose(found, told(price, 2.0))
    assert price.expected({name: np.full(2, np.nan) for name in some}) is None


def test_the_order_of_captures_does_not_tell(price: Price) -> None:
    random = np.random.default_rng(2)
    faces = {"q_sharpness": random.uniform(1, 7, 80), "quality": random.normal(size=80)}
    turned = random.permutation(80)
    expected = price.expected(faces)
    assert expected is not None
    np.testing.assert_array_equal(price.expected({name: values[turned] for name, values in faces.items()}), expected)


def test_few_captures_are_priced_less_surely_than_many(price: Price) -> None:
    random = np.random.default_rng(7)
    wide = {}
    for faces in (50, 5000):
        found = price.expected({"q_sharpness": random.uniform(1, 7, faces), "quality": random.normal(size=faces)})
        assert found is not None
        wide[faces] = np.ptp(interval(found[1:]))
    spread = chance(random.uniform(1, 7, 10_000)).std() / np.sqrt(50)  # of the mean of fifty
    assert wide[50] == pytest.approx(np.hypot(wide[5000], 3.92 * spread), rel=0.35)
    assert wide[50] > 2 * wide[5000]


def test_a_price_comes_back_as_it_was_saved(price: Price, tmp_path: Path) -> None:
    price.save(tmp_path / "price.npz")
    back = Price.load(tmp_path / "price.npz")
    assert back.columns == price.columns and (told(back, 3.0) == told(price, 3.0)).all()
    (tmp_path / "half.npz").write_bytes((tmp_path / "price.npz").read_bytes()[:100])
    with pytest.raises(ConfigError, match=r"half\.npz holds no price"):
        Price.load(tmp_path / "half.npz")


def test_too_few_tell_no_price(pairs: Pairs) -> None:
    measures, missed, subject = pairs
    few = subject < FEWEST_PEOPLE - 1
    weights = subject_weights(PEOPLE, 5, 1)
    with pytest.raises(ConfigError, match="9 people"):
        learn({name: values[few] for name, values in measures.items()}, missed[few], subject[few], weights)
    with pytest.raises(ConfigError, match="all pairs miss or none"):
        learn(measures, np.zeros_like(missed), subject, weights)
