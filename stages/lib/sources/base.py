"""What a reader of faces hands to ingest, and what it must be able to do."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

MAX_IMAGE_BYTES: Final = 64 * 2**20
UNSTATED: Final = "unstated"

Stamp = tuple[int, int]


@dataclass(frozen=True, eq=False)  # arrays have no single truth value, so records are not compared
class Record:
    """One image as the source holds it, not yet decoded.

    Attributes:
        name: place in the source (relative path or record index), unique in it.
        subject: the person, as the source names them.
        image: encoded bytes, at most `MAX_IMAGE_BYTES`; they may be no image at all.
        landmarks: (5, 2) float32 pixels of the stored image (right eye, left eye, nose, right mouth,
            left mouth of the person), or None where the source knows none.
        landmarks_from: `source` where landmarks are given, else None.
        split: `train`, `val` or `test` where the source's protocol fixes it, else None.
        labels: column of the face table -> value, for what else the source knows of the face.
    """

    name: str
    subject: str
    image: bytes
    landmarks: NDArray[np.float32] | None = None
    landmarks_from: str | None = None
    split: str | None = None
    labels: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Unreadable:
    """An entry that could not be read as bytes; ingest writes it to the rejects."""

    name: str
    subject: str | None
    reason: str


@dataclass(frozen=True)
class Pair:
    """Two images that a verification protocol compares, by `Record.name`; a list may name absent images."""

    protocol: str
    name_a: str
    name_b: str
    same: bool
    fold: int


class Source(Protocol):
    """A set of face images read by position.

    The order is stable and the object can be pickled, so that blocks of positions can be resumed and
    spread over processes.
    """

    @property
    def kind(self) -> str: ...

    @property
    def licence(self) -> str: ...

    def __len__(self) -> int:
        """Number of entries, unreadable ones included."""
        ...

    def read(self, start: int, stop: int) -> Iterator[Record | Unreadable]:
        """The entries at positions [start, stop), exactly one each; positions past the end are ignored."""
        ...

    def pairs(self) -> Iterator[Pair]:
        """The pairs of every verification protocol that comes with the source; may be none."""
        ...


def stamp(path: str | os.PathLike[str]) -> Stamp:
    """Size and time of change of a file: the key under which a process may cache what it read from it."""
    status = Path(path).stat()
    return status.st_size, status.st_mtime_ns
