"""InsightFace training sets (`train.rec` with `train.idx`) and plain image RecordIO files.

InsightFace's record 0 holds no image but the range of keys of its identity records; the images are the keys
between 0 and that range. Files without such a header, as `im2rec` writes them, are images throughout.
`property` and `.lst` repeat what the records say and are not read.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stages.lib.errors import ConfigError
from stages.lib.sources.base import UNSTATED, Pair, Record, Stamp, Unreadable, stamp
from stages.lib.sources.recordio import BadRecord, Buffer, ImageRecord, parse_image_record, read_record, scan

_LAYOUT = "a .rec file, or a folder with train.rec (and train.idx)"
_EXACT_FLOAT32: Final = 2**24


@dataclass(frozen=True, eq=False)
class RecIndex:
    """Where records lie, in the order of the file; three arrays of one length.

    Attributes:
        keys: int64, the writer's number of each record.
        starts: int64 offsets.
        limits: int64, the offset that each record may not pass.
    """

    keys: NDArray[np.int64]
    starts: NDArray[np.int64]
    limits: NDArray[np.int64]

    def take(self, mask: NDArray[np.bool_]) -> RecIndex:
        """The records under a mask."""
        return RecIndex(self.keys[mask], self.starts[mask], self.limits[mask])

    def record(self, buffer: Buffer, place: int) -> ImageRecord:
        """The record at a place of this index.

        Raises:
            BadRecord: it is damaged.
        """
        return parse_image_record(read_record(buffer, int(self.starts[place]), int(self.limits[place])))


@dataclass(frozen=True)
class RecSource:
    """The image records of a `.rec` file, in the order of the file.

    Only the path and the count are pickled: each process reads the index once, or scans the file where there
    is none.
    """

    path: Path
    stamp: Stamp
    count: int
    licence: str = UNSTATED
    kind: str = "rec"

    def __len__(self) -> int:
        return self.count

    def read(self, start: int, stop: int) -> Iterator[Record | Unreadable]:
        """The image records at positions [start, stop); a record's name is its key."""
        index = _image_index(self.path, self.stamp)
        with _mapped(self.path) as buffer:
            for place in range(*slice(start, stop).indices(self.count)):
                name = str(index.keys[place])
                try:
                    yield _as_record(name, index.record(buffer, place))
                except BadRecord as error:
                    yield Unreadable(name, None, f"record at byte {index.starts[place]}: {error}")

    def pairs(self) -> Iterator[Pair]:
        """None: a training set comes with no protocol."""
        return iter(())


def open_rec(path: Path | None, licence: str | None = None) -> RecSource:
    """Open a `.rec` file, or the `train.rec` of a folder.

    Raises:
        ConfigError: no such file, an index that does not fit it, or no image record.
    """
    if path is None:
        raise ConfigError(f"a source of kind 'rec' needs a path: {_LAYOUT}")
    file = path / "train.rec" if path.is_dir() else path
    if not file.is_file() or not file.stat().st_size:
        raise ConfigError(f"{file} is missing or empty; a source of kind 'rec' is {_LAYOUT}")
    mark = stamp(file)
    count = len(_image_index(file, mark).keys)
    if not count:
        raise ConfigError(f"{file} holds no image record; is it the right file?")
    return RecSource(file, mark, count, licence or UNSTATED)


def _as_record(name: str, record: ImageRecord) -> Record:
    label = float(record.labels[0])
    if not record.image:
        raise BadRecord("holds no image")
    if not label.is_integer() or label < 0:
        raise BadRecord(f"the label {label} is no identity")
    return Record(name, f"id_{int(label):07d}", record.image)


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
        yield buffer


@lru_cache(maxsize=2)
def _image_index(path: Path, _: Stamp) -> RecIndex:
    listed = path.with_suffix(".idx")
    with _mapped(path) as buffer:
        if listed.is_file():
            index = _sorted_index(*_read_idx(listed), len(buffer))
            return _images_by_header(buffer, index, listed)
        return _images_by_scan(buffer)


def _sorted_index(keys: NDArray[np.int64], starts: NDArray[np.int64], size: int) -> RecIndex:
    order = np.argsort(starts, kind="stable")
    starts = starts[order]
    limits = np.minimum(np.append(starts[1:], size), size).astype(np.int64)
    return RecIndex(keys[order], starts, limits)


def _read_idx(path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    try:
        table = np.loadtxt(path, np.int64, ndmin=2, comments=None)
        keys, starts = table.T
    except ValueError:  # binary rubbish fails to decode or to parse, both ValueErrors
        raise ConfigError(
            f"{path} is not lines of `key offset`; remove it and the .rec file is scanned instead"
        ) from None
    if np.unique(keys).size != keys.size:
        raise ConfigError(f"{path} lists a key twice; remove it and the .rec file is scanned instead")
    return keys, starts


def _images_by_header(buffer: Buffer, index: RecIndex, listed: Path) -> RecIndex:
    header = _meta(buffer, index, 0)
    if header is None:
        return index
    declared = float(header.labels[0])
    if not declared.is_integer() or declared < 1:
        raise ConfigError(
            f"record 0 of {listed.with_suffix('.rec')} gives {declared} as its first identity; fetch it again"
        )
    first = int(declared)
    if first > _EXACT_FLOAT32:  # the label is a rounded float32: look where the identity records really begin
        first = next((key for key in range(first - 2, first + 3) if _meta(buffer, index, key)), first)
    images = index.take((index.keys >= 1) & (index.keys < first))
    if len(images.keys) != first - 1:
        raise ConfigError(
            f"{listed} lists {len(images.keys)} of {first - 1} images; remove it and the .rec file is scanned instead"
        )
    return images


def _meta(buffer: Buffer, index: RecIndex, key: int) -> ImageRecord | None:
    """The header or identity record of a key; None where the key is missing, damaged or an image."""
    for place in np.flatnonzero(index.keys == key).tolist():
        try:
            record = index.record(buffer, place)
        except BadRecord:
            return None
        return record if record.is_meta else None
    return None


def _images_by_scan(buffer: Buffer) -> RecIndex:
    starts = scan(buffer)
    index = _sorted_index(np.arange(len(starts), dtype=np.int64), starts, len(buffer))
    numbers, images = index.keys.copy(), np.ones(len(starts), np.bool_)
    for place in range(len(starts)):
        try:
            record = index.record(buffer, place)
        except BadRecord:
            numbers[place] = -1
        else:
            numbers[place], images[place] = np.int64(record.number & (2**63 - 1)), not record.is_meta
    # The numbers that the writer put into the records are their keys, if it did and none is damaged.
    usable = np.unique(numbers).size == numbers.size and numbers.min(initial=0) >= 0
    return RecIndex(numbers if usable else index.keys, starts, index.limits).take(images)
