"""Verification protocols that vary one factor: a frontal template against probes of one bin."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

from stages.lib.cohort.shot import Shot

IMPOSTORS: Final = 20
"""Templates of other people that a probe meets, at most."""
NEAR_FRONTAL: Final = 30.0
"""Degrees of yaw that factors other than yaw are kept to."""


def _turned(shot: Shot, low: float, high: float) -> bool:
    return not shot.mask.worn and low <= abs(shot.pose.yaw) < high


def _lit(shot: Shot, low: float, high: float) -> bool:
    return _turned(shot, 0, NEAR_FRONTAL) and low <= shot.light.angle < high


def _masked(shot: Shot) -> bool:
    return shot.mask.worn and abs(shot.pose.yaw) < NEAR_FRONTAL


def _expressive(shot: Shot, wanted: bool) -> bool:
    return _turned(shot, 0, NEAR_FRONTAL) and (shot.expression != "neutral") is wanted


FACTORS: Final[Mapping[str, Callable[[Shot], bool]]] = {
    "yaw 0 to 15": partial(_turned, low=0, high=15),
    "yaw 15 to 30": partial(_turned, low=15, high=30),
    "yaw 30 to 45": partial(_turned, low=30, high=45),
    "yaw 45 to 60": partial(_turned, low=45, high=60),
    "yaw 60 to 90": partial(_turned, low=60, high=91),
    "mask": _masked,
    "light 0 to 30": partial(_lit, low=0, high=30),
    "light 30 to 60": partial(_lit, low=30, high=60),
    "light over 60": partial(_lit, low=60, high=181),
    "expression neutral": partial(_expressive, wanted=False),
    "expression other": partial(_expressive, wanted=True),
}
"""Name of a protocol -> whether a shot is one of its probes. Yaw and light in degrees; only `mask` has masks."""


def factor_pairs(people: Sequence[Sequence[Shot]]) -> Iterator[tuple[str, Shot, Shot]]:
    """Pairs of a template and a probe, genuine and impostor, by protocol.

    A person's template is their plainest shot and is nobody's probe. A probe meets the template of its own person
    and those of `IMPOSTORS` others, which are spread over the cohort.

    Args:
        people: the shots of each person.

    Yields:
        Protocol, template, probe.
    """
    templates = [min(shots, key=_plainness) for shots in people]
    others = min(IMPOSTORS, len(people) - 1)
    for name, belongs in FACTORS.items():
        for person, shots in enumerate(people):
            for probe in shots:
                if probe is templates[person] or not belongs(probe):
                    continue
                yield name, templates[person], probe
                for step in range(others):
                    other = (person + 1 + step * (len(people) - 1) // others) % len(people)
                    yield name, templates[other], probe


def _plainness(shot: Shot) -> tuple[bool, bool, float]:
    """Small for a bare, neutral, frontal face."""
    return shot.mask.worn or shot.sunglasses, shot.expression != "neutral", abs(shot.pose.yaw) + abs(shot.pose.pitch)
