"""The list files of Labeled Faces in the Wild: people of View 1, pairs of both views, landmarks.

Source: G. B. Huang et al., "Labeled Faces in the Wild", Technical Report 07-49, University of
Massachusetts, Amherst, 2007, and the database's README, section 3.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stages.lib.errors import ConfigError
from stages.lib.sources.base import Pair

LANDMARKS: Final = "landmarks5.csv"
_SPLITS: Final = {"peopleDevTrain.txt": "train", "peopleDevTest.txt": "test"}
_PROTOCOLS: Final = {
    "pairsDevTrain.txt": "lfw-view1-train",
    "pairsDevTest.txt": "lfw-view1-test",
    "pairs.txt": "lfw-view2",
}
_VIEW1_FOLDS: Final = 10
_COORDINATES: Final = tuple(f"{point}_{axis}" for point in ("re", "le", "nose", "rm", "lm") for axis in "xy")


def image_name(person: str, number: int) -> str:
    """The path of an image below the folder of images, such as `Ann_Lee/Ann_Lee_0001.jpg`."""
    return f"{person}/{person}_{number:04d}.jpg"


def read_splits(folder: Path) -> dict[str, str]:
    """`train` or `test` of every person in the two View-1 lists; empty where neither list is there.

    Raises:
        ConfigError: one of the two lists is missing, a list is damaged, or a person is in both.
    """
    present = [name for name in _SPLITS if (folder / name).is_file()]
    if not present:
        return {}
    splits: dict[str, str] = {}
    for name, split in _SPLITS.items():
        path = folder / name
        if name not in present:
            raise ConfigError(f"{path} is missing beside {present[0]}; View 1 needs both, or leave out both")
        (people,), rows = _header(path, 1)
        if len(rows) != people:
            raise ConfigError(f"{path} announces {people} people and lists {len(rows)}; fetch the list again")
        for person, *_ in rows:
            if splits.setdefault(person, split) != split:
                raise ConfigError(f"{path} names {person}, who is also in the other View-1 list; fetch both again")
    return splits


def read_pairs(folder: Path) -> Iterator[Pair]:
    """The pairs of every list in the folder.

    View 2 has its own ten folds. View 1 is one set, so ten folds are made of it by position, each with a
    tenth of the mated and a tenth of the non-mated pairs, and a ten-fold accuracy can be taken.

    Raises:
        ConfigError: a list is damaged.
    """
    for name, protocol in _PROTOCOLS.items():
        if (folder / name).is_file():
            yield from _pairs_of(folder / name, protocol)


def _pairs_of(path: Path, protocol: str) -> Iterator[Pair]:
    numbers, rows = _header(path, 2 if protocol == "lfw-view2" else 1)
    *sets, each = numbers
    if len(rows) != 2 * each * (sets[0] if sets else 1):
        raise ConfigError(f"{path} announces other numbers of pairs than its {len(rows)}; fetch the list again")
    for position, row in enumerate(rows):
        block, place = divmod(position, 2 * each)
        same = place < each
        try:
            first, number, *other, last = row
            if len(row) != (3 if same else 4):
                raise ValueError
            names = image_name(first, int(number)), image_name(first if same else other[0], int(last))
        except ValueError:
            wanted = "name n1 n2" if same else "name1 n1 name2 n2"
            raise ConfigError(f"{path}, line {position + 2}: not `{wanted}`; fetch the list again") from None
        fold = block if sets else place % each * _VIEW1_FOLDS // each
        yield Pair(protocol, *names, same=same, fold=fold)


def _header(path: Path, count: int) -> tuple[tuple[int, ...], list[list[str]]]:
    """The numbers on the first line, and the fields of all further lines that are not blank."""
    try:
        first, *rest = [line.split() for line in _text(path).splitlines() if line.strip()]
        numbers = tuple(map(int, first))
    except ValueError:
        raise ConfigError(f"{path} is not a list of LFW: its first line should be a count; fetch it again") from None
    if len(numbers) != count or min(numbers) < 1:
        raise ConfigError(f"{path}: the first line should hold {count} positive numbers; fetch the list again")
    return numbers, rest


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text; fetch the file again") from None


def read_landmarks(path: Path, names: tuple[str, ...]) -> NDArray[np.float32]:
    """Five points of each named image, from a CSV with the columns image and re_x, re_y to lm_x, lm_y.

    Args:
        path: the CSV file.
        names: the images wanted.

    Returns:
        (len(names), 5, 2) float32 pixels; NaN for an image that the file does not list.

    Raises:
        ConfigError: a column is missing or a value is not a finite number.
    """
    places = {name: index for index, name in enumerate(names)}
    points = np.full((len(names), len(_COORDINATES)), np.nan, np.float32)
    rows = csv.DictReader(_text(path).splitlines())
    missing = sorted({"image", *_COORDINATES} - set(rows.fieldnames or ()))
    if missing:
        raise ConfigError(f"{path} lacks the columns {', '.join(missing)}; write it again with all of them")
    for row in rows:
        if (place := places.get(row["image"])) is None:
            continue
        try:
            points[place] = [float(row[column]) for column in _COORDINATES]
        except (TypeError, ValueError):
            points[place] = np.inf
        if not np.isfinite(points[place]).all():
            raise ConfigError(f"{path}, line {rows.line_num}: a coordinate is not a finite number; mend the line")
    return points.reshape(-1, 5, 2)
