"""What is drawn of a picture: factors apart from each other, in range, and moderate."""

from __future__ import annotations

import math
from dataclasses import asdict, replace

import numpy as np
import pytest
from pydantic import TypeAdapter

from stages.lib.cohort.basis import Targets
from stages.lib.cohort.expressions import EXPRESSIONS, EXPRESSIVE, LARGEST, express
from stages.lib.cohort.identity import Identity, sample_identity
from stages.lib.cohort.shot import Light, Mask, Pose, Ranges, Shot, sample_shot

PERSON = sample_identity(Targets((), ()), 11, 4)  # shots need no shape
RANGES = Ranges(yaw_sd=30, yaw_max=60, mask_rate=0.2, expressive=0.5)


@pytest.fixture(scope="module")
def shots() -> list[Shot]:
    return [sample_shot(PERSON, number, RANGES) for number in range(10_000)]


def test_same_key_same_shot_and_json_brings_it_back() -> None:
    shot = sample_shot(PERSON, 3, RANGES)
    assert shot == sample_shot(PERSON, 3, RANGES) != sample_shot(PERSON, 4, RANGES)
    adapter = TypeAdapter(Shot)
    assert adapter.validate_json(adapter.dump_json(shot)) == shot
    assert adapter.validate_python(asdict(shot)) == shot


def test_ranges_hold_in_ten_thousand_draws(shots: list[Shot]) -> None:
    pose = np.array([(shot.pose.yaw, shot.pose.pitch, shot.pose.roll) for shot in shots])
    light = np.array([(*s.light.key, *s.light.ambient, s.light.shadow, s.light.exposure) for s in shots])
    camera = np.array([(s.camera.scale, s.camera.distance, *s.camera.tint, s.camera.contrast) for s in shots])
    assert (np.abs(pose) <= [60, 35, 25]).all() and np.abs(pose[:, 0]).max() > 55
    assert (light > 0).all() and light[:, -1].max() < 6
    assert (camera > 0.5).all()
    assert all(0 < weight <= LARGEST for shot in shots for weight in shot.actions.values())
    assert {shot.expression for shot in shots} == set(EXPRESSIONS)
    assert np.mean([shot.mask.worn for shot in shots]) == pytest.approx(0.2, abs=0.02)
    assert np.mean([shot.expression == "neutral" for shot in shots]) == pytest.approx(0.5, abs=0.02)
    assert pose[:, 0].mean() == pytest.approx(0, abs=1.5)


def test_light_is_nearly_white_and_eyes_do_not_stare(shots: list[Shot]) -> None:
    key = np.array([shot.light.key for shot in shots])
    assert np.abs(key / key[:, 1:2] - 1).max() < 0.2
    wide = [shot.actions.get("act:eyeWideLeft", 0.0) for shot in shots if shot.expression != "surprise"]
    assert max(wide) == 0


@pytest.mark.parametrize(
    ("factor", "value"),
    [
        ("pose", Pose(40, 0, 0)),
        ("expression", "laugh"),
        ("mask", Mask(True, "cloth", False, (0.1, 0.1, 0.1))),
        ("glasses_on", True),
        ("background", 5),
    ],
)
def test_a_fixed_factor_moves_only_what_follows_it(factor: str, value: object) -> None:
    drawn, fixed = sample_shot(PERSON, 9, RANGES), sample_shot(PERSON, 9, RANGES, **{factor: value})  # type: ignore[arg-type]
    follows = {"pose": ("actions",), "expression": ("actions",)}.get(factor, ())
    assert getattr(fixed, factor) == value
    assert replace(fixed, **{name: getattr(drawn, name) for name in (factor, *follows)}) == drawn


def test_ranges_do_not_move_other_factors() -> None:
    usual, other = sample_shot(PERSON, 1, RANGES), sample_shot(PERSON, 1, replace(RANGES, mask_rate=1.0, yaw_sd=5))
    assert other.mask.worn and other.light == usual.light and other.camera == usual.camera
    assert other.expression == usual.expression and other.background == usual.background


@pytest.mark.parametrize("number", [0, 1])
def test_no_shot_follows_from_who_the_person_is(number: int) -> None:
    people = [sample_identity(Targets((), ()), 1, place) for place in range(800)]
    poses = [sample_shot(person, number, RANGES).pose for person in people]
    male = [person.male for person in people]
    for angle in ("yaw", "pitch", "roll"):
        found = np.corrcoef(male, [getattr(pose, angle) for pose in poses])[0, 1]
        assert abs(found) < 4 / math.sqrt(len(people)), angle  # of independent draws, four standard errors


def test_darker_skin_gets_a_longer_exposure() -> None:
    def exposure(tone: float) -> float:
        person: Identity = replace(PERSON, skin=replace(PERSON.skin, tone=(tone, tone, tone)))
        return sample_shot(person, 0, RANGES).light.exposure

    assert exposure(0.06) > 1.2 * exposure(0.5)


def test_gaze_stays_about_the_camera_when_the_head_turns() -> None:
    turned = [sample_shot(PERSON, number, RANGES, pose=Pose(40, 0, 0)).actions for number in range(200)]
    rightwards = [actions.get("act:eyeLookOutRight", 0) - actions.get("act:eyeLookInRight", 0) for actions in turned]
    assert np.mean(rightwards) > 0.1 and max(map(abs, rightwards)) <= 0.5


def test_unknown_factors_and_expressions_are_named() -> None:
    with pytest.raises(ValueError, match="hat"):
        sample_shot(PERSON, 0, RANGES, hat=True)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match=r"yawn.*neutral"):
        express("yawn", 1.0)


def test_expressive_shares_sum_to_one() -> None:
    assert sum(EXPRESSIVE.values()) == pytest.approx(1)
    assert set(EXPRESSIVE) | {"neutral"} == set(EXPRESSIONS)


def test_angle_of_the_key_light() -> None:
    def angle(azimuth: float, elevation: float) -> float:
        zero = (0.0, 0.0, 0.0)
        return Light(azimuth, elevation, zero, zero, (zero, zero, zero), 1.0, 1.0).angle

    assert angle(0, 0) == 0 and angle(90, 0) == pytest.approx(90) and angle(180, 0) == pytest.approx(180)
    direction = np.array([math.sin(0.6) * math.cos(0.4), math.sin(0.4), math.cos(0.6) * math.cos(0.4)])
    assert angle(math.degrees(0.6), math.degrees(0.4)) == pytest.approx(math.degrees(math.acos(direction[2])))
