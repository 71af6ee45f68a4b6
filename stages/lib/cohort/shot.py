"""One picture of a person: everything about it that is not the person."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal, TypedDict, Unpack

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from stages.lib.cohort.draws import Triple, normal, pick, triple, truncated
from stages.lib.cohort.expressions import EXPRESSIVE, express, gaze, resting
from stages.lib.cohort.identity import Identity

MaskKind = Literal["pleated", "cloth", "ffp2"]


@dataclass(frozen=True)
class Pose:
    """Head pose in degrees; signs as in `stages.lib.geometry.pose`."""

    yaw: float
    pitch: float
    roll: float


@dataclass(frozen=True)
class Light:
    """A distant key light over an ambient one; camera frame: x right in the picture, y up, z to the camera.

    Attributes:
        azimuth: of the key light, degrees; positive from the right of the picture.
        elevation: of the key light, degrees; positive from above.
        key: linear RGB irradiance of the key light.
        ambient: linear RGB irradiance from everywhere.
        gradient: change of the ambient light with the normal; row = axis (x, y, z), column = RGB.
        shadow: how dark cast shadows are, 0..1.
        exposure: factor on radiance before the tone curve.
    """

    azimuth: float
    elevation: float
    key: Triple
    ambient: Triple
    gradient: tuple[Triple, Triple, Triple]
    shadow: float
    exposure: float

    @property
    def angle(self) -> float:
        """Degrees between the key light and the camera axis, 0..180."""
        cosine = math.cos(math.radians(self.azimuth)) * math.cos(math.radians(self.elevation))
        return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))


@dataclass(frozen=True)
class Mask:
    """A face mask, whether it is worn or not; `colour` is linear RGB."""

    worn: bool
    kind: MaskKind
    below_nose: bool
    colour: Triple


@dataclass(frozen=True)
class Camera:
    """Attributes:
    distance: from the face, decimetres.
    scale: of the face in the picture; 1 fills it.
    offset: of the face from the middle, x to the right and y down, in picture widths.
    noise: standard deviation of sensor noise, 0..1 of full scale.
    blur: standard deviation, pixels in a picture 128 wide.
    saturation: factor; 1 leaves colours alone.
    contrast: factor; 1 leaves contrast alone.
    tint: RGB factor of the white balance.
    """

    distance: float
    scale: float
    offset: tuple[float, float]
    noise: float
    blur: float
    saturation: float
    contrast: float
    tint: Triple


@dataclass(frozen=True)
class Shot:
    """Attributes:
    seed: of the random pixels of this picture.
    identity: number of the person.
    number: of the shot within the person.
    pose: of the head.
    expression: name in `expressions.EXPRESSIONS`.
    actions: face unit (`act:...` target) -> weight, gaze and blink included.
    glasses_on: whether the person wears glasses here.
    sunglasses: whether their lenses are dark.
    mask: face mask.
    light: on the face.
    camera: that takes the picture.
    background: seed of the background.
    """

    seed: int
    identity: int
    number: int
    pose: Pose
    expression: str
    actions: dict[str, float]
    glasses_on: bool
    sunglasses: bool
    mask: Mask
    light: Light
    camera: Camera
    background: int


@dataclass(frozen=True)
class Ranges:
    """How widely the shots of a cohort vary.

    Attributes:
        yaw_sd: standard deviation of yaw, degrees.
        yaw_max: largest absolute yaw, degrees, at most 90.
        pitch_sd: standard deviation of pitch, degrees.
        roll_sd: standard deviation of roll, degrees.
        mask_rate: share of shots with a face mask, 0..1.
        glasses_rate: share of their shots in which owners of glasses wear them, 0..1.
        light: strength of directed light, 0 (soft) to 1 (hard).
        expressive: share of shots with an expression other than neutral, 0..1.
    """

    yaw_sd: float = 25.0
    yaw_max: float = 90.0
    pitch_sd: float = 9.0
    roll_sd: float = 5.0
    mask_rate: float = 0.15
    glasses_rate: float = 0.85
    light: float = 0.65
    expressive: float = 0.6


class Fixed(TypedDict, total=False):
    """Factors of a shot that may be given in place of a draw."""

    pose: Pose
    expression: str
    actions: dict[str, float]
    glasses_on: bool
    sunglasses: bool
    mask: Mask
    light: Light
    camera: Camera
    background: int


MASKS: Final[Mapping[MaskKind, tuple[Triple, ...]]] = {
    "pleated": ((0.72, 0.80, 0.85), (0.36, 0.56, 0.70), (0.78, 0.79, 0.80), (0.03, 0.03, 0.035)),
    "cloth": ((0.03, 0.03, 0.035), (0.10, 0.14, 0.24), (0.34, 0.12, 0.13), (0.42, 0.40, 0.37), (0.14, 0.20, 0.15)),
    "ffp2": ((0.80, 0.80, 0.79), (0.80, 0.80, 0.79), (0.04, 0.04, 0.045)),
}
"""Linear RGB of the masks that one sees, by kind."""

MASK_KINDS: Final[Mapping[str, float]] = {"pleated": 0.5, "cloth": 0.25, "ffp2": 0.25}
LUMINANCE: Final = (0.2126, 0.7152, 0.0722)
BELOW_NOSE: Final = 0.10
SUNGLASSES: Final = 0.07
PITCH_MAX: Final = 35.0
ROLL_MAX: Final = 25.0


def sample_shot(identity: Identity, number: int, ranges: Ranges, **fixed: Unpack[Fixed]) -> Shot:
    """One picture of a person.

    Every factor draws from a stream of its own, keyed by (seed, identity, shot): neither a factor that is given nor
    a changed range moves any other.

    Args:
        identity: the person.
        number: of the shot.
        ranges: how widely shots vary.
        **fixed: factors given in place of their draw.

    Returns:
        The shot. Face units follow the expression and the pose, exposure follows the light, given or drawn.

    Raises:
        ValueError: `fixed` names no factor of a shot, or an expression that is not known.
    """
    if unknown := set(fixed) - set(Fixed.__annotations__):
        raise ValueError(f"no factor of a shot: {', '.join(sorted(unknown))}")
    # number 0 would pad to the key of the person, and draw what the person was drawn of
    root = np.random.default_rng([identity.seed, identity.number, number + 1])
    turned, face, worn, covered, lit, taken, pixels = root.spawn(7)
    pose = fixed.get("pose") or _pose(turned, ranges)
    drawn, strength, rest = _expression(face, ranges.expressive), face.uniform(0.5, 1.0), resting(face)
    expression = fixed.get("expression", drawn)
    glasses = identity.glasses.owned and worn.uniform() < ranges.glasses_rate
    shot = Shot(
        seed=int(pixels.integers(1 << 31)),
        identity=identity.number,
        number=number,
        pose=pose,
        expression=expression,
        actions=express(expression, strength, rest, gaze(face, pose.yaw, pose.pitch)),
        glasses_on=glasses,
        sunglasses=glasses and worn.uniform() < SUNGLASSES,
        mask=_mask(covered, ranges.mask_rate),
        light=_light(lit, ranges.light, identity.skin.tone),
        camera=_camera(taken),
        background=int(pixels.integers(1 << 31)),
    )
    return replace(shot, **fixed)


def _pose(generator: Generator, ranges: Ranges) -> Pose:
    return Pose(
        yaw=normal(generator, 0.0, ranges.yaw_sd, -ranges.yaw_max, ranges.yaw_max),
        pitch=normal(generator, 0.0, ranges.pitch_sd, -PITCH_MAX, PITCH_MAX),
        roll=normal(generator, 0.0, ranges.roll_sd, -ROLL_MAX, ROLL_MAX),
    )


def _expression(generator: Generator, expressive: float) -> str:
    moved, drawn = generator.uniform() < expressive, pick(generator, EXPRESSIVE)
    return drawn if moved else "neutral"


def _mask(generator: Generator, rate: float) -> Mask:
    worn, below = generator.uniform() < rate, generator.uniform() < BELOW_NOSE
    kind: MaskKind = pick(generator, MASK_KINDS)  # type: ignore[assignment]
    colour = MASKS[kind][int(generator.integers(len(MASKS[kind])))]
    return Mask(worn, kind, below, triple(np.multiply(colour, generator.uniform(0.85, 1.1))))


def _light(generator: Generator, strength: float, tone: Triple) -> Light:
    """Key light of a mild colour over an ambient one of the opposite; exposed for the face as a camera would."""
    azimuth = normal(generator, 0.0, 40.0, -110.0, 110.0)
    elevation = normal(generator, 28.0, 18.0, -10.0, 75.0)
    directed = normal(generator, strength, 0.2, 0.05, 1.0)
    warm = normal(generator, 0.0, 1.0, -2.0, 2.0)
    key = 1.2 * directed * np.array([1 + 0.05 * warm, 1.0, 1 - 0.07 * warm])
    ambient = (0.75 - 0.55 * directed) * np.array([1 - 0.02 * warm, 1.0, 1 + 0.03 * warm])
    slope = truncated(generator, [0.0, 0.25, 0.1], 0.15, -0.5, 0.6)[:, None]
    cast = truncated(generator, np.ones(3), 0.04, 0.85, 1.15)
    gradient, shadow = _rows(slope * ambient * cast), generator.uniform(0.5, 0.95)
    light = Light(azimuth, elevation, triple(key), triple(ambient), gradient, shadow, exposure=1.0)
    facing = 0.30 + 0.40 * max(0.0, math.cos(math.radians(light.angle)))
    darkness = (0.35 / max(0.05, float(np.dot(tone, LUMINANCE)))) ** 0.3
    error = math.exp(normal(generator, 0.1, 0.15, -0.3, 0.4))
    return replace(light, exposure=error * darkness / float(key[1] * facing + ambient[1]))


def _rows(matrix: NDArray[np.float64]) -> tuple[Triple, Triple, Triple]:
    first, second, third = matrix
    return triple(first), triple(second), triple(third)


def _camera(generator: Generator) -> Camera:
    return Camera(
        distance=math.exp(normal(generator, math.log(12.0), 0.35, math.log(6.0), math.log(30.0))),
        scale=normal(generator, 1.0, 0.05, 0.88, 1.12),
        offset=(normal(generator, 0.0, 0.02, -0.05, 0.05), normal(generator, 0.0, 0.02, -0.05, 0.05)),
        noise=normal(generator, 0.006, 0.010, 0.0, 0.035),
        blur=normal(generator, 0.50, 0.40, 0.0, 1.3),
        saturation=normal(generator, 1.03, 0.12, 0.65, 1.25),
        contrast=normal(generator, 1.0, 0.07, 0.85, 1.15),
        tint=triple(truncated(generator, np.ones(3), 0.02, 0.94, 1.06)),
    )
