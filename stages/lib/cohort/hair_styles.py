"""Hair styles as data: where hair grows and how far it goes, by direction round the head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from stages.lib.cohort.appearance import Hair

AZIMUTHS: Final = 64
NODES: Final = 22

Range = tuple[float, float]
Table = NDArray[np.float32]


@dataclass(frozen=True)
class Growth:
    """How one head of hair grows, on rays round the pole of the skull.

    The A = `AZIMUTHS` directions run from -180 to 180 degrees (the last left out), 0 = front; the S = `NODES`
    nodes of a lock run from the crown to its tip.

    Attributes:
        sheet: whether there is a hair surface at all; False for bald, horseshoe and shorn heads.
        hairline: (A,) elevation in degrees below which the scalp is bare.
        tip: (A,) head-space height to which locks fall; negative where they lie on the scalp.
        thickness: (A,) head space, of the layer on the scalp.
        displacement: (A, S) head space, along the normal: locks and frizz.
        ragged: (A,) standard normal, unevenness of the hairline.
        scalp: opacity of the hair painted on the scalp, 0..1.
        softness: degrees over which the painted hairline fades.
        crown_bare: 0..1, how bare the crown is (horseshoe).
        clump: 0..1, how much strands gather into locks.
        frizz: 0..1, 0 straight and glossy, 1 tightly curled and matt.
        cloth: whether the surface is a scarf.
    """

    sheet: bool
    hairline: Table
    tip: Table
    thickness: Table
    displacement: Table
    ragged: Table
    scalp: float
    softness: float
    crown_bare: float
    clump: float
    frizz: float
    cloth: bool


@dataclass(frozen=True)
class Style:
    """What a style does to growth; lengths in head space, angles in degrees.

    Attributes:
        women: how often, among women.
        men: how often, among men.
        curly: whether it is of tightly curled hair; None suits any.
        age: change of how often with age, about its mean.
        sheet: as in `Growth`.
        layer: thickness at the front, the sides and the back.
        fringe: how far hair comes down over the forehead.
        fall: height of the tips, if locks fall.
        opens: direction from the front at which locks begin to fall.
        lock: size of locks.
        wave: size of waves along a lock.
        fuzz: size of the finest displacement.
        ragged: unevenness of the hairline.
        bun: height of a bun at the back.
        scalp: as in `Growth`, as are the rest.
    """

    women: float
    men: float
    curly: bool | None = None
    age: float = 0.0
    sheet: bool = True
    layer: tuple[float, float, float] = (0.08, 0.06, 0.06)
    fringe: Range = (0.0, 0.0)
    fall: Range | None = None
    opens: Range = (50.0, 62.0)
    lock: float = 0.02
    wave: float = 0.0
    fuzz: float = 0.006
    ragged: float = 2.0
    bun: float = 0.0
    scalp: float = 1.0
    softness: float = 4.0
    crown_bare: float = 0.0
    clump: float = 0.5
    frizz: float = 0.15
    cloth: bool = False


STYLES: Final[Mapping[str, Style]] = {
    "bald": Style(0.0, 0.06, age=2.0, sheet=False, scalp=0.0),
    "horseshoe": Style(0.0, 0.07, age=3.5, sheet=False, scalp=0.85, softness=9, crown_bare=1.0),
    "shorn": Style(0.01, 0.10, sheet=False, scalp=0.72, softness=7, ragged=0.6, frizz=0.6),
    "crop": Style(0.02, 0.12, curly=False, layer=(0.06, 0.03, 0.04), fringe=(2, 6), lock=0.012, clump=0.3),
    "short": Style(0.03, 0.20, curly=False, layer=(0.11, 0.05, 0.06), lock=0.025, ragged=2.5),
    "side parted": Style(0.02, 0.14, curly=False, age=0.6, layer=(0.14, 0.05, 0.06), lock=0.02, clump=0.7),
    "quiff": Style(0.0, 0.09, curly=False, age=-1.2, layer=(0.20, 0.05, 0.06), lock=0.03, clump=0.7),
    "tousled": Style(0.02, 0.08, curly=False, age=-0.8, layer=(0.17, 0.10, 0.11), fringe=(0, 8), lock=0.05, ragged=4),
    "medium": Style(0.04, 0.06, curly=False, layer=(0.13, 0.12, 0.13), fall=(6.5, 6.9), opens=(88, 104), lock=0.04),
    "curly crop": Style(0.06, 0.30, curly=True, layer=(0.09, 0.05, 0.06), lock=0.02, fuzz=0.014, frizz=0.9, clump=0.2),
    "fade": Style(0.0, 0.22, curly=True, layer=(0.08, 0.012, 0.012), lock=0.01, fuzz=0.01, frizz=0.9, clump=0.1),
    "curls": Style(0.10, 0.07, layer=(0.18, 0.15, 0.16), fringe=(0, 6), lock=0.055, fuzz=0.02, ragged=4, frizz=0.55),
    "afro": Style(0.16, 0.10, curly=True, layer=(0.27, 0.30, 0.30), lock=0.03, fuzz=0.022, frizz=1.0, clump=0.15),
    "locs": Style(
        0.12, 0.06, curly=True, layer=(0.11, 0.10, 0.11), fall=(5.6, 6.5), opens=(54, 70), lock=0.07, frizz=0.7, clump=1
    ),
    "pixie": Style(0.05, 0.0, curly=False, age=0.6, layer=(0.12, 0.06, 0.07), fringe=(2, 14), lock=0.03, ragged=4),
    "tied": Style(0.08, 0.02, layer=(0.04, 0.03, 0.04), lock=0.008, ragged=0.8, clump=0.4),
    "bun": Style(0.06, 0.02, layer=(0.05, 0.035, 0.05), lock=0.01, ragged=1.0, bun=0.36, clump=0.4),
    "bob": Style(0.13, 0.0, curly=False, layer=(0.10, 0.12, 0.13), fall=(6.25, 6.75), lock=0.025, clump=0.5),
    "bob fringe": Style(
        0.07, 0.0, curly=False, layer=(0.10, 0.12, 0.13), fall=(6.2, 6.7), fringe=(11, 18), lock=0.02, clump=0.5
    ),
    "tucked": Style(
        0.10, 0.02, curly=False, layer=(0.07, 0.06, 0.09), fall=(5.2, 6.3), opens=(96, 112), lock=0.02, clump=0.5
    ),
    "long": Style(0.16, 0.03, curly=False, age=-0.8, layer=(0.08, 0.09, 0.10), fall=(5.0, 5.9), lock=0.03),
    "long fringe": Style(
        0.07, 0.0, curly=False, age=-0.8, layer=(0.09, 0.10, 0.11), fall=(5.0, 6.2), fringe=(10, 18), lock=0.03
    ),
    "waves": Style(
        0.14, 0.02, curly=False, age=-0.3, layer=(0.11, 0.13, 0.13), fall=(5.3, 6.4), lock=0.045, wave=0.045, frizz=0.3
    ),
    "long curls": Style(
        0.16, 0.02, layer=(0.15, 0.18, 0.18), fall=(5.5, 6.4), lock=0.06, wave=0.04, fuzz=0.025, frizz=0.65, ragged=4
    ),
    "scarf": Style(
        0.05,
        0.0,
        layer=(0.05, 0.05, 0.06),
        fringe=(5, 9),
        fall=(5.2, 5.4),
        opens=(54, 58),
        lock=0.01,
        fuzz=0,
        ragged=0.4,
        scalp=0.0,
        frizz=1.0,
        cloth=True,
    ),
}
"""Hand-made; how often is of the styles that suit a person."""

PROFILE: Final = (
    (0, 25, 40, 50, 58, 64, 70, 76, 88, 96, 106, 125, 150, 180),
    (26, 25, 22, 10, -2, -14, -18, -8, -8, -16, -30, -40, -45, -47),
)
"""Directions from the front and elevations of the hairline there, degrees; it dips before the ear, rises over it."""


def style_weights(styles: Mapping[str, Style], male: float, age: float, curled: bool) -> dict[str, float]:
    """How likely each style is for a person.

    Args:
        styles: as `STYLES`.
        male: 0..1; styles are of the sex that prevails.
        age: 0..1.
        curled: whether hair is tightly curled.

    Returns:
        Weights, not normalised.
    """
    weights = {}
    for name, style in styles.items():
        suits = style.curly is None or style.curly == curled
        often = style.men if male > 0.5 else style.women
        weights[name] = often * max(0.0, 1.0 + style.age * (age - 0.35)) * suits
    return weights


@lru_cache(maxsize=8192)
def grow(hair: Hair) -> Growth:
    """Growth tables of one head of hair.

    Args:
        hair: of a person; its seed places locks and shapes the hairline.

    Returns:
        The tables; they are kept, so do not write to them.

    Raises:
        ValueError: the style is not known.
    """
    if hair.style not in STYLES:
        raise ValueError(f"hair style '{hair.style}' is not known; choose from {', '.join(STYLES)}")
    style, generator = STYLES[hair.style], np.random.default_rng(hair.seed)
    azimuth = np.linspace(-180, 180, AZIMUTHS, endpoint=False)
    ragged = _smooth(generator.normal(size=AZIMUTHS))
    tables = {
        "hairline": _hairline(style, hair, azimuth, generator) + style.ragged * ragged,
        "tip": _tip(style, azimuth, generator),
        "thickness": _layer(style, hair, azimuth),
        "displacement": _displacement(style, hair, azimuth, generator),
        "ragged": ragged,
    }
    frozen = {name: np.asarray(table, np.float32) for name, table in tables.items()}
    return Growth(
        sheet=style.sheet,
        scalp=style.scalp,
        softness=style.softness,
        crown_bare=style.crown_bare,
        clump=style.clump,
        frizz=style.frizz,
        cloth=style.cloth,
        **frozen,
    )


def _hairline(style: Style, hair: Hair, azimuth: NDArray[np.float64], generator: Generator) -> NDArray[np.float64]:
    """The common profile, with a widow's peak and bays at the temples of the person's own."""
    across = np.abs(azimuth)
    peak, bays, fringe = generator.normal(0, 2.5), abs(generator.normal(0, 3.0)), generator.uniform(*style.fringe)
    receding = max(0.0, -hair.hairline) * 60
    front = np.interp(across, [45, 62], [1, 0])
    line = np.interp(across, *PROFILE) - 60 * hair.hairline * front
    line += (bays + 0.8 * receding) * np.exp(-(((across - 34) / 11) ** 2)) - peak * np.exp(-((across / 9) ** 2))
    aside = 1 + 0.35 * np.sin(np.radians(azimuth) - hair.parting)
    return line - fringe * aside * np.interp(across, [46, 58], [1, 0])


def _tip(style: Style, azimuth: NDArray[np.float64], generator: Generator) -> NDArray[np.float64]:
    """Falling locks begin high where the hair opens, so that it frames the face in a curve."""
    if style.fall is None:
        return np.full(AZIMUTHS, -1.0)
    tip, left, right = generator.uniform(*style.fall), generator.uniform(*style.opens), generator.uniform(*style.opens)
    beyond = np.abs(azimuth) - np.where(azimuth > 0, left, right)
    share = np.clip(beyond / 24, 0, 1)
    share = share * share * (3 - 2 * share)
    return np.where(beyond > 0, 7.75 * (1 - share) + tip * share, -1.0)


def _layer(style: Style, hair: Hair, azimuth: NDArray[np.float64]) -> NDArray[np.float64]:
    across = np.abs(azimuth)
    heavier = 1 + 0.25 * np.sin(np.radians(azimuth) - hair.parting) * np.interp(across, [50, 80], [1, 0])
    return hair.thickness * heavier * np.interp(across, [0, 30, 80, 110, 180], np.array(style.layer)[[0, 0, 1, 1, 2]])


def _displacement(style: Style, hair: Hair, azimuth: NDArray[np.float64], generator: Generator) -> NDArray[np.float64]:
    """Locks grow towards their tips; waves run along them; the parting is a furrow, a bun a knob at the back."""
    along = np.linspace(0, 1, NODES)
    lock = style.lock * generator.normal(size=(AZIMUTHS, 1)) * (0.35 + 0.65 * along)
    phase, turns = _smooth(generator.normal(size=AZIMUTHS))[:, None] * 1.5, generator.uniform(2.0, 3.5)
    wave = style.wave * np.sin(2 * np.pi * turns * along + phase) * along
    fuzz = style.fuzz * generator.normal(size=(AZIMUTHS, NODES))
    off = (azimuth - np.degrees(hair.parting))[:, None] / 7
    furrow = 0.5 * style.layer[0] * np.exp(-(off**2)) * np.clip((along - 0.05) / 0.1, 0, 1) * (along < 0.8)
    behind = np.exp(-(((180 - np.abs(azimuth)) / 22) ** 2))[:, None]
    bun = style.bun * behind * np.exp(-(((along - 0.42) / 0.12) ** 2))
    return lock + wave + fuzz - furrow + bun


def _smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean with both neighbours on the circle, kept at unit variance."""
    return (values + 0.5 * (np.roll(values, 1) + np.roll(values, -1))) / np.sqrt(1.5)
