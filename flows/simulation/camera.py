"""What a simulated camera takes on a day.

Each camera has its regulars, who come on some days and then more than once, its own light, sensor and mounting, and
the light of each hour: captures hang together as in life. Whatever is drawn is a function of (seed, camera, day,
capture) alone, so a day can be made by itself.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import poisson

from flows.intake import Capture
from flows.simulation.scenario import TILT, Planted, Scenario, at_severity
from flows.simulation.site import People, Site, encode_jpeg, people_of
from stages.lib.codec import Pixels
from stages.lib.degrade import OPERATORS, replay
from stages.lib.degrade.keys import Uniform, draws
from stages.lib.geometry.template import SIZE

SIDE: Final = 192
"""Width and height of a capture in pixels: it holds a face turned by any mounting."""
BUSY: Final = np.array([1, 1, 1, 1, 1, 3, 8, 16, 18, 10, 6, 6, 12, 12, 6, 6, 8, 14, 14, 8, 4, 3, 2, 1], np.float64)
"""How many captures fall into each hour of a day, to scale."""
NIGHT: Final = np.array([1, 1, 1, 1, 1, 1, *[0] * 14, 1, 1, 1, 1], np.float64)
"""The same of a night shift."""
REGULAR: Final = 0.5  # chance that a person is a regular of a camera
COMES: Final = (0.35, 0.95)  # on how many days a regular comes, from the least to the most regular one
ANEW: Final = ("person", "face", "hour", "minute", "whole", "light", "grain", "field", "zoom", "roll", "across", "down")
"""What is drawn anew for each capture."""
JPEG: Final = "jpeg"
"""The effect that makes a camera's own coding harder."""
POINTS: Final = 10  # coordinates of five landmarks

Step = dict[str, Any]


@dataclass(frozen=True)
class _Camera:
    """What is the same on all days.

    Attributes:
        stops: by which it exposes too much.
        read: noise of its sensor, grey levels.
        quality: of its JPEG.
        zoom: size of faces, of that of aligned ones.
        roll: degrees by which it hangs askew.
    """

    stops: float
    read: float
    quality: int
    zoom: float
    roll: float


@dataclass(frozen=True)
class _Take:
    """N captures of a day before they become pictures.

    Attributes:
        person: (N,) row in `People.names`.
        face: (N,) row in `People.images`.
        seconds: (N,) since midnight.
        steps: per capture what befalls the face, as `replay` takes it.
        quality: (N,) of the JPEG that the camera sends.
        onto: (N, 2, 3) maps from aligned pixels to those of the picture.
        missed: (N, 5, 2) pixels by which the landmarks are off.
        whole: (N,) whether the picture arrives.
    """

    person: NDArray[np.int64]
    face: NDArray[np.int64]
    seconds: NDArray[np.float64]
    steps: list[str]
    quality: NDArray[np.int64]
    onto: NDArray[np.float64]
    missed: NDArray[np.float64]
    whole: NDArray[np.bool_]


