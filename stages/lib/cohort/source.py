"""The cohort as a source of faces: people and shots by number, rendered as they are read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from stages.lib.codec import encode_png
from stages.lib.cohort.basis import load_targets
from stages.lib.cohort.identity import Identity, sample_identity
from stages.lib.cohort.protocols import factor_pairs
from stages.lib.cohort.shot import Ranges, Shot, sample_shot
from stages.lib.sources.base import Pair, Record

if TYPE_CHECKING:
    from stages.lib.cohort.render import Rendered

LICENCE = "CC0-1.0 (rendered from MakeHuman's CC0 head; no photograph of anyone is in it)"


@dataclass(frozen=True)
class Recipe:
    """What a cohort is made from; the same recipe gives the same people.

    Attributes:
        seed: of people and shots.
        identities: number of people.
        test_identities: of these, the first so many are kept for test.
        shots: pictures of each person.
        size: width and height of a picture, pixels.
        spread: how far people differ from the mean, 1 as designed.
        ranges: of the shots.
    """

    seed: int
    identities: int
    test_identities: int
    shots: int
    size: int
    spread: float
    ranges: Ranges


@dataclass(frozen=True)
class CohortSource:
    """Pictures ordered by person, then shot; every one can be rendered alone.

    Attributes:
        recipe: what to render.
        device: torch device to render on.
        licence: recorded with each face.
    """

    recipe: Recipe
    device: str
    licence: str = LICENCE
    kind: str = "cohort"

    def __len__(self) -> int:
        return self.recipe.identities * self.recipe.shots

    def read(self, start: int, stop: int) -> Iterator[Record]:
        """The pictures at positions [start, stop), with all their labels."""
        from stages.lib.cohort.basis import load_basis  # with torch, which the other sources spare
        from stages.lib.cohort.render import render

        basis = load_basis(self.device)
        places = [divmod(place, self.recipe.shots) for place in range(start, min(stop, len(self)))]
        for number, group in groupby(places, key=lambda place: place[0]):
            identity = self.identity(number)
            shots = [sample_shot(identity, shot, self.recipe.ranges) for _, shot in group]
            rendered = render(basis, [identity] * len(shots), shots, self.recipe.size)
            yield from self._records(shots, rendered)

    def pairs(self) -> Iterator[Pair]:
        """Test people by one factor at a time: yaw, mask, light, expression."""
        people = []
        for number in range(self.recipe.test_identities):
            identity = self.identity(number)
            people.append([sample_shot(identity, shot, self.recipe.ranges) for shot in range(self.recipe.shots)])
        for protocol, template, probe in factor_pairs(people):
            same = template.identity == probe.identity
            yield Pair(protocol, _name(template), _name(probe), same, fold=0)

    def identity(self, number: int) -> Identity:
        """The person of a number."""
        return sample_identity(load_targets(), self.recipe.seed, number, self.recipe.spread)

    def _records(self, shots: list[Shot], rendered: Rendered) -> Iterator[Record]:
        images = rendered.images.permute(0, 2, 3, 1).cpu().numpy()
        segmentation = rendered.segmentation.cpu().numpy()
        points = rendered.landmarks.points68.cpu().numpy().astype(np.float32)
        visible = rendered.landmarks.visible.cpu().numpy()
        five = rendered.landmarks.points5.cpu().numpy().astype(np.float32)
        for row, shot in enumerate(shots):
            yield Record(
                name=_name(shot),
                subject=f"{shot.identity:06d}",
                image=encode_png(images[row]),
                landmarks=five[row],
                landmarks_from="source",
                split="test" if shot.identity < self.recipe.test_identities else "train",
                labels={
                    "yaw": shot.pose.yaw,
                    "pitch": shot.pose.pitch,
                    "roll": shot.pose.roll,
                    "segmentation": encode_png(segmentation[row]),
                    "landmarks68": points[row].ravel().tolist(),
                    "visible68": visible[row].tolist(),
                    "mask_worn": shot.mask.worn,
                    "expression": shot.expression,
                    "light": shot.light.angle,
                    "recipe": json.dumps(asdict(shot)),
                },
            )


def _name(shot: Shot) -> str:
    return f"{shot.identity:06d}/{shot.number:04d}.png"
