"""Who is drawn: the same for the same key, in range, and unlike the next."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from pydantic import TypeAdapter

from stages.lib.cohort.appearance import MOLES
from stages.lib.cohort.basis import Targets
from stages.lib.cohort.face_shape import OUTLINES, TRAITS
from stages.lib.cohort.hair_styles import STYLES
from stages.lib.cohort.identity import Identity, sample_identity


def _names() -> Targets:
    """Target names as a basis has them."""
    pairs = []
    for negative in TRAITS:
        for side in ("l-", "r-") if negative.startswith("l-") else ("",):
            low = side + negative.removeprefix("l-")
            pairs.append(("region", low, f"{low}-opposite"))
    heads = [f"race:{a}-{s}-{g}" for a in ("african", "asian", "caucasian") for s in SEXES for g in ("young", "old")]
    build = [f"univ:{s}-{g}-{b}" for s in SEXES for g in ("young", "old") for b in BUILDS]
    local = [f"loc:{name}" for _, low, high in pairs for name in (low, high)]
    return Targets((*heads, *build, *local, *(f"loc:head-{outline}" for outline in OUTLINES)), tuple(pairs))


SEXES = ("male", "female")
BUILDS = (
    "averagemuscle-minweight",
    "averagemuscle-maxweight",
    "minmuscle-averageweight",
    "maxmuscle-averageweight",
)
TARGETS = _names()
MANY = 1000


@pytest.fixture(scope="module")
def people() -> list[Identity]:
    return [sample_identity(TARGETS, 3, number) for number in range(MANY)]


def test_same_key_same_person_and_json_brings_it_back() -> None:
    first, again, other = (sample_identity(TARGETS, 7, number) for number in (5, 5, 6))
    assert first == again != other
    assert first != sample_identity(TARGETS, 8, 5)
    adapter = TypeAdapter(Identity)
    assert adapter.validate_json(adapter.dump_json(first)) == first
    assert adapter.validate_python(asdict(first)) == first


def test_ranges(people: list[Identity]) -> None:
    for person in people:
        unit = [person.male, person.age, *person.ancestry, *person.shape.values(), person.hair.grey]
        unit += [getattr(person.skin, n) for n in ("melanin", "haemoglobin", "blotches", "freckles", "oil", "wrinkles")]
        unit += [person.skin.bags, person.lips.strength, person.eyes.liner, person.brows.density, *person.skin.tone]
        unit += [person.beard.moustache, person.beard.chin, person.beard.cheek, person.beard.sideburn]
        unit += [*person.hair.colour, *person.eyes.iris, *person.lips.colour, *person.clothes.colour]
        assert np.isfinite(unit).all() and min(unit) >= 0 and max(unit) <= 1
        assert sum(person.ancestry) == pytest.approx(1)
        assert len(person.skin.moles) == MOLES and min(radius for _, _, radius in person.skin.moles) > 0
        assert person.hair.style in STYLES
        assert person.male > 0.5 or person.beard.kind == "none"


def test_whole_heads_sum_to_one_head(people: list[Identity]) -> None:
    for person in people[:200]:
        whole = sum(weight for name, weight in person.shape.items() if name.startswith("race:"))
        assert whole == pytest.approx(1, abs=0.01)
        assert set(person.shape) <= set(TARGETS.names)


def test_halves_of_a_face_go_together(people: list[Identity]) -> None:
    def signed(person: Identity, name: str) -> float:
        return person.shape.get(f"loc:{name}-opposite", 0.0) - person.shape.get(f"loc:{name}", 0.0)

    left, right = (np.array([signed(person, f"{s}-eye-scale-decr") for person in people]) for s in "lr")
    assert np.corrcoef(left, right)[0, 1] > 0.95
    assert 0 < np.abs(left - right).max() <= 0.3


def test_people_differ(people: list[Identity]) -> None:
    tones = np.log([person.skin.tone for person in people])
    assert (tones.std(axis=0) > 0.3).all()
    assert len({person.hair.style for person in people}) > 0.8 * len(STYLES)
    columns = {name: index for index, name in enumerate(TARGETS.names)}
    shapes = np.zeros((200, len(columns)))
    for row, person in zip(shapes, people, strict=False):
        for name, weight in person.shape.items():
            row[columns[name]] = weight
    apart = np.linalg.norm(shapes[:100] - shapes[100:], axis=1)
    assert apart.min() > 1.0


def test_looks_go_together(people: list[Identity]) -> None:
    melanin = np.array([person.skin.melanin for person in people])
    iris = np.array([np.mean(person.eyes.iris) for person in people])
    hair = np.array([np.mean(person.hair.colour) for person in people])
    age, grey = np.array([(person.age, person.hair.grey) for person in people]).T
    assert np.corrcoef(melanin, iris)[0, 1] < -0.12
    assert np.corrcoef(melanin, hair)[0, 1] < -0.12
    assert np.corrcoef(age, grey)[0, 1] > 0.5


def test_spread_scales_shape_and_nothing_else() -> None:
    mean, usual = (sample_identity(TARGETS, 1, 2, spread) for spread in (0.0, 1.0))
    assert mean.shape != usual.shape
    assert {**asdict(mean), "shape": None} == {**asdict(usual), "shape": None}
    assert not any(name.startswith("loc:head-") and name[9:] in OUTLINES for name in mean.shape)
