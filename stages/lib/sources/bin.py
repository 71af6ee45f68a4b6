"""InsightFace verification sets (`lfw.bin`, `agedb_30.bin`, ...): a pickle of encoded images and flags."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from stages.lib.errors import ConfigError
from stages.lib.sources.base import MAX_IMAGE_BYTES, UNSTATED, Pair, Record, Stamp, Unreadable, stamp
from stages.lib.sources.unpickle import RefusedPickle, load_lists_of_bytes

MAX_FILE_BYTES: Final = 2**30
FOLDS: Final = 10
_LAYOUT = "a .bin file of InsightFace, a pickle of (encoded images, flags) with two images per flag"


@dataclass(frozen=True, eq=False)
class Verification:
    """A verification set whose byte-identical images are one.

    Attributes:
        images: the encoded images, in order of first occurrence.
        first: (n,) place of each in the file's own list of 2 * pairs images.
        subject: (n,) place of the first image of the same pseudo-subject.
        left, right: (pairs,) places in `images`.
        same: (pairs,) whether the pair is mated.
    """

    images: tuple[bytes, ...]
    first: NDArray[np.int64]
    subject: NDArray[np.int64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    same: NDArray[np.bool_]


@dataclass(frozen=True)
class BinSource:
    """The distinct images of a verification set, named by the place of their first occurrence.

    The file names nobody. Images joined by mated pairs share a pseudo-subject, so one person may have
    several: use the pairs, never non-mated pairs made from subjects.
    All images are `test`, as the set is a protocol.
    """

    path: Path
    stamp: Stamp
    count: int
    licence: str = UNSTATED
    kind: str = "bin"

    def __len__(self) -> int:
        return self.count

    def read(self, start: int, stop: int) -> Iterator[Record | Unreadable]:
        """The distinct images at positions [start, stop)."""
        content = _load(self.path, self.stamp)
        for place in range(*slice(start, stop).indices(self.count)):
            name = str(content.first[place])
            subject = f"{self.path.stem}_{content.subject[place]:06d}"
            image = content.images[place]
            if len(image) > MAX_IMAGE_BYTES:
                yield Unreadable(name, subject, f"larger than {MAX_IMAGE_BYTES // 2**20} MiB")
            else:
                yield Record(name, subject, image, split="test")

    def pairs(self) -> Iterator[Pair]:
        """`bin:<stem>`; ten folds of contiguous pairs, as InsightFace evaluates the whole sets."""
        content = _load(self.path, self.stamp)
        names = [str(place) for place in content.first]
        total = len(content.same)
        for place, (left, right, same) in enumerate(zip(content.left, content.right, content.same, strict=True)):
            fold = place * FOLDS // total
            yield Pair(f"bin:{self.path.stem}", names[left], names[right], bool(same), fold)


def open_bin(path: Path | None, licence: str | None = None) -> BinSource:
    """Open a verification set.

    Raises:
        ConfigError: no such file, too large, a pickle that asks for more than bytes and flags, or a wrong
            shape.
    """
    if path is None or not path.is_file():
        raise ConfigError(f"{path} is not a file; a source of kind 'bin' is {_LAYOUT}")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ConfigError(f"{path} is larger than {MAX_FILE_BYTES // 2**20} MiB; a source of kind 'bin' is {_LAYOUT}")
    mark = stamp(path)
    return BinSource(path, mark, len(_load(path, mark).images), licence or UNSTATED)


@lru_cache(maxsize=1)
def _load(path: Path, _: Stamp) -> Verification:
    try:
        content = load_lists_of_bytes(path.read_bytes())
    except RefusedPickle as error:
        raise ConfigError(f"{path} is refused: {error}; use a file from a known source, {_LAYOUT}") from error
    match content:
        case ([*entries], [*flags]):
            images = [entry for entry in entries if isinstance(entry, bytes)]
            same = [flag for flag in flags if isinstance(flag, int) and flag in (0, 1)]
            if flags and len(images) == len(entries) == 2 * len(flags) == 2 * len(same):
                return _join(images, np.array(same, np.bool_))
    raise ConfigError(f"{path} does not hold two images (bytes) per flag (true or false); it should be {_LAYOUT}")


def _join(images: list[bytes], same: NDArray[np.bool_]) -> Verification:
    places: dict[bytes, int] = {}
    index = np.array([places.setdefault(image, len(places)) for image in images], np.int64)
    _, first = np.unique(index, return_index=True)
    left, right = index[0::2], index[1::2]
    count = len(places)
    links = coo_array((np.ones(int(same.sum()), np.int8), (left[same], right[same])), shape=(count, count))
    _, component = connected_components(links, directed=False)
    _, earliest, member = np.unique(component, return_index=True, return_inverse=True)
    return Verification(tuple(places), first, first[earliest[member]], left, right, same)
