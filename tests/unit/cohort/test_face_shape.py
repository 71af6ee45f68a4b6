"""The shape of a head on the real target names: no target missed, no caricature, sexes and ages apart."""

from __future__ import annotations

import numpy as np
import pytest

from stages.lib.cohort.basis import load_targets
from stages.lib.cohort.face_shape import MEASURES, OUTLINES, TRAITS, Person, sample_shape

TARGETS = load_targets()
OPPOSITE = {negative: positive for _, negative, positive in TARGETS.opposites}
ADULT = Person(ancestry=(0.2, 0.3, 0.5), male=0.5, age=0.0, weight=0.0, muscle=0.0)


def _signed(shape: dict[str, float], trait: str) -> float:
    """Weight of a trait, positive for its second target; the mean of both halves."""
    sides = [trait] if not trait.startswith("l-") else [trait, f"r-{trait[2:]}"]
    weights = [shape.get(f"loc:{OPPOSITE[side]}", 0.0) - shape.get(f"loc:{side}", 0.0) for side in sides]
    return float(np.mean(weights))


def test_every_trait_and_outline_is_a_target() -> None:
    assert set(TRAITS) <= set(OPPOSITE)
    assert {f"loc:head-{outline}" for outline in OUTLINES} <= set(TARGETS.names)
    assert {name for measure in MEASURES.values() for name in measure.change} <= set(TRAITS)


@pytest.mark.parametrize("spread", [1.0, 2.5])
def test_measures_stay_within_their_limits(spread: float) -> None:
    generator = np.random.default_rng(0)
    for _ in range(200):
        shape = sample_shape(TARGETS, ADULT, generator, spread)
        assert all(0 < weight <= 1 for weight in shape.values())
        for measure in MEASURES.values():
            step = {name: _signed(shape, name) - TRAITS[name].mean for name in measure.change}
            # The halves of a face differ by up to 0.15 from the trait, and weights below 1e-4 are left out.
            odd = sum(abs(c) * 0.15 for name, c in measure.change.items() if name.startswith("l-"))
            assert abs(sum(measure.change[name] * step[name] for name in step)) <= measure.limit + odd + 0.02


def test_no_spread_is_the_mean_head_of_the_person() -> None:
    shape = sample_shape(TARGETS, ADULT, np.random.default_rng(1), spread=0.0)
    for name, trait in TRAITS.items():
        assert _signed(shape, name) == pytest.approx(trait.mean, abs=1e-3)


def test_age_weight_and_sex_move_the_whole_head() -> None:
    def mean_head(**change: float) -> dict[str, float]:
        person = Person(**{**vars(ADULT), **change})
        return sample_shape(TARGETS, person, np.random.default_rng(1), spread=0.0)

    assert sum(w for name, w in mean_head(age=1.0).items() if name.startswith("race:") and name.endswith("-old")) == 1
    assert _signed(mean_head(weight=1.0), "head-fat-decr") > _signed(mean_head(weight=-1.0), "head-fat-decr")
    assert not any("-female-" in name for name in mean_head(male=1.0))
