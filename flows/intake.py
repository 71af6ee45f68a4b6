"""Captures as they arrive: pictures in a folder for each camera, or Parquet files."""

from __future__ import annotations

import math
import os
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from flows.rows import ALL_CAMERAS, TIME, capture_id
from stages.lib.codec import picture_suffixes
from stages.lib.errors import ConfigError
from stages.lib.sources.base import MAX_IMAGE_BYTES
from stages.lib.sources.tree import RefusedFile, list_files, read_bytes

LAYOUT: Final = "a folder of CAMERA/IMAGE and of Parquet files, or one Parquet file"
BATCH_BYTES: Final = 2**26  # of encoded images that are held at once
ROWS: Final = 32  # of a Parquet file that are read at once
SUFFIX: Final = re.compile(r"\.[A-Za-z]\w*$")  # the fraction of a second begins with a digit
STAMP: Final = re.compile(r"(?<!\d)(\d{8}T\d{6}|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)([.,]\d+)?(Z|[+-]\d\d(:?\d\d)?)?(?!\d)")
LANDMARKS: Final = 10
UNSHOWN: Final = {"Cc", "Cs"}  # categories of characters: controls, and bytes of a name that are no text
FIRST: Final = datetime(2001, 1, 1, tzinfo=UTC)
"""No camera took a picture before: clocks that were never set begin in 1970, 1980 or 2000."""

_TYPES: Final = {
    "image": (pa.types.is_binary, pa.types.is_large_binary),
    "time": (pa.types.is_timestamp,),
    "camera": (pa.types.is_string, pa.types.is_large_string, pa.types.is_dictionary),
}
_OPTIONAL: Final = {"landmarks": pa.list_(pa.float64()), "subject_id": pa.string()}


@dataclass(frozen=True)
class Capture:
    """A picture that a camera took.

    Attributes:
        name: for messages.
        time: when it was taken, with a time zone.
        camera: which one took it.
        image: the encoded picture, from outside: it may be anything.
        file: that it was read from; none: from no file.
        landmarks: x, y of right eye, left eye, nose, right and left mouth corner of the person, in pixels of the
            picture; none: they are to be found.
        claimed: whom the person claims to be, as the gallery calls them.
    """

    name: str
    time: datetime
    camera: str
    image: bytes
    file: Path | None = None
    landmarks: tuple[float, ...] | None = None
    claimed: str | None = None

    def __post_init__(self) -> None:
        if self.camera in ("", ALL_CAMERAS):
            raise ConfigError(f"{self.name}: a camera may not be called {self.camera!r}; give it a name")
        for name in (self.camera, self.claimed or "-"):
            if UNSHOWN & set(map(unicodedata.category, name)):  # which databases and terminals choke on
                raise ConfigError(f"{self.name}: {name!r} holds a control character; rename it")
        if self.time.tzinfo is None:
            raise ConfigError(f"{self.name}: the time {self.time} has no zone; give one, such as UTC")
        if self.time < FIRST:
            raise ConfigError(f"{self.name}: the time {self.time} is before {FIRST.year}; set the camera's clock")
        if len(self.image) > MAX_IMAGE_BYTES:
            raise ConfigError(f"{self.name}: the picture is larger than {MAX_IMAGE_BYTES // 2**20} MiB")
        if self.landmarks is not None and len(self.landmarks) != LANDMARKS:
            raise ConfigError(f"{self.name}: {len(self.landmarks)} numbers are no landmarks; give {LANDMARKS}")

    @cached_property
    def id(self) -> str:
        """See `flows.rows.capture_id`."""
        return capture_id(self.camera, self.time, self.image)


Identity = tuple[int, int, int]


@dataclass(frozen=True)
class Finished:
    """An input file that was read to its end, and which one: a camera may use its name again meanwhile."""

    file: Path
    identity: Identity | None

    @property
    def is_there(self) -> bool:
        """Whether no other run has taken it away, and no other file has its name by now."""
        try:
            return _identity(self.file) == self.identity
        except OSError:
            return False


@dataclass(frozen=True)
class Refused(Finished):
    """An input file that cannot be read, or not to its end, and why; `identity` is None where it cannot be seen."""

    reason: str


@dataclass(frozen=True)
class Batch:
    """Some captures, the input files of which nothing is left to be read after them, and those that were given up."""

    captures: tuple[Capture, ...]
    finished: tuple[Finished, ...]
    refused: tuple[Refused, ...]


def batches(source: Path, size: int) -> Iterator[Batch]:
    """Read captures, at most `size` of them and about 64 MB of pictures at once.

    A folder holds pictures as `CAMERA/IMAGE`, at any depth below the camera, and Parquet files (`*.parquet`) beside
    the cameras. Names that begin with a dot are passed over: whoever writes there writes under such a name and
    renames the file when it is whole. The time of a picture is that in its name, if the name without its suffix
    holds one like `20261127T101500Z` or `2026-11-27T10:15:00.250+01:00` (ISO 8601, basic or extended, to the second
    or a fraction of it, UTC where it has no zone), else the time at which the file was last changed: a
    copy of such a file may be another capture.

    A Parquet file has a row a capture: `image` (encoded bytes), `time` (UTC where it has no zone), `camera`, and if
    it likes `landmarks` (10 numbers) and `subject_id` (whom the person claims to be).

    A file that cannot be read, or is not laid out like this, is refused and keeps no other one waiting; what was read
    of it before counts. So is a folder that cannot be listed.

    Raises:
        ConfigError: the source does not exist.
    """
    captures: list[Capture] = []
    finished: list[Finished] = []
    refused: list[Refused] = []
    held = 0
    for item in _items(source):
        if isinstance(item, Refused):
            refused.append(item)
        elif isinstance(item, Finished):
            finished.append(item)
        else:
            if captures and (len(captures) == size or held + len(item.image) > BATCH_BYTES):
                yield Batch(tuple(captures), tuple(finished), tuple(refused))
                captures, finished, refused, held = [], [], [], 0
            captures.append(item)
            held += len(item.image)
    if captures or finished or refused:
        yield Batch(tuple(captures), tuple(finished), tuple(refused))


