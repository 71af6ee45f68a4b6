"""How the shape of a head is drawn: which of the artist's targets move together, how far, and where they stop."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from stages.lib.cohort.draws import truncated

if TYPE_CHECKING:
    from stages.lib.cohort.basis import Targets

ANCESTRIES: Final = ("african", "asian", "caucasian")
"""Names of the artist's base heads, in the order of `Person.ancestry`."""

OUTLINES: Final = ("oval", "rectangular", "round", "triangular", "square", "diamond", "invertedtriangular")
"""Targets of the outline of the face, of which a head blends two."""

ASYMMETRY: Final = 0.07
"""Standard deviation between the left and the right half of a face."""

LIMIT: Final = 1.0
"""Beyond their own extremes (weight 1) the artist's targets distort."""

BOUND: Final = 1.35
"""Radius of a region's draw in units of the radius expected, beyond which it is a caricature."""


@dataclass(frozen=True)
class Trait:
    """One pair of opposite targets; positive weights are of the second.

    Attributes:
        deviation: of its normal draw.
        mean: of a young adult of average weight.
        age: added to the mean of the oldest.
        weight: added to the mean of the heaviest, taken from that of the lightest.
        male: added to the mean of a man, taken from that of a woman.
    """

    deviation: float
    mean: float = 0.0
    age: float = 0.0
    weight: float = 0.0
    male: float = 0.0


