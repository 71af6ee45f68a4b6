"""A synthetic person: shape of the head, and what is seen of skin, hair, eyes, glasses and clothes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.random import Generator

from stages.lib.cohort import appearance_draws as draw
from stages.lib.cohort.appearance import Beard, Brows, Clothes, Eyes, Glasses, Hair, Lips, Skin
from stages.lib.cohort.draws import Triple, normal, triple
from stages.lib.cohort.face_shape import Person, sample_shape

if TYPE_CHECKING:
    from stages.lib.cohort.basis import Targets

__all__ = [
    "Beard",
    "Brows",
    "Clothes",
    "Eyes",
    "Glasses",
    "Hair",
    "Identity",
    "Lips",
    "Skin",
    "sample_identity",
]


@dataclass(frozen=True)
class Identity:
    """A person; the same in every shot.

    Attributes:
        seed: of the cohort.
        number: of the person in the cohort.
        male: 0..1, weight of the male shape.
        age: 0 (young adult) to 1 (old).
        ancestry: shares of the three base heads of the artist, in their order; no claim about people.
        shape: target name -> weight, expression left out.
    """

    seed: int
    number: int
    male: float
    age: float
    ancestry: Triple
    shape: dict[str, float]
    skin: Skin
    brows: Brows
    eyes: Eyes
    lips: Lips
    beard: Beard
    hair: Hair
    glasses: Glasses
    clothes: Clothes


def sample_identity(basis_targets: Targets, seed: int, number: int, spread: float = 1.0) -> Identity:
    """A person, keyed by (seed, number).

    Every part draws from a stream of its own; colours follow the base heads so that skin, hair and iris go together.

    Args:
        basis_targets: names of the shape targets there are.
        seed: of the cohort.
        number: of the person.
        spread: factor on how far faces lie from the mean face of their kind.

    Returns:
        The person.
    """
    root = np.random.default_rng([seed, number])
    kind, shape, skin, hair, face, things = root.spawn(6)
    person = _person(kind)
    complexion = draw.skin(skin, person)
    strands = draw.hair(hair, person, complexion)
    hairs = draw.facial_colour(strands)
    return Identity(
        seed=seed,
        number=number,
        male=person.male,
        age=person.age,
        ancestry=person.ancestry,
        shape=sample_shape(basis_targets, person, shape, spread),
        skin=complexion,
        brows=draw.brows(face, person, hairs),
        eyes=draw.eyes(face, person, complexion),
        lips=draw.lips(face, person, complexion),
        beard=draw.beard(face, person, hairs),
        hair=strands,
        glasses=draw.glasses(things, person),
        clothes=draw.clothes(things),
    )


def _person(generator: Generator) -> Person:
    """Sex mostly one or the other, ages of adults, weight growing a little with age."""
    male = generator.beta(0.25, 0.25)
    age = generator.beta(1.0, 1.8)
    return Person(
        ancestry=triple(generator.dirichlet([0.25] * 3)),
        male=float(male),
        age=float(age),
        weight=normal(generator, -0.15 + 0.25 * age, 0.45, -0.9, 0.95),
        muscle=normal(generator, 0.2 * (male - 0.5), 0.45, -0.9, 0.9),
    )
