"""What is seen of a person besides the shape of the head. Colours are linear RGB albedo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stages.lib.cohort.draws import Triple

BeardKind = Literal["none", "stubble", "moustache", "goatee", "short", "full"]
MOLES = 6


@dataclass(frozen=True)
class Skin:
    """Amounts are 0..1 unless said otherwise.

    Attributes:
        tone: linear RGB albedo.
        melanin: darkness of the tone.
        haemoglobin: redness of cheeks, nose and ears.
        blotches: unevenness of colour.
        freckles: amount.
        oil: gloss.
        wrinkles: depth.
        bags: darkness under the eyes.
        moles: always `MOLES` of (x, y, radius), head space; those not in use lie far above the head.
        offset: where the person's skin lies in the noise, (3,) in 0..1.
    """

    tone: Triple
    melanin: float
    haemoglobin: float
    blotches: float
    freckles: float
    oil: float
    wrinkles: float
    bags: float
    moles: tuple[Triple, ...]
    offset: Triple


@dataclass(frozen=True)
class Brows:
    """Eyebrows in head space.

    Attributes:
        height: half height at the inner end.
        arch: curvature, about 0.3 (flat) to 1.5.
        lift: shift upwards.
        density: 0..1.
        inner: shift of the inner end towards the nose.
        outer: shift of the outer end towards the ear.
        colour: linear RGB.
    """

    height: float
    arch: float
    lift: float
    density: float
    inner: float
    outer: float
    colour: Triple


@dataclass(frozen=True)
class Eyes:
    """Iris, sclera and make-up.

    Attributes:
        iris: linear RGB.
        liner: darkness of the lash line, 0..1.
        shadow_strength: opacity of eye shadow, 0..1.
        shadow: its linear RGB.
        sclera: brightness, 1 is usual.
    """

    iris: Triple
    liner: float
    shadow_strength: float
    shadow: Triple
    sclera: float


@dataclass(frozen=True)
class Lips:
    """Linear RGB colour and its opacity over the skin, 0..1."""

    colour: Triple
    strength: float


@dataclass(frozen=True)
class Beard:
    """Densities 0..1 by area, and linear RGB colour."""

    kind: BeardKind
    moustache: float
    chin: float
    cheek: float
    sideburn: float
    colour: Triple


@dataclass(frozen=True)
class Hair:
    """Attributes:
    style: name in `hair_styles.STYLES`.
    colour: linear RGB of the hair not grey.
    hairline: positive lower, negative receding; about -0.2..0.1.
    parting: where the hair is parted, radians to the person's left of the middle.
    thickness: factor, about 0.7..1.3.
    seed: of locks and strands.
    scarf: linear RGB of a head scarf.
    grey: share of grey hair, 0..1.
    """

    style: str
    colour: Triple
    hairline: float
    parting: float
    thickness: float
    seed: int
    scarf: Triple
    grey: float


@dataclass(frozen=True)
class Glasses:
    """Glasses the person has, worn or not; sizes in head space.

    Attributes:
        owned: whether the person has glasses.
        half_width: of a lens.
        half_height: of a lens.
        roundness: power of the superellipse; 2 is an ellipse, larger is squarer.
        rim: breadth of the frame.
        colour: linear RGB of the frame.
    """

    owned: bool
    half_width: float
    half_height: float
    roundness: float
    rim: float
    colour: Triple


@dataclass(frozen=True)
class Clothes:
    """Linear RGB colour, and height of the collar in head space."""

    colour: Triple
    collar: float