TRAITS: Final[Mapping[str, Trait]] = {
    "head-scale-horiz-decr": Trait(0.32, weight=0.08),
    "head-scale-vert-decr": Trait(0.21),
    "head-scale-depth-decr": Trait(0.19),
    "head-fat-decr": Trait(0.28, mean=-0.08, weight=0.30),
    "head-age-decr": Trait(0.16, age=0.15),
    "forehead-temple-decr": Trait(0.57),
    "forehead-trans-backward": Trait(0.49),
    "forehead-scale-vert-decr": Trait(0.64),
    "forehead-nubian-decr": Trait(0.49),
    "eyebrows-angle-down": Trait(0.45),
    "eyebrows-trans-down": Trait(0.59, mean=-0.10, male=-0.10),
    "eyebrows-trans-backward": Trait(0.59, male=0.20),
    "l-eye-corner1-down": Trait(0.64),
    "l-eye-corner2-down": Trait(0.68, age=-0.15),
    "l-eye-height1-decr": Trait(0.45, mean=0.18),
    "l-eye-height2-decr": Trait(0.47, mean=0.30, age=-0.25),
    "l-eye-height3-decr": Trait(0.45, mean=0.18, age=-0.20),
    "l-eye-scale-decr": Trait(0.60, mean=0.45),
    "l-eye-push1-in": Trait(0.49, mean=0.15),
    "l-eye-push2-in": Trait(0.52, mean=0.10),
    "l-eye-trans-in": Trait(0.58, mean=0.35),
    "l-eye-trans-down": Trait(0.57),
    "l-eye-eyefold-down": Trait(0.64, age=-0.20),
    "l-eye-eyefold-angle-down": Trait(0.64, age=-0.20),
    "l-eye-epicanthus-in": Trait(0.57),
    "l-eye-bag-decr": Trait(0.49, age=0.30),
    "l-eye-bag-height-decr": Trait(0.49),
    "l-eye-bag-in": Trait(0.49),
    "nose-scale-horiz-decr": Trait(0.69),
    "nose-scale-vert-decr": Trait(0.69, mean=-0.25, age=0.15),
    "nose-scale-depth-decr": Trait(0.64, mean=0.15, age=0.10),
    "nose-trans-down": Trait(0.49),
    "nose-trans-in": Trait(0.15),
    "nose-trans-backward": Trait(0.34),
    "nose-width1-decr": Trait(0.77),
    "nose-width2-decr": Trait(0.77),
    "nose-width3-decr": Trait(0.77),
    "nose-nostrils-width-decr": Trait(0.64),
    "nose-nostrils-angle-down": Trait(0.54),
    "nose-flaring-decr": Trait(0.54),
    "nose-curve-concave": Trait(0.69),
    "nose-hump-decr": Trait(0.62),
    "nose-greek-decr": Trait(0.54),
    "nose-point-down": Trait(0.42, mean=0.12, age=-0.12),
    "nose-point-width-decr": Trait(0.77),
    "nose-septumangle-decr": Trait(0.49),
    "nose-base-down": Trait(0.54),
    "nose-volume-decr": Trait(0.54, age=0.10),
    "mouth-scale-horiz-decr": Trait(0.59, mean=0.40),
    "mouth-scale-vert-decr": Trait(0.54, mean=-0.20, age=-0.20),
    "mouth-upperlip-height-decr": Trait(0.64, age=-0.20),
    "mouth-lowerlip-height-decr": Trait(0.64, age=-0.15),
    "mouth-upperlip-volume-decr": Trait(0.64, age=-0.15),
    "mouth-lowerlip-volume-decr": Trait(0.64, age=-0.15),
    "mouth-upperlip-width-decr": Trait(0.50),
    "mouth-lowerlip-width-decr": Trait(0.57),
    "mouth-upperlip-middle-down": Trait(0.43),
    "mouth-lowerlip-middle-down": Trait(0.43),
    "mouth-upperlip-ext-down": Trait(0.43),
    "mouth-lowerlip-ext-down": Trait(0.43),
    "mouth-cupidsbow-decr": Trait(0.64),
    "mouth-cupidsbow-width-decr": Trait(0.57),
    "mouth-philtrum-volume-decr": Trait(0.64),
    "mouth-angles-down": Trait(0.41, mean=0.15, age=-0.18),
    "mouth-trans-down": Trait(0.34, mean=0.20),
    "mouth-trans-backward": Trait(0.31),
    "mouth-trans-in": Trait(0.12),
    "mouth-laugh-lines-in": Trait(0.50, age=0.30),
    "mouth-dimples-in": Trait(0.50),
    "chin-height-decr": Trait(0.26, mean=-0.10, male=0.06),
    "chin-width-decr": Trait(0.58, male=0.15),
    "chin-prominent-decr": Trait(0.49, male=0.08),
    "chin-bones-decr": Trait(0.49, male=0.10),
    "chin-jaw-drop-decr": Trait(0.58, age=0.20, weight=0.15),
    "chin-cleft-decr": Trait(0.58, male=0.10),
    "chin-prognathism-decr": Trait(0.28),
    "l-cheek-trans-down": Trait(0.57, age=-0.15),
    "l-cheek-volume-decr": Trait(0.57, mean=-0.05, weight=0.30, age=-0.20),
    "l-cheek-inner-decr": Trait(0.57, age=-0.15),
    "l-cheek-bones-decr": Trait(0.71, weight=-0.15),
    "l-ear-lobe-decr": Trait(0.58, age=0.30),
    "l-ear-shape-square": Trait(0.45),
    "l-ear-trans-backward": Trait(0.19),
    "l-ear-trans-down": Trait(0.16),
    "l-ear-scale-decr": Trait(0.41, age=0.20),
    "l-ear-scale-vert-decr": Trait(0.38),
    "l-ear-wing-decr": Trait(0.45),
    "neck-double-decr": Trait(0.26, weight=0.35, age=0.10),
    "measure-neck-circ-decr": Trait(0.26, weight=0.25, male=0.20),
}
"""By the first target of the pair; those of the left half stand for both. Pairs left out would make ears pointed, necks
stretched or heads tilted. Chosen by eye on renders."""


_REGIONS: Final = tuple(
    np.array([row for row, name in enumerate(TRAITS) if name.removeprefix("l-").startswith(region)])
    for region in ("head", "forehead", "eyebrows", "eye-", "nose", "mouth", "chin", "cheek", "ear", "neck")
)


