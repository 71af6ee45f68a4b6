"""The capture log: one row a capture, appended by `score`, read by `monitor`; nothing in it is ever changed.

On disk it is Parquet by day, which needs no server. Where several machines write, it is a table of a database
(`flows.captures_sql`). `open_log` tells them apart by their address.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from flows.rows import CAPTURES, EMBEDDING, TIME
from stages.lib.errors import ConfigError, TransientError

MANIFEST: Final = "day.json"
MOST_SMALL: Final = 64
"""Small parts that a day may have before they are merged; a camera that sends a batch each minute makes 1,440."""
SMALL: Final = 50_000  # rows; a larger part is left alone, so that a row is merged once or twice and not all day
BATCH: Final = 65_536  # rows that are read at once
ID: Final = pa.schema([CAPTURES.field("capture_id")])
WITH_EMBEDDING: Final = pa.schema([*CAPTURES, EMBEDDING])
LOCK_SECONDS: Final = 600.0
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class CaptureLog(Protocol):
    """Rows of `flows.rows.CAPTURES`, each capture once."""

    def append(self, rows: pa.Table) -> int:
        """Add the captures that the log does not have yet; of a capture that it has, the first row stays.

        Any number of writers may append at once, and a writer that is killed may append the same rows again. The
        rows of a day are added all or not at all, and are on the disk when this returns.

        Args:
            rows: the columns of CAPTURES, in any order, and `embedding` if it is to be kept. A `capture_id` must
                fix the time, as `flows.rows.capture_id` does.

        Returns:
            How many were new.

        Raises:
            ValueError: the rows are not of CAPTURES.
            TransientError: another writer did not finish, or the database does not answer.
        """

    def scan(
        self, start: datetime, end: datetime, columns: Sequence[str] | None = None, camera: str | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Stream the captures with start <= time < end, in no promised order; memory does not grow with the log.

        Args:
            start: with a time zone, like all times here.
            end: likewise.
            columns: which, in this order: those of CAPTURES by default, and `embedding` only where it is named.
            camera: only this one.

        Raises:
            ValueError: a time has no zone, or there is no such column.
            ConfigError: a file of the log is missing or damaged.
        """

    def span(self) -> tuple[datetime, datetime] | None:
        """Times of the first and the last capture; none: the log is empty."""

    def counts(self, start: datetime, end: datetime, hours: int) -> dict[tuple[datetime, str], int]:
        """How many captures with start <= time < end each (start of a window, camera) has; see `window_of`."""

    def forget(self, before: datetime) -> int:
        """Remove the UTC days that lie wholly before a time, and return how many captures that were."""


def open_log(where: str | Path) -> CaptureLog:
    """The log at an address.

    Args:
        where: a folder, or the URL of a database such as `postgresql://user@host/faces`.

    Raises:
        ConfigError: a database of another kind than SQLite and PostgreSQL, or its driver is missing.
    """
    if "://" not in str(where):
        return ParquetLog(Path(where))
    from flows.captures_sql import SqlLog

    return SqlLog(str(where))


def window_of(time: datetime, hours: int) -> datetime:
    """Start of the window that a time lies in: windows start at multiples of their length since 1970, UTC."""
    return EPOCH + (aware(time) - EPOCH) // timedelta(hours=hours) * timedelta(hours=hours)


def day_of(time: datetime) -> datetime:
    """Midnight of its UTC day."""
    return window_of(time, 24)


def aware(time: datetime) -> datetime:
    """The time in UTC.

    Raises:
        ValueError: it has no time zone.
    """
    if time.tzinfo is None:
        raise ValueError(f"{time} has no time zone; give one, such as datetime.UTC")
    return time.astimezone(UTC)


def schema_of(columns: Sequence[str] | None) -> pa.Schema:
    """The schema of columns that are asked for; see `CaptureLog.scan`."""
    known = {field.name: field for field in (*CAPTURES, EMBEDDING)}
    if unknown := set(columns or ()) - set(known):
        raise ValueError(f"captures have no column {sorted(unknown)}; there are {', '.join(known)}")
    return CAPTURES if columns is None else pa.schema([known[name] for name in columns])


def conform(rows: pa.Table) -> pa.Table:
    """Rows with the columns of CAPTURES in order, and `embedding` last where there is one.

    Raises:
        ValueError: a column is missing, strange or of a type that cannot become its own, or holds nulls that it
            may not hold.
    """
    kept = [EMBEDDING] if EMBEDDING.name in rows.column_names else []
    schema = pa.schema([*CAPTURES, *kept])
    if differ := set(schema.names) ^ set(rows.column_names):
        raise ValueError(f"these columns are missing from rows of captures, or are no part of them: {sorted(differ)}")
    return rows.select(schema.names).cast(schema)


