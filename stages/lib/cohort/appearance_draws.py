"""How the looks of a person are drawn: each part from a generator, in keeping with the base head."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, get_args

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from stages.lib.cohort.appearance import (
    MOLES,
    Beard,
    BeardKind,
    Brows,
    Clothes,
    Eyes,
    Glasses,
    Hair,
    Lips,
    Skin,
)
from stages.lib.cohort.draws import Triple, normal, pick, triple, truncated
from stages.lib.cohort.face_shape import Person
from stages.lib.cohort.hair_styles import STYLES, style_weights

FAIR: Final = np.array([0.74, 0.50, 0.385])
DEEP: Final = np.array([0.105, 0.050, 0.031])
"""Albedo of skin without melanin and with the most of it; between them its logarithm is linear (Beer and Lambert)."""

MELANIN: Final = np.array([0.80, 0.36, 0.14])
DARK_HAIR: Final = np.array([0.96, 0.92, 0.30])
DARK_IRIS: Final = np.array([0.97, 0.95, 0.35])
BEARDED: Final = np.array([0.9, 0.55, 1.0])
"""Means by base head, in the order of `face_shape.ANCESTRIES`."""

HAIR_COLOURS: Final[Mapping[str, Triple]] = {
    "black": (0.012, 0.010, 0.009),
    "soft black": (0.022, 0.015, 0.012),
    "dark brown": (0.042, 0.025, 0.016),
    "brown": (0.085, 0.049, 0.029),
    "light brown": (0.150, 0.094, 0.054),
    "dark blond": (0.225, 0.155, 0.085),
    "blond": (0.370, 0.270, 0.145),
    "red": (0.160, 0.055, 0.022),
}
DARK_HAIRS: Final[Mapping[str, float]] = {"black": 0.55, "soft black": 0.30, "dark brown": 0.15}
OTHER_HAIRS: Final[Mapping[str, float]] = {
    "soft black": 0.08,
    "dark brown": 0.24,
    "brown": 0.26,
    "light brown": 0.17,
    "dark blond": 0.12,
    "blond": 0.08,
    "red": 0.05,
}
GREY: Final = np.array([0.42, 0.41, 0.395])

IRISES: Final[Mapping[str, Triple]] = {
    "black brown": (0.030, 0.016, 0.010),
    "brown": (0.070, 0.036, 0.018),
    "amber": (0.105, 0.062, 0.026),
    "hazel": (0.115, 0.092, 0.042),
    "green": (0.075, 0.092, 0.052),
    "grey": (0.115, 0.130, 0.138),
    "blue": (0.070, 0.105, 0.145),
}
DARK_IRISES: Final[Mapping[str, float]] = {"black brown": 0.6, "brown": 0.4}
OTHER_IRISES: Final[Mapping[str, float]] = {
    "brown": 0.26,
    "amber": 0.10,
    "hazel": 0.16,
    "green": 0.12,
    "grey": 0.12,
    "blue": 0.24,
}

BEARDS: Final[Mapping[BeardKind, tuple[float, tuple[float, float, float, float]]]] = {
    "none": (0.36, (0.0, 0.0, 0.0, 0.0)),
    "stubble": (0.26, (0.38, 0.36, 0.30, 0.24)),
    "moustache": (0.07, (0.9, 0.0, 0.0, 0.0)),
    "goatee": (0.08, (0.75, 0.85, 0.0, 0.0)),
    "short": (0.14, (0.65, 0.68, 0.60, 0.50)),
    "full": (0.09, (0.9, 0.93, 0.88, 0.75)),
}
"""How often, and the densities of moustache, chin, cheeks and sideburns."""

FRAMES: Final[tuple[Triple, ...]] = (
    (0.010, 0.010, 0.011),
    (0.010, 0.010, 0.011),
    (0.070, 0.035, 0.016),
    (0.180, 0.090, 0.040),
    (0.260, 0.255, 0.250),
    (0.220, 0.160, 0.070),
    (0.020, 0.030, 0.080),
    (0.120, 0.015, 0.020),
)
UNUSED_MOLE: Final = (0.0, 50.0, 0.01)


def skin(generator: Generator, person: Person) -> Skin:
    """Tone by melanin and blood, and the marks of age."""
    melanin = normal(generator, float(MELANIN @ np.array(person.ancestry)), 0.13, 0.0, 1.0)
    haemoglobin = normal(generator, 0.45, 0.28, 0.0, 1.0)
    tan, depth = truncated(generator, 0.0, [0.05, 0.07], -0.15, 0.15)
    tone = np.exp(np.log(FAIR) * (1 - melanin) + np.log(DEEP) * melanin)
    tone *= np.exp(depth) * np.array([1.0, 1 - 0.10 * (haemoglobin - 0.45), 1 - 0.06 * (haemoglobin - 0.45) + tan])
    pale = 1 - melanin
    return Skin(
        tone=triple(tone),
        melanin=melanin,
        haemoglobin=haemoglobin,
        blotches=normal(generator, 0.4 + 0.25 * person.age, 0.3, 0.05, 1.0),
        freckles=max(0.0, normal(generator, -0.35, 0.6, -1.0, 1.0)) * pale,
        oil=normal(generator, 0.4, 0.3, 0.0, 1.0),
        wrinkles=normal(generator, 1.2 * person.age - 0.15, 0.12, 0.0, 1.0),
        bags=normal(generator, 0.15 + 0.35 * person.age, 0.35, 0.0, 1.0),
        moles=_moles(generator),
        offset=triple(generator.uniform(size=3)),
    )


def hair(generator: Generator, person: Person, complexion: Skin) -> Hair:
    """Style by sex, age and curl; colour; grey by age."""
    dark = generator.uniform() < _darkness(DARK_HAIR, person, complexion)
    natural, other = pick(generator, DARK_HAIRS), pick(generator, OTHER_HAIRS)
    colour = np.array(HAIR_COLOURS[natural if dark else other]) * generator.uniform(0.8, 1.25)
    dyed, hue = generator.uniform() < 0.05 * (1 - person.male), pick(generator, OTHER_HAIRS)
    curled = generator.uniform() < 0.85 * person.ancestry[0] + 0.06 * person.ancestry[2]
    greying = normal(generator, 2.2 * (person.age - 0.42), 0.25, 0.0, 1.0)
    receding = 0.10 * person.age * person.male * generator.uniform()
    return Hair(
        style=pick(generator, style_weights(STYLES, person.male, person.age, curled)),
        colour=HAIR_COLOURS[hue] if dyed else triple(colour),
        hairline=normal(generator, 0.015, 0.045, -0.09, 0.10) - receding,
        parting=normal(generator, 0.0, 0.5, -1.0, 1.0),
        thickness=normal(generator, 1.0, 0.15, 0.7, 1.35),
        seed=int(generator.integers(1 << 31)),
        scarf=_cloth(generator),
        grey=0.0 if dyed else greying,
    )


def facial_colour(strands: Hair) -> NDArray[np.float64]:
    """(3,) colour of brows and beard: of the hair with its grey, a little darker where it is fair."""
    mixed = np.array(strands.colour) * (1 - 0.8 * strands.grey) + GREY * 0.8 * strands.grey
    return mixed * (1 - 0.35 * min(1.0, float(mixed.mean()) / 0.3))


def brows(generator: Generator, person: Person, colour: NDArray[np.float64]) -> Brows:
    """Thicker and flatter for men, thinner with age."""
    return Brows(
        height=math.exp(
            normal(generator, math.log(0.031 + 0.011 * person.male), 0.45, math.log(0.013), math.log(0.080))
        ),
        arch=normal(generator, 1.05 - 0.45 * person.male, 0.45, -0.1, 1.65),
        lift=normal(generator, 0.004 - 0.010 * person.male, 0.028, -0.055, 0.05),
        density=normal(generator, 0.85 - 0.20 * person.age, 0.30, 0.2, 1.0),
        inner=normal(generator, 0.0, 0.042, -0.07, 0.095),
        outer=normal(generator, 0.0, 0.042, -0.09, 0.07),
        colour=triple(colour * generator.uniform(0.6, 1.0)),
    )


def eyes(generator: Generator, person: Person, complexion: Skin) -> Eyes:
    """Iris in keeping with the skin; make-up for some women."""
    dark = generator.uniform() < _darkness(DARK_IRIS, person, complexion)
    natural, other = pick(generator, DARK_IRISES), pick(generator, OTHER_IRISES)
    made_up = generator.uniform() < 0.5 * (1 - person.male)
    liner, shadow = generator.uniform(0.45, 0.9), generator.uniform(0.1, 0.4)
    return Eyes(
        iris=triple(np.array(IRISES[natural if dark else other]) * generator.uniform(0.8, 1.2)),
        liner=liner if made_up else 0.35 * liner,
        shadow_strength=shadow if made_up and generator.uniform() < 0.6 else 0.0,
        shadow=triple(np.array([0.16, 0.10, 0.09]) * generator.uniform(0.3, 1.6) * generator.uniform(0.8, 1.25, 3)),
        sclera=normal(generator, 1.0 - 0.12 * person.age, 0.05, 0.8, 1.1),
    )


def lips(generator: Generator, person: Person, complexion: Skin) -> Lips:
    """Redder than the skin by its blood; lipstick for some women."""
    rosy = np.array([0.92, 0.60, 0.62]) * (1 - complexion.melanin) + np.array([0.90, 0.68, 0.72]) * complexion.melanin
    natural = np.array(complexion.tone) * rosy * generator.uniform(0.65, 1.05) * generator.uniform(0.9, 1.1, 3)
    painted = generator.uniform() < 0.35 * (1 - person.male)
    stick = np.array([0.42, 0.09, 0.10]) * generator.uniform(0.6, 1.1) * generator.uniform(0.8, 1.25, 3)
    opacity = generator.uniform(0.35, 0.75)
    bare = generator.uniform(0.25, 0.95) * (1 - 0.25 * person.age)
    if painted:
        return Lips(triple(stick * (1 - 0.7 * complexion.melanin)), opacity)
    return Lips(triple(natural), bare)


def beard(generator: Generator, person: Person, colour: NDArray[np.float64]) -> Beard:
    """None for women; fuller where hair of the face is."""
    kind = pick(generator, {kind: often for kind, (often, _) in BEARDS.items()})
    grows = person.male > 0.6 and generator.uniform() < float(BEARDED @ np.array(person.ancestry))
    kinds: dict[str, BeardKind] = {name: name for name in get_args(BeardKind)}
    chosen = kinds[kind] if grows else "none"
    density = np.array(BEARDS[chosen][1]) * generator.uniform(0.6, 1.0)
    moustache, chin, cheek, sideburn = density.tolist()
    return Beard(chosen, moustache, chin, cheek, sideburn, triple(colour * generator.uniform(0.75, 1.05)))


def glasses(generator: Generator, person: Person) -> Glasses:
    """Owned more often with age; frames from thin wire to broad plastic."""
    rim = float(generator.choice([0.010, 0.016, 0.026, 0.036])) * generator.uniform(0.9, 1.1)
    return Glasses(
        owned=bool(generator.uniform() < 0.16 + 0.30 * person.age),
        half_width=normal(generator, 0.205, 0.014, 0.17, 0.235),
        half_height=normal(generator, 0.150, 0.020, 0.11, 0.19),
        roundness=generator.uniform(2.0, 4.5),
        rim=rim,
        colour=FRAMES[int(generator.integers(len(FRAMES)))],
    )


def clothes(generator: Generator) -> Clothes:
    """Muted colours; collars from a wide neck to a high one."""
    return Clothes(_cloth(generator), generator.uniform(5.55, 5.95))


def _darkness(share: NDArray[np.float64], person: Person, complexion: Skin) -> float:
    """Share of dark hair or irises among people alike; under dark skin there is little else."""
    return max(float(share @ np.array(person.ancestry)), (complexion.melanin - 0.2) / 0.2)


def _cloth(generator: Generator) -> Triple:
    grey = float(np.exp(generator.uniform(np.log(0.02), np.log(0.65))))
    return triple(np.clip(grey * np.exp(truncated(generator, np.zeros(3), 0.22, -0.5, 0.5)), 0.01, 0.8))


def _moles(generator: Generator) -> tuple[Triple, ...]:
    count = int(generator.integers(0, 5))
    drawn = generator.uniform([-0.6, 6.4, 0.006], [0.6, 7.9, 0.014], (MOLES, 3))
    return tuple(triple(mole) if index < count else UNUSED_MOLE for index, mole in enumerate(drawn))