@dataclass(frozen=True)
class Measure:
    """A distance on the face that several traits change, and how far it may leave the person's mean.

    Attributes:
        limit: millimetres on a face of 63 mm between the pupils; chosen by eye, where a face starts to look drawn.
        change: millimetres by trait, for a weight of 1; measured on the mean head.
    """

    limit: float
    change: Mapping[str, float]


MEASURES: Final[Mapping[str, Measure]] = {
    "width of the nose": Measure(
        9.0,
        {
            "nose-scale-horiz-decr": 8.0,
            "nose-width3-decr": 8.0,
            "nose-nostrils-width-decr": 8.0,
            "nose-flaring-decr": 4.5,
        },
    ),
    "height of the philtrum": Measure(
        5.0,
        {
            "nose-scale-vert-decr": -7.0,
            "nose-trans-down": 3.7,
            "nose-base-down": 4.3,
            "nose-hump-decr": -2.0,
            "mouth-trans-down": -6.0,
            "mouth-scale-vert-decr": -1.0,
            "mouth-upperlip-height-decr": -1.5,
            "mouth-upperlip-middle-down": -2.5,
        },
    ),
    "height of the lips": Measure(
        7.0,
        {
            "mouth-scale-vert-decr": 6.0,
            "mouth-upperlip-height-decr": 2.5,
            "mouth-lowerlip-height-decr": 5.3,
            "mouth-upperlip-middle-down": 2.9,
            "mouth-lowerlip-middle-down": 2.7,
        },
    ),
    "depth of the nose": Measure(
        9.0,
        {
            "nose-scale-depth-decr": 11.0,
            "nose-trans-backward": 5.0,
            "nose-volume-decr": 3.0,
            "nose-point-down": -3.0,
        },
    ),
    "mouth to chin": Measure(8.0, {"chin-height-decr": 15.0, "mouth-trans-down": 8.0}),
    "eyes to chin": Measure(
        15.0,
        {
            "head-scale-horiz-decr": -23.0,
            "head-scale-vert-decr": 23.0,
            "l-eye-trans-in": -16.0,
            "l-eye-trans-down": 5.0,
            "chin-height-decr": 15.0,
        },
    ),
    "width of the eyes": Measure(5.0, {"l-eye-scale-decr": 5.0, "l-eye-push1-in": 3.7, "l-eye-push2-in": 3.0}),
    "opening of the eyes": Measure(
        2.8,
        {
            "l-eye-scale-decr": 1.4,
            "l-eye-height1-decr": 1.5,
            "l-eye-height2-decr": 2.1,
            "l-eye-height3-decr": 2.0,
        },
    ),
    "eyes to brows": Measure(6.0, {"eyebrows-trans-down": 5.0, "l-eye-trans-down": -3.2, "l-eye-height2-decr": -1.0}),
}
"""Traits that are harmless alone make caricatures where they add up."""

_CHANGE: Final = np.array(
    [[measure.change.get(name, 0.0) / measure.limit for name in TRAITS] for measure in MEASURES.values()]
)


@dataclass(frozen=True)
class Person:
    """What a head is drawn for.

    Attributes:
        ancestry: shares of the base heads of `ANCESTRIES`, sum 1; artist's shapes, no claim about people.
        male: 0..1.
        age: 0..1.
        weight: -1 (lightest) to 1 (heaviest).
        muscle: -1 to 1.
    """

    ancestry: tuple[float, float, float]
    male: float
    age: float
    weight: float
    muscle: float


