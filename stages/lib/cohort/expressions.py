"""Expressions as weights of face units, and the gaze and blink that every picture has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from numpy.random import Generator

from stages.lib.cohort.draws import normal

SIDES: Final = ("Left", "Right")

EXPRESSIONS: Final[Mapping[str, Mapping[str, float]]] = {
    "neutral": {},
    "smile": {"mouthSmile*": 0.55, "cheekSquint*": 0.35, "mouthDimple*": 0.15, "eyeSquint*": 0.15},
    "grin": {
        "mouthSmile*": 0.6,
        "jawOpen": 0.1,
        "mouthUpperUp*": 0.3,
        "mouthLowerDown*": 0.2,
        "cheekSquint*": 0.45,
        "eyeSquint*": 0.25,
    },
    "laugh": {
        "mouthSmile*": 0.65,
        "jawOpen": 0.25,
        "mouthUpperUp*": 0.35,
        "cheekSquint*": 0.55,
        "eyeSquint*": 0.4,
    },
    "surprise": {"jawOpen": 0.3, "browInnerUp": 0.6, "browOuterUp*": 0.55, "eyeWide*": 0.4},
    "anger": {"browDown*": 0.65, "noseSneer*": 0.3, "mouthPress*": 0.4, "eyeSquint*": 0.2},
    "sadness": {"browInnerUp": 0.55, "mouthFrown*": 0.5, "mouthShrugLower": 0.25, "eyeLookDown*": 0.15},
    "doubt": {"mouthPress*": 0.45, "mouthLeft": 0.25, "browDownLeft": 0.35, "browOuterUpRight": 0.35},
    "speak": {"jawOpen": 0.16, "mouthFunnel": 0.25, "mouthLowerDown*": 0.15},
    "pucker": {"mouthPucker": 0.45},
    "blink": {"eyeBlink*": 0.85},
    "squint": {"eyeSquint*": 0.6, "cheekSquint*": 0.2},
}
"""Face units at full strength; a star stands for both sides."""

EXPRESSIVE: Final[Mapping[str, float]] = {
    "smile": 0.34,
    "grin": 0.16,
    "laugh": 0.09,
    "surprise": 0.05,
    "anger": 0.06,
    "sadness": 0.05,
    "doubt": 0.06,
    "speak": 0.11,
    "pucker": 0.02,
    "blink": 0.02,
    "squint": 0.04,
}
"""How often each expression is drawn among those that are not neutral."""

RESTING: Final[Mapping[str, float]] = {
    "browInnerUp": 0.07,
    "browDown*": 0.06,
    "mouthPress*": 0.08,
    "eyeSquint*": 0.10,
    "mouthSmile*": 0.09,
    "mouthFrown*": 0.05,
    "jawOpen": 0.02,
}
"""Standard deviations of the face units that no face at rest leaves quite alone."""

LARGEST: Final = 0.9


def resting(generator: Generator) -> dict[str, float]:
    """Small weights of the units of `RESTING`, a few more on one side than on the other."""
    actions: dict[str, float] = {}
    for unit, deviation in RESTING.items():
        weight = max(0.0, normal(generator, 0.0, deviation, -0.4, 0.4))
        for target in _targets(unit):
            actions[target] = weight * generator.uniform(0.8, 1.0)
    return actions


def gaze(generator: Generator, yaw: float, pitch: float) -> dict[str, float]:
    """Face units of the eyes: they look about the camera, and follow the head where it turns far.

    Args:
        generator: of the draws.
        yaw: of the head, degrees, positive to the person's left.
        pitch: of the head, degrees, positive upwards.

    Returns:
        Weights of the `eyeLook` units and of a light blink.
    """
    stays = generator.uniform(0.2, 1.0)
    aside = normal(generator, -0.30 * stays * max(-1.0, min(1.0, yaw / 40)), 0.10, -0.5, 0.5)
    upward = normal(generator, -0.20 * stays * max(-1.0, min(1.0, pitch / 25)) - 0.03, 0.07, -0.35, 0.35)
    lid = normal(generator, 0.04, 0.05, 0.0, 0.2)
    actions: dict[str, float] = {}
    for side, outward in zip(SIDES, (aside, -aside), strict=True):
        actions[f"act:eyeLook{'Out' if outward > 0 else 'In'}{side}"] = abs(outward)
        actions[f"act:eyeLook{'Up' if upward > 0 else 'Down'}{side}"] = abs(upward)
        actions[f"act:eyeBlink{side}"] = lid
    return actions


def express(expression: str, strength: float, *others: Mapping[str, float]) -> dict[str, float]:
    """An expression over what the face does besides.

    Args:
        expression: name in `EXPRESSIONS`.
        strength: 0..1, of the expression.
        others: weights to add, such as those of `resting` and `gaze`.

    Returns:
        Target name (`act:...`) -> weight in 0..`LARGEST`.

    Raises:
        ValueError: the expression is not known.
    """
    if expression not in EXPRESSIONS:
        raise ValueError(f"expression '{expression}' is not known; choose from {', '.join(EXPRESSIONS)}")
    units = EXPRESSIONS[expression].items()
    total = {target: weight * strength for unit, weight in units for target in _targets(unit)}
    for other in others:
        for target, weight in other.items():
            total[target] = total.get(target, 0.0) + weight
    return {target: min(weight, LARGEST) for target, weight in total.items() if weight > 0}


def _targets(unit: str) -> tuple[str, ...]:
    if not unit.endswith("*"):
        return (f"act:{unit}",)
    return tuple(f"act:{unit[:-1]}{side}" for side in SIDES)
