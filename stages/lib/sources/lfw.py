"""Labeled Faces in the Wild in its official layout, with the splits and pairs of its protocols."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stages.lib.errors import ConfigError
from stages.lib.sources.base import Pair, Record, Unreadable
from stages.lib.sources.lfw_lists import LANDMARKS, read_landmarks, read_pairs, read_splits
from stages.lib.sources.tree import RefusedFile, existing_folder, list_files, printable, read_bytes

LICENCE: Final = "research use; cite Huang et al. 2007 (LFW, University of Massachusetts, Amherst)"
LFW_CROP_SIZE: Final = (170, 170)
LFW_FULL_SIZE: Final = (250, 250)

# Median per coordinate of the points that YuNet finds on the 13,233 deep-funneled images cropped to
# [40:210] of 250 pixels; interquartile ranges are 3 to 8 px. The crop keeps the scale, so on the full
# 250-pixel image each point lies 40 pixels further right and down.
LFW_CROP_LANDMARKS: Final[NDArray[np.float32]] = np.array(
    [[63.81, 72.98], [106.63, 72.38], [85.64, 97.35], [67.50, 117.32], [104.84, 116.73]], np.float32
)
LFW_FULL_LANDMARKS: Final[NDArray[np.float32]] = LFW_CROP_LANDMARKS + np.float32(40)

_LAYOUT = "a folder with images/Name/Name_0001.jpg, or Name/Name_0001.jpg, and LFW's list files beside them"


@dataclass(frozen=True, eq=False)
class LfwSource:
    """The images, sorted by name.

    Attributes:
        root: the folder that holds the people.
        lists: the folder that holds the list files.
        names: `Name/Name_0001.jpg` and so on, sorted.
        splits: person -> `train` or `test` of View 1; empty where its lists are absent.
        points: (len(names), 5, 2) pixels, NaN where unknown; None without a landmarks file.
    """

    root: Path
    lists: Path
    names: tuple[str, ...]
    splits: dict[str, str]
    points: NDArray[np.float32] | None = None
    licence: str = LICENCE
    kind: str = "lfw"

    def __len__(self) -> int:
        return len(self.names)

    def read(self, start: int, stop: int) -> Iterator[Record | Unreadable]:
        """The images at positions [start, stop)."""
        for place in range(*slice(start, stop).indices(len(self.names))):
            name = self.names[place]
            person = printable(name.partition("/")[0])
            try:
                image = read_bytes(self.root, name)
            except RefusedFile as error:
                yield Unreadable(printable(name), person, str(error))
                continue
            known = self.points is not None and bool(np.isfinite(self.points[place]).all())
            landmarks = self.points[place] if self.points is not None and known else None
            yield Record(name, person, image, landmarks, "source" if known else None, self.splits.get(person))

    def pairs(self) -> Iterator[Pair]:
        """`lfw-view1-train`, `lfw-view1-test` and `lfw-view2`, as far as their lists are there."""
        return read_pairs(self.lists)


def open_lfw(path: Path | None, licence: str | None = None) -> LfwSource:
    """Open LFW; lists of people that are missing are told on stderr, for figures then compare with nobody's.

    Raises:
        ConfigError: no such folder, no images, a damaged list, or a person whom View 1 does not place.
    """
    lists = existing_folder(path, "lfw", _LAYOUT)
    root = lists / "images" if (lists / "images").is_dir() else lists
    names = tuple(name for name in list_files(root) if "/" in name)
    if not names:
        raise ConfigError(f"{root} holds no images of people; a source of kind 'lfw' is {_LAYOUT}")
    splits = read_splits(lists)
    if not splits:
        print(
            f"warning: neither peopleDevTrain.txt nor peopleDevTest.txt lies in {lists}: LFW's people are split by "
            "lot and not as in its View 1",
            file=sys.stderr,
        )
    strangers = sorted({name.partition("/")[0] for name in names} - splits.keys()) if splits else []
    if strangers:
        raise ConfigError(
            f"{len(strangers)} people of {root} are in neither peopleDevTrain.txt nor peopleDevTest.txt, "
            f"the first {printable(strangers[0])}; remove them or open the folder as kind 'folder'"
        )
    for _ in read_pairs(lists):  # a damaged list stops ingest now and not after all images are read
        pass
    landmarks = lists / LANDMARKS
    points = read_landmarks(landmarks, names) if landmarks.is_file() else None
    return LfwSource(root, lists, names, splits, points, licence or LICENCE)