def sample_shape(targets: Targets, person: Person, generator: Generator, spread: float = 1.0) -> dict[str, float]:
    """Weights of the targets of one head without expression.

    Args:
        targets: names that the basis has.
        person: what the head is drawn for.
        generator: of the draws.
        spread: factor on every standard deviation; 0 gives the mean head of the person.

    Returns:
        Target name -> weight in 0..1; those at 0 are left out.
    """
    weights: dict[str, float] = defaultdict(float)
    _base_head(weights, person)
    _build(weights, person)
    _outline(weights, generator, spread)
    _traits(weights, targets, person, generator, spread)
    known = set(targets.names)
    return {name: float(weight) for name, weight in weights.items() if weight > 1e-4 and name in known}


def _base_head(weights: dict[str, float], person: Person) -> None:
    for ancestry, share in zip(ANCESTRIES, person.ancestry, strict=True):
        for sex, of_sex in _sexes(person):
            for age, of_age in _ages(person):
                weights[f"race:{ancestry}-{sex}-{age}"] += share * of_sex * of_age


def _build(weights: dict[str, float], person: Person) -> None:
    """Weight and muscle, as wholes."""
    fatness = f"averagemuscle-{'max' if person.weight > 0 else 'min'}weight"
    strength = f"{'max' if person.muscle > 0 else 'min'}muscle-averageweight"
    for sex, of_sex in _sexes(person):
        for age, of_age in _ages(person):
            weights[f"univ:{sex}-{age}-{fatness}"] += abs(person.weight) * of_sex * of_age
            weights[f"univ:{sex}-{age}-{strength}"] += abs(person.muscle) * of_sex * of_age


def _outline(weights: dict[str, float], generator: Generator, spread: float) -> None:
    chosen = generator.choice(len(OUTLINES), 2, replace=False)
    for index, amount in zip(chosen, generator.uniform(0.0, 0.5, 2), strict=True):
        weights[f"loc:head-{OUTLINES[index]}"] += min(LIMIT, amount * spread)


def _traits(weights: dict[str, float], targets: Targets, person: Person, generator: Generator, spread: float) -> None:
    drawn = dict(zip(TRAITS, _draw(person, generator, spread), strict=True))
    odd = truncated(generator, np.zeros(len(targets.opposites)), ASYMMETRY * spread, -0.15, 0.15)
    for (_, negative, positive), aside in zip(targets.opposites, odd.tolist(), strict=True):
        if (trait := _both_sides(negative)) not in drawn:
            continue
        one_sided = negative.startswith(("l-", "r-"))
        value = max(-LIMIT, min(LIMIT, float(drawn[trait]) + aside * one_sided))
        weights[f"loc:{positive if value > 0 else negative}"] += abs(value)


def _draw(person: Person, generator: Generator, spread: float) -> NDArray[np.float64]:
    """One value a trait; kept off the far corners of its region, and off what would make a caricature."""
    traits = list(TRAITS.values())
    table = np.array([[trait.mean, trait.age, trait.weight, trait.male] for trait in traits])
    mean = table @ np.array([1.0, person.age, person.weight, 2 * person.male - 1])
    deviation = spread * np.array([trait.deviation for trait in traits])
    step = truncated(generator, mean, deviation, -LIMIT, LIMIT) - mean
    for inside in _REGIONS:
        radius = float(np.sqrt(np.mean((step[inside] / np.maximum(deviation[inside], 1e-9)) ** 2)))
        step[inside] *= min(1.0, BOUND / max(radius, 1e-9))
    # Measures share traits, so shrinking one may lengthen another; weights only ever shrink, so this ends.
    while (excess := np.abs(_CHANGE @ step)).max() > 1.0 + 1e-4:
        worst = int(np.argmax(excess))
        step[_CHANGE[worst] != 0] /= excess[worst]
    return np.clip(mean + step, -LIMIT, LIMIT)


def _both_sides(target: str) -> str:
    return f"l-{target[2:]}" if target.startswith("r-") else target


def _sexes(person: Person) -> tuple[tuple[str, float], ...]:
    return ("male", person.male), ("female", 1 - person.male)


def _ages(person: Person) -> tuple[tuple[str, float], ...]:
    return ("young", 1 - person.age), ("old", person.age)