def captures_of(site: Site, scenario: Scenario, camera: str, day: int) -> list[Capture]:
    """The captures of a camera on a day, in order of time, with landmarks and whom each person claims to be.

    A few pictures do not arrive whole; of these the first half is there.
    """
    people = people_of(site)
    take = _take(people, scenario, camera, day)
    faces = torch.from_numpy(people.images[take.face]).permute(0, 3, 1, 2)
    landmarks = people.landmarks[take.face]
    seen = replay(faces, landmarks, take.steps).permute(0, 2, 3, 1).numpy()
    captures = []
    for row in np.argsort(take.seconds, kind="stable"):
        data = encode_jpeg(_placed(seen[row], take.onto[row]), int(take.quality[row]))
        points = landmarks[row] @ take.onto[row, :, :2].T + take.onto[row, :, 2] + take.missed[row]
        captures.append(
            Capture(
                name=f"{camera}/{day}/{row}",
                time=scenario.midnight(day) + timedelta(seconds=float(take.seconds[row])),
                camera=camera,
                image=data if take.whole[row] else data[: len(data) // 2],
                landmarks=tuple(points.ravel().tolist()),
                claimed=people.names[take.person[row]],
            )
        )
    return captures


def people_seen(site: Site, scenario: Scenario, camera: str, day: int) -> list[str]:
    """Whom each of `captures_of` shows, without making a picture."""
    people = people_of(site)
    take = _take(people, scenario, camera, day)
    return [people.names[person] for person in take.person[np.argsort(take.seconds, kind="stable")]]


def _take(people: People, scenario: Scenario, camera: str, day: int) -> _Take:
    own = _camera(scenario.seed, camera)
    count = int(poisson.ppf(draws(scenario.seed, [f"{camera}/{day}"], "count", 1)[0, 0], scenario.per_day))
    ids = [f"{camera}/{day}/{number}" for number in range(count)]
    u = dict(zip(ANEW, draws(scenario.seed, ids, "capture", len(ANEW)).T, strict=True))
    planted = [(one, _touched(scenario.seed, ids, one, day)) for one in scenario.planted_on(camera, day)]

    present = _present(people, scenario.seed, camera, day)
    person = present[(u["person"] * len(present)).astype(np.int64)]
    face = np.array([_pick(people.seen[who], x) for who, x in zip(person, u["face"], strict=True)], np.int64)
    hour = _hours(BUSY, u["hour"])
    for one, touched in planted:
        if one.at_night:
            hour[touched] = _hours(NIGHT, u["hour"][touched])

    light = 0.12 * _normal(draws(scenario.seed, [f"{camera}/{day}/{h}" for h in range(24)], "light", 1)[:, 0])
    quality = np.full(count, own.quality)
    chains = _life(own, own.stops + light[hour] + 0.15 * _normal(u["light"]), u)
    tilt = np.zeros(count)
    for one, touched in planted:
        _plant(chains, tilt, quality, one, touched, scenario.seed, ids, day)
    return _Take(
        person=person,
        face=face,
        seconds=3600.0 * (hour + u["minute"]),
        steps=[json.dumps(sorted(chain, key=_turn)) for chain in chains],
        quality=quality,
        onto=_maps(own, u, tilt),
        missed=0.4 * _normal(draws(scenario.seed, ids, "landmarks", POINTS)).reshape(-1, 5, 2),
        whole=u["whole"] >= scenario.unusable,
    )


def _camera(seed: int, name: str) -> _Camera:
    u = draws(seed, [name], "camera", 5)[0]
    return _Camera(
        stops=float(0.8 * u[0] - 0.4),
        read=float(1.0 + 3.0 * u[1]),
        quality=70 + int(22 * u[2]),
        zoom=float(1.0 + 0.15 * u[3]),
        roll=float(6.0 * u[4] - 3.0),
    )


def _present(people: People, seed: int, camera: str, day: int) -> NDArray[np.int64]:
    """Rows of the people who come to a camera on a day."""
    lot = draws(seed, [f"{camera}/{name}" for name in people.names], "regular", 2)
    comes = np.where(lot[:, 0] < REGULAR, COMES[0] + (COMES[1] - COMES[0]) * lot[:, 1], 0.0)
    today = draws(seed, [f"{camera}/{day}/{name}" for name in people.names], "comes", 1)[:, 0] < comes
    return np.flatnonzero(today) if today.any() else np.arange(len(people.names))  # of few people none may come


def _touched(seed: int, ids: list[str], planted: Planted, day: int) -> NDArray[np.int64]:
    """Rows of the captures that a drift touches; as its share rises, further ones join those of lower draws."""
    _, share = planted.on(day)
    return np.flatnonzero(draws(seed, ids, planted.name, 1)[:, 0] < share)


def _hours(profile: NDArray[np.float64], u: Uniform) -> NDArray[np.int64]:
    return np.searchsorted(profile.cumsum() / profile.sum(), u, side="right")


def _pick(rows: NDArray[np.int64], u: float) -> int:
    return int(rows[int(u * len(rows))])


def _life(own: _Camera, stops: NDArray[np.float64], u: dict[str, Uniform]) -> list[list[Step]]:
    """What befalls each face on any day: the light and the sensor. The codec comes last, over the whole picture."""
    return [
        [
            {"operator": "exposure", "stops": abs(s), "sign": 1 if s > 0 else -1, "gamma": 1.0, "cast": 0.0},
            {"operator": "noise", "read": own.read * grain, "shot": 0.1, "field": int(field * 2**53)},
        ]
        for s, grain, field in zip(
            stops.tolist(), np.exp(0.15 * _normal(u["grain"])).tolist(), u["field"].tolist(), strict=True
        )
    ]


def _plant(
    chains: list[list[Step]],
    tilt: NDArray[np.float64],
    quality: NDArray[np.int64],
    planted: Planted,
    touched: NDArray[np.int64],
    seed: int,
    ids: list[str],
    day: int,
) -> None:
    """Add a drift's effects to the chains, and to tilt and JPEG, of the captures that it touches."""
    strength, _ = planted.on(day)
    for effect in planted.effects:
        if effect.operator == TILT:
            tilt[touched] += strength * effect.severity
            continue
        if effect.operator == JPEG:
            quality[touched] = np.minimum(quality[touched], at_severity(JPEG, strength * effect.severity)["quality"])
            continue
        operator = OPERATORS[effect.operator]
        u = draws(seed, [ids[row] for row in touched], f"{planted.name}/{operator.name}", operator.draws)
        columns = {name: values.tolist() for name, values in operator.sample(u).items()}
        fixed = {**at_severity(operator.name, strength * effect.severity), **effect.fixed}
        for place, row in enumerate(touched):
            own = {name: values[place] for name, values in columns.items()}
            chains[row].append({"operator": operator.name, **own, **fixed})


def _turn(step: Step) -> int:
    return list(OPERATORS).index(step["operator"])


def _maps(own: _Camera, u: dict[str, Uniform], tilt: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 2, 3): a face is enlarged, turned by its roll and the camera's, and put near the middle of the picture.

    A tilt then turns the picture about its own centre.
    """
    zoom = own.zoom * np.exp(0.04 * _normal(u["zoom"]))
    roll, turned = np.deg2rad(own.roll + 4.0 * _normal(u["roll"])), np.deg2rad(tilt)
    aside = 3.0 * (_normal(u["across"]) + 1j * _normal(u["down"]))
    spin = zoom * np.exp(1j * (roll + turned))  # points as complex numbers, y down
    shift = (SIDE - 1) / 2 * (1 + 1j) + aside * np.exp(1j * turned) - spin * (SIZE - 1) / 2 * (1 + 1j)
    rows = [spin.real, -spin.imag, shift.real, spin.imag, spin.real, shift.imag]
    return np.stack(rows, axis=-1).reshape(-1, 2, 3)


def _placed(face: Pixels, onto: NDArray[np.float64]) -> Pixels:
    """The picture of an aligned face, before a wall of the colour of its upper rim."""
    wall = face[0].mean(axis=0).tolist()
    return cv2.warpAffine(face, onto, (SIDE, SIDE), borderValue=wall).astype(np.uint8, copy=False)


def _normal(u: Uniform) -> NDArray[np.float64]:
    return np.asarray(ndtri(np.maximum(u, 2.0**-53)), np.float64)