def time_in(name: str) -> datetime | None:
    """The time that a file name without its suffix holds; see `batches`."""
    found = STAMP.search(name)
    if found is None:
        return None
    try:
        time = datetime.fromisoformat(found[0])
    except ValueError:  # digits that are no date
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _items(source: Path) -> Iterator[Capture | Finished | Refused]:
    """Every capture, and after the last of its own each input file, finished or refused."""
    if source.is_file():
        yield from _read(source, partial(_rows, source.resolve()))
        return
    if not source.is_dir():
        raise ConfigError(f"{source} does not exist; captures come from {LAYOUT}")
    unlisted: list[OSError] = []
    for name in list_files(source, unlisted.append):
        path = source / name
        if "/" in name:
            yield from _read(path, partial(_picture, source, name))
        elif name.endswith(".parquet"):
            yield from _read(path, partial(_rows, path))
        else:
            yield from _read(path, partial(_nowhere, path))
    for error in unlisted:
        if not isinstance(error, FileNotFoundError):  # else it was removed meanwhile
            reason = f"{error.filename} cannot be listed ({error.strerror}); make it readable"
            yield Refused(Path(error.filename), None, reason)


def _read(path: Path, captures: Callable[[Identity], Iterator[Capture]]) -> Iterator[Capture | Finished | Refused]:
    try:
        identity = _identity(path)  # of before it is read: what takes its place later is not what was read
    except (FileNotFoundError, NotADirectoryError):
        return  # another run has scored it
    except OSError as error:
        yield Refused(path, None, f"{path}: {error}; make it readable")
        return
    try:
        yield from captures(identity)
    except ConfigError as error:
        if os.path.lexists(path):  # as above
            yield Refused(path, identity, str(error))
    else:
        yield Finished(path, identity)


def _identity(path: Path) -> Identity:
    found = path.lstat()
    return found.st_ino, found.st_mtime_ns, found.st_size


def _nowhere(path: Path, _: Identity) -> Iterator[Capture]:
    raise ConfigError(f"{path} lies in no camera's folder; captures come from {LAYOUT}")
    yield


def _picture(root: Path, name: str, seen: Identity) -> Iterator[Capture]:
    path = root / name
    if (suffix := SUFFIX.search(name)) and suffix[0].lower() not in picture_suffixes():
        raise ConfigError(f"{path} is no picture by its name: {suffix[0]} is none of {sorted(picture_suffixes())}")
    try:
        image = read_bytes(root, name)
        changed = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        other = _identity(path) != seen
    except (RefusedFile, OSError, ValueError) as error:  # the last: of a time that no clock shows
        raise ConfigError(f"{path}: {error}; remove it, or make it readable") from error
    if not other:  # else its time may be of another picture: it waits for the next run
        yield Capture(name, time_in(path.stem) or changed, name.partition("/")[0], image, path)


def _rows(path: Path, _: Identity) -> Iterator[Capture]:
    if path.is_symlink() or not path.is_file():  # opening a pipe would wait for ever
        raise ConfigError(f"{path} is no plain file; put the Parquet file itself there")
    try:
        with pq.ParquetFile(path) as file:
            columns = _columns(path, file.schema_arrow)
            row = 0
            for batch in file.iter_batches(ROWS, columns=columns):
                for values in _typed(batch).to_pylist():
                    yield _capture(f"{path.name}:{row}", path, values)
                    row += 1
    except (OSError, pa.ArrowException, ValueError, OverflowError) as error:  # Arrow checks neither text nor times
        raise ConfigError(f"{path} cannot be read as Parquet ({error}); write it again") from error


def _columns(path: Path, schema: pa.Schema) -> list[str]:
    """The columns to read, once those that must be there are."""
    for name, kinds in _TYPES.items():
        if name not in schema.names or not any(kind(schema.field(name).type) for kind in kinds):
            kind = schema.field(name).type if name in schema.names else "missing"
            raise ConfigError(f"{path}: column {name} is {kind}; it needs image (bytes), time (timestamp) and camera")
    return [*_TYPES, *(name for name in _OPTIONAL if name in schema.names)]


def _typed(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The same rows, of the types that a capture has."""
    for name, kind in {"time": TIME, "camera": pa.string(), **_OPTIONAL}.items():
        if name in batch.schema.names:
            values = batch[name].cast(kind, safe=False)  # of a time, nanoseconds are cut off
            batch = batch.set_column(batch.schema.get_field_index(name), name, values)
    return batch


def _capture(name: str, path: Path, values: dict[str, Any]) -> Capture:
    if missing := [column for column in _TYPES if values[column] is None]:
        raise ConfigError(f"{path}: {name} has no {', '.join(missing)}; fill it in, or drop the row")
    points = values.get("landmarks")
    claimed = values.get("subject_id")
    return Capture(
        name,
        values["time"],
        values["camera"],
        values["image"],
        path,
        None if points is None else tuple(math.nan if point is None else point for point in points),
        claimed,
    )
