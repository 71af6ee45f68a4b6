"""FASSEG's `multipose01`: 15 people photographed twice at 13 exact yaws, most with a map of six classes.

The 70 frontal pictures of the repository state no person and are left out. `index.csv` names the images, maps,
people, sessions and angles; its yaw is positive where the face looks to its person's right, which is negative in the
face table: with the sign changed, `q_yaw` of the aligned pictures correlates with it by 0.97 up to 45 degrees.

Source: S. Benini, K. Khan, R. Leonardi, M. Mauro and P. Migliorati, "FASSEG: A FAce semantic SEGmentation repository
for face image analysis", Data in Brief 24, 2019; photographs of Pointing'04: N. Gourier, D. Hall and J. Crowley,
"Estimating face orientation from robust detection of salient facial features", 2004.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stages.lib.classes import UNKNOWN, Label
from stages.lib.errors import ConfigError
from stages.lib.sources.base import Pair, Record, Unreadable
from stages.lib.sources.tree import RefusedFile, existing_folder, read_bytes

LICENCE: Final = "research use; cite Benini et al. 2019 (FASSEG) and Gourier et al. 2004 (Pointing'04)"

_INDEX: Final = "index.csv"
_COLUMNS: Final = ("image", "label", "subset", "split", "person", "yaw", "pitch")
_LAYOUT: Final = f"a folder with {_INDEX}, and the images and label maps that it names"
_SUBSET: Final = "multipose01"
_MAX_LABEL_PIXELS: Final = 2**24
# RGB of a map, to what the class is in ours where nothing speaks against it
_COLOURS: Final = {
    (255, 0, 0): Label.BACKGROUND,
    (255, 255, 0): Label.SKIN,
    (127, 0, 0): Label.HAIR,
    (0, 0, 255): Label.EYE,
    (0, 255, 255): Label.NOSE,
    (0, 255, 0): Label.LIP,  # mouths are closed but for a few
}


@dataclass(frozen=True)
class Photograph:
    """A row of the index; angles in degrees as the face table signs them, `label` empty where there is no map."""

    image: str
    label: str
    split: str
    person: str
    yaw: float
    pitch: float


@dataclass(frozen=True)
class FassegSource:
    """The photographs in the order of their names; `multipose01` fixes which people are for training and test."""

    root: Path
    photographs: tuple[Photograph, ...]
    licence: str = LICENCE
    kind: str = "fasseg"

    def __len__(self) -> int:
        return len(self.photographs)

    def read(self, start: int, stop: int) -> Iterator[Record | Unreadable]:
        """The photographs at positions [start, stop); one whose map cannot be read is `Unreadable` as a whole."""
        for shot in self.photographs[start:stop]:
            try:
                labels: dict[str, object] = {"yaw": shot.yaw, "pitch": shot.pitch}
                if shot.label:
                    labels["segmentation"] = _segmentation(read_bytes(self.root, shot.label))
                yield Record(shot.image, shot.person, read_bytes(self.root, shot.image), None, None, shot.split, labels)
            except RefusedFile as error:
                yield Unreadable(shot.image, shot.person, str(error))

    def pairs(self) -> Iterator[Pair]:
        """None: FASSEG comes with no protocol of pairs."""
        return iter(())


def open_fasseg(path: Path | None, licence: str | None = None) -> FassegSource:
    """Open FASSEG.

    Raises:
        ConfigError: no such folder or index, a damaged index, or a person on both sides of the split.
    """
    root = existing_folder(path, "fasseg", _LAYOUT)
    shots = sorted(_index(root / _INDEX), key=lambda shot: shot.image)
    if not shots:
        raise ConfigError(f"{root / _INDEX} names no photograph of {_SUBSET}; fetch it again")
    splits: dict[str, str] = {}
    for shot in shots:
        if splits.setdefault(shot.person, shot.split) != shot.split:
            raise ConfigError(f"{root / _INDEX} has {shot.person} in train and in test; a person belongs to one")
    return FassegSource(root, tuple(shots), licence or LICENCE)


def _index(path: Path) -> Iterator[Photograph]:
    try:
        rows = csv.DictReader(path.read_text("utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as text ({error}); a source of kind 'fasseg' is {_LAYOUT}") from None
    missing = [name for name in _COLUMNS if name not in (rows.fieldnames or ())]
    if missing:
        raise ConfigError(f"{path} lacks the columns {', '.join(missing)}; fetch it again")
    for row in rows:
        if row["subset"] != _SUBSET:
            continue
        try:
            image, label, _, split, person = (row[name].strip() for name in _COLUMNS[:5])
            yaw, pitch = -float(row["yaw"]), float(row["pitch"])
            if not (image and person and split in ("train", "test") and abs(yaw) <= 90 and abs(pitch) <= 90):
                raise ValueError
        except (AttributeError, ValueError):  # a short line leaves columns empty
            raise ConfigError(
                f"{path}, line {rows.line_num}: needs image, person, split train or test, and yaw and pitch "
                "within 90 degrees; mend the line"
            ) from None
        yield Photograph(image, label, split, person, yaw, pitch)


def _segmentation(data: bytes) -> bytes:
    # here, so that opening a source loads no image library
    from stages.lib.codec import BadImage, decode_untrusted, encode_png

    try:
        return encode_png(to_classes(decode_untrusted(data, _MAX_LABEL_PIXELS)))
    except BadImage as error:
        raise RefusedFile(f"its label map: {error}") from error


def to_classes(painted: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Take a painted map of six classes to `Label`, `UNKNOWN` where the six leave open which of ours it is.

    The maps call neck and ears skin, clothes background, and brows now skin and now hair; spectacles are left
    out. So skin counts as `SKIN` only within half the distance of eyes and mouth from eye, nose or mouth, or on
    the forehead; what lies so near above an eye may be a brow, and background below the mouth may be clothes.

    Args:
        painted: (H, W, 3) uint8 RGB in the six colours.

    Returns:
        (H, W) uint8.

    Raises:
        RefusedFile: another colour, or no eyes above a mouth.
    """
    import cv2  # as above

    classes = np.full(painted.shape[:2], UNKNOWN, np.uint8)
    for colour, label in _COLOURS.items():
        classes[(painted == colour).all(axis=2)] = label
    strange = int((classes == UNKNOWN).sum())
    if strange:
        raise RefusedFile(f"its label map has {strange} pixels that are of none of the six colours")
    eyes, mouth = (np.flatnonzero((classes == label).any(axis=1)) for label in (Label.EYE, Label.LIP))
    if not (eyes.size and mouth.size and eyes.mean() < mouth.mean()):
        raise RefusedFile("its label map has no eyes above a mouth")
    height = np.arange(len(classes))[:, None]
    reach = (mouth.mean() - eyes.mean()) / 2

    def near(*labels: Label) -> NDArray[np.bool_]:
        distance = cv2.distanceTransform((~np.isin(classes, labels)).astype(np.uint8), cv2.DIST_L2, 5)
        return np.asarray(distance <= reach)

    forehead = height < eyes.mean() - reach
    face = near(Label.EYE, Label.NOSE, Label.LIP) | forehead
    brow = near(Label.EYE) & (height < eyes.mean()) & ~forehead & np.isin(classes, (Label.SKIN, Label.HAIR))
    clothes = (classes == Label.BACKGROUND) & (height > mouth.mean())
    classes[brow | clothes | ((classes == Label.SKIN) & ~face)] = UNKNOWN
    return classes