@dataclass(frozen=True)
class ParquetLog:
    """A folder `day=YYYY-MM-DD` a UTC day, with parts that the day's `day.json` lists.

    A file that `day.json` does not list does not exist: that file is replaced at once and whole, so a writer that
    is killed leaves the day as it was. Writers of a day take turns by a lock below `.locks`; readers need none. The
    lock holds between processes of one machine, and not on every network share: several machines need a database.

    Attributes:
        folder: it need not exist yet.
    """

    folder: Path

    def append(self, rows: pa.Table) -> int:
        """See `CaptureLog`."""
        rows = conform(rows)
        days = pc.floor_temporal(rows["time"], unit="day")
        return sum(self._append(day.as_py(), rows.filter(pc.equal(days, day))) for day in days.unique())

    def scan(
        self, start: datetime, end: datetime, columns: Sequence[str] | None = None, camera: str | None = None
    ) -> Iterator[pa.RecordBatch]:
        """See `CaptureLog`. Days come in order."""
        schema = schema_of(columns)
        wanted = _between(start, end)
        if camera is not None:
            wanted &= ds.field("camera") == camera
        return self._scan(aware(start), aware(end), schema, wanted)

    def span(self) -> tuple[datetime, datetime] | None:
        """See `CaptureLog`."""
        parts = [part for day in self._days() for part in day.parts()]
        return (aware(min(part.first for part in parts)), aware(max(part.last for part in parts))) if parts else None

    def counts(self, start: datetime, end: datetime, hours: int) -> dict[tuple[datetime, str], int]:
        """See `CaptureLog`."""
        found: Counter[tuple[datetime, str]] = Counter()
        for batch in self.scan(start, end, ["time", "camera"]):
            since = batch["time"].cast(pa.int64()).to_numpy()
            window = pa.array(since // (hours * 3_600_000_000) * (hours * 3_600_000_000), TIME)
            table = pa.table({"window": window, "camera": batch["camera"]})
            groups = table.group_by(["window", "camera"]).aggregate([([], "count_all")])
            for row in groups.to_pylist():
                found[row["window"].astimezone(UTC), row["camera"]] += row["count_all"]
        return dict(found)

    def forget(self, before: datetime) -> int:
        """See `CaptureLog`."""
        removed = 0
        for day in self._days():
            if day.midnight < day_of(before):
                with _alone(day):
                    removed += day.remove()
        return removed

    def _append(self, midnight: datetime, rows: pa.Table) -> int:
        day = _Day(self.folder / f"day={midnight.date().isoformat()}")
        with _alone(day):
            new = rows.take(_first_of_each(rows["capture_id"]))
            first, last = _reach(new)
            after = last + timedelta(microseconds=1)
            there = day.scan(ID, _between(first, after), lambda part: part.holds(first, after))
            known = pa.Table.from_batches(there, ID)["capture_id"]
            new = new.filter(pc.invert(pc.is_in(new["capture_id"], value_set=known)))
            if new.num_rows:
                day.add(new)
            return int(new.num_rows)

    def _scan(
        self, start: datetime, end: datetime, schema: pa.Schema, wanted: ds.Expression
    ) -> Iterator[pa.RecordBatch]:
        for day in self._days():
            if day_of(start) <= day.midnight < end:
                yield from day.scan(schema, wanted, lambda part: part.holds(start, end))

    def _days(self) -> list[_Day]:
        return [_Day(path) for path in sorted(self.folder.glob("day=*"))]


class _Part(BaseModel):
    """A Parquet file of a day."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    rows: int
    first: AwareDatetime
    last: AwareDatetime

    def holds(self, start: datetime, end: datetime) -> bool:
        return self.last >= start and self.first < end


class _Parts(BaseModel):
    """What `day.json` holds, in the order in which rows came."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    parts: tuple[_Part, ...] = ()


@dataclass(frozen=True)
class _Day:
    """One day's folder. Who calls `add` or `remove` holds its lock."""

    folder: Path

    @property
    def midnight(self) -> datetime:
        try:
            return datetime.strptime(self.folder.name, "day=%Y-%m-%d").replace(tzinfo=UTC)
        except ValueError:
            raise ConfigError(f"{self.folder} is no day of a capture log; move it away") from None

    def parts(self) -> tuple[_Part, ...]:
        path = self.folder / MANIFEST
        try:
            return _Parts.model_validate_json(path.read_bytes()).parts
        except FileNotFoundError:
            return ()
        except ValidationError as error:
            raise ConfigError(f"{path} is damaged; restore it, or remove the day's folder") from error

    def scan(self, schema: pa.Schema, wanted: ds.Expression, of: Callable[[_Part], bool]) -> Iterator[pa.RecordBatch]:
        """Stream rows of the parts that `of` admits, as they are at one moment."""
        for file in self._open(of):
            batches = (
                ds.ParquetFileFormat()
                .make_fragment(file)
                .to_batches(
                    schema=WITH_EMBEDDING,  # of a part without embeddings they are null
                    columns=schema.names,
                    filter=wanted,
                    batch_size=BATCH,
                    batch_readahead=1,
                )
            )
            yield from (pa.RecordBatch.from_arrays(batch.columns, schema=schema) for batch in batches if batch.num_rows)

    def add(self, rows: pa.Table) -> None:
        """Add rows whose ids are new, and merge parts where there are many."""
        parts = (*self.parts(), self._write(rows))
        self._publish(parts)
        small = [part for part in parts if part.rows < SMALL]
        if len(small) > MOST_SMALL:
            merged = pa.Table.from_batches(self.scan(WITH_EMBEDDING, ds.scalar(True), small.__contains__))
            if merged["embedding"].null_count == merged.num_rows:
                merged = merged.drop_columns("embedding")
            self._publish((*(part for part in parts if part not in small), self._write(merged)))

    def remove(self) -> int:
        """Remove the day, and return how many rows it had."""
        rows = sum(part.rows for part in self.parts())
        (self.folder / MANIFEST).unlink(missing_ok=True)  # first: without it the day has no rows
        self._sweep(())
        with suppress(OSError):  # somebody else's file lies there
            self.folder.rmdir()
        return rows

    def _open(self, of: Callable[[_Part], bool]) -> list[pa.NativeFile]:
        """Open all before one is read: a merge removes what it has merged, and an open file outlives that."""
        parts = self.parts()
        while True:
            try:
                return [pa.OSFile(str(self.folder / part.file)) for part in parts if of(part)]
            except FileNotFoundError as error:
                before, parts = parts, self.parts()
                if parts == before:
                    raise ConfigError(f"{self.folder}: a part that {MANIFEST} lists is missing; restore it") from error

    def _write(self, rows: pa.Table) -> _Part:
        """Put rows into a file that nobody sees yet, and see it safe on the disk."""
        self.folder.mkdir(parents=True, exist_ok=True)
        ids = "".join(sorted(rows["capture_id"].to_pylist()))
        path = self.folder / f"part-{hashlib.sha256(ids.encode()).hexdigest()[:32]}.parquet"
        pq.write_table(rows, path, compression="zstd", row_group_size=BATCH)
        _sync(path)
        first, last = _reach(rows)
        return _Part(file=path.name, rows=rows.num_rows, first=first, last=last)

    def _publish(self, parts: tuple[_Part, ...]) -> None:
        temporary = self.folder / f"{MANIFEST}.tmp"
        temporary.write_text(_Parts(parts=parts).model_dump_json(indent=1) + "\n")
        _sync(temporary)
        os.replace(temporary, self.folder / MANIFEST)
        _sync(self.folder)
        _sync(self.folder.parent)
        self._sweep(parts)

    def _sweep(self, parts: tuple[_Part, ...]) -> None:
        """Remove what is not listed: parts that were merged, and what a killed writer left."""
        listed = {part.file for part in parts}
        for path in (*self.folder.glob("part-*.parquet"), *self.folder.glob(f"{MANIFEST}.tmp")):
            if path.name not in listed:
                path.unlink()


@contextmanager
def _alone(day: _Day) -> Iterator[None]:
    """A turn at a day. The lock is the kernel's: it ends with the process that holds it."""
    path = day.folder.parent / ".locks" / f"{day.folder.name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path, timeout=LOCK_SECONDS):
            yield
    except Timeout:
        raise TransientError(f"another writer has held {path} for {LOCK_SECONDS:.0f} s; look what it does") from None


def _between(start: datetime, end: datetime) -> ds.Expression:
    time = ds.field("time")
    return (time >= pa.scalar(aware(start), TIME)) & (time < pa.scalar(aware(end), TIME))


def _reach(rows: pa.Table) -> tuple[datetime, datetime]:
    """Times of the first and the last of rows."""
    times = pc.min_max(rows["time"]).as_py()
    return times["min"], times["max"]


def _first_of_each(ids: pa.ChunkedArray) -> NDArray[np.int64]:
    """Positions at which each id stands for the first time, in order."""
    codes = ids.combine_chunks().dictionary_encode().indices.to_numpy()
    return np.sort(np.unique(codes, return_index=True)[1])


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, would outlive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
