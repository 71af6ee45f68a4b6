"""The capture log as a table of PostgreSQL, for writers on several machines, or of SQLite.

The table is `captures`, a column for each of `flows.rows.CAPTURES`. Its `time` is a whole number of microseconds
since 1970, UTC, which is exact and the same in every database: `to_timestamp(time / 1e6)` shows it to a person.
A table of an older release gets the measures that came later as it is opened, null in the rows that it has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateColumn, CreateIndex, CreateTable

from flows.captures import EPOCH, WITH_EMBEDDING, aware, conform, day_of, schema_of
from flows.rows import EMBEDDING, TIME
from stages.lib.errors import ConfigError, TransientError

BATCH: Final = 8192  # rows that travel at once
SQLITE_SECONDS: Final = 120.0  # a writer of SQLite waits so long for its turn
MICROSECOND: Final = timedelta(microseconds=1)
SETUP: Final = 6_407_115  # any number that the writers of a database agree upon: who makes the table holds this lock

_TYPES: Final = {
    pa.string(): sa.Text,
    pa.float32(): sa.REAL,
    TIME: sa.BigInteger,
    EMBEDDING.type: sa.LargeBinary,  # float32, little-endian
}
_INSERT: Final[Mapping[str, Callable[[sa.Table], Any]]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
_DRIVER: Final = "postgresql+psycopg"

CAPTURES_TABLE: Final = sa.Table(
    "captures",
    sa.MetaData(),
    *(
        sa.Column(field.name, _TYPES[field.type], primary_key=field.name == "capture_id", nullable=field.nullable)
        for field in WITH_EMBEDDING
    ),
)
_COLUMNS: Final = CAPTURES_TABLE.c
_BY_TIME: Final = sa.Index("captures_by_time", _COLUMNS.time, _COLUMNS.camera)


class SqlLog:
    """See `flows.captures.CaptureLog`. All rows of an `append` are added, or none."""

    def __init__(self, url: str) -> None:
        """Open the database, and make the table if there is none, or add the columns that it lacks.

        Args:
            url: as SQLAlchemy writes it; `postgresql://` means psycopg.

        Raises:
            ConfigError: a database of another kind than SQLite and PostgreSQL, its driver is missing, or its table
                lacks a column that cannot be added.
            TransientError: it does not answer.
        """
        try:
            address = sa.make_url(url)
        except (sa.exc.ArgumentError, ValueError):
            raise ConfigError("the capture log's URL is none; write it like postgresql://user@host/faces") from None
        self._shown = address.render_as_string(hide_password=True)
        kind = address.get_backend_name()
        if kind not in _INSERT:
            raise ConfigError(f"{self._shown}: a capture log lies in a folder, or in one of {', '.join(_INSERT)}")
        if address.drivername == "postgresql":
            address = address.set(drivername=_DRIVER)
        waits = {"timeout": SQLITE_SECONDS} if kind == "sqlite" else {}
        try:
            # an error names no parameters: logs hold no row of anybody
            self._engine = sa.create_engine(address, connect_args=waits, pool_pre_ping=True, hide_parameters=True)
        except ModuleNotFoundError as error:
            raise ConfigError(f"{self._shown}: {error}; `uv sync --extra postgres` installs psycopg") from error
        self._insert = _INSERT[kind](CAPTURES_TABLE).on_conflict_do_nothing(index_elements=["capture_id"])
        with self._transaction() as connection:
            if kind == "postgresql":  # two that make a table at once would collide in spite of "if not exists"
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(SETUP)))
            connection.execute(CreateTable(CAPTURES_TABLE, if_not_exists=True))
            if _absent(connection):
                if kind == "sqlite":  # of two that add a column at once, one waits here and finds it there
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                self._add(connection, _absent(connection))
            connection.execute(CreateIndex(_BY_TIME, if_not_exists=True))

    def append(self, rows: pa.Table) -> int:
        """See `CaptureLog`."""
        rows = conform(rows).sort_by("capture_id")  # in one order, or two writers of the same rows lock each other out
        insert = self._insert.returning(_COLUMNS.capture_id)
        with self._transaction() as connection:
            batches = rows.to_batches(max_chunksize=BATCH)
            return sum(len(connection.execute(insert, _records(batch)).all()) for batch in batches)

    def scan(
        self, start: datetime, end: datetime, columns: Sequence[str] | None = None, camera: str | None = None
    ) -> Iterator[pa.RecordBatch]:
        """See `CaptureLog`."""
        schema = schema_of(columns)
        wanted = sa.select(*(_COLUMNS[name] for name in schema.names)).where(*_between(start, end))
        if camera is not None:
            wanted = wanted.where(_COLUMNS.camera == camera)
        return self._scan(wanted, schema)

    def span(self) -> tuple[datetime, datetime] | None:
        """See `CaptureLog`."""
        with self._transaction() as connection:
            first, last = connection.execute(sa.select(sa.func.min(_COLUMNS.time), sa.func.max(_COLUMNS.time))).one()
        return None if first is None else (_time(first), _time(last))

    def counts(self, start: datetime, end: datetime, hours: int) -> dict[tuple[datetime, str], int]:
        """See `CaptureLog`."""
        # written out: PostgreSQL would not see that two parameters are equal
        length: sa.ColumnElement[int] = sa.literal_column(str(hours * 3_600_000_000), sa.BigInteger)
        window = _COLUMNS.time - _COLUMNS.time % length
        groups = sa.select(window, _COLUMNS.camera, sa.func.count()).where(*_between(start, end))
        with self._transaction() as connection:
            found = connection.execute(groups.group_by(window, _COLUMNS.camera)).all()
        return {(_time(since), camera): count for since, camera, count in found}

    def forget(self, before: datetime) -> int:
        """See `CaptureLog`."""
        with self._transaction() as connection:
            return connection.execute(
                sa.delete(CAPTURES_TABLE).where(_COLUMNS.time < _microseconds(day_of(before)))
            ).rowcount

    def _add(self, connection: sa.Connection, columns: Sequence[sa.Column[Any]]) -> None:
        for column in columns:
            change = f"ALTER TABLE {CAPTURES_TABLE.name} ADD COLUMN {CreateColumn(column).compile(self._engine)}"
            if not column.nullable:
                raise ConfigError(
                    f"{self._shown}: its table {CAPTURES_TABLE.name} is no capture log; use a database apart"
                )
            try:
                connection.execute(sa.text(change))
            except sa.exc.ProgrammingError as error:  # only its owner may
                raise ConfigError(f"{self._shown}: {error.orig}; let the table's owner run: {change}") from error

    def _scan(self, wanted: sa.Select[Any], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        with self._transaction() as connection:
            found = connection.execution_options(stream_results=True, yield_per=BATCH).execute(wanted)
            for rows in found.partitions():
                columns = zip(*rows, strict=True)
                arrays = [_array(values, field) for values, field in zip(columns, schema, strict=True)]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except sa.exc.OperationalError as error:
            raise TransientError(f"{self._shown}: {error.orig}; is the database up?") from error


def _absent(connection: sa.Connection) -> list[sa.Column[Any]]:
    """Columns that the table lacks, looked up as every other query finds the table."""
    there = set(connection.execute(sa.text(f"SELECT * FROM {CAPTURES_TABLE.name} LIMIT 0")).keys())
    return [column for column in _COLUMNS if column.name not in there]


def _records(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """Rows as the table takes them."""
    columns = {name: batch[name].to_pylist() for name in batch.schema.names if name != EMBEDDING.name}
    columns["time"] = batch["time"].cast(pa.int64()).to_pylist()
    vectors = batch[EMBEDDING.name].to_pylist() if EMBEDDING.name in batch.schema.names else [None] * len(batch)
    columns[EMBEDDING.name] = [None if vector is None else np.asarray(vector, "<f4").tobytes() for vector in vectors]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _array(values: Sequence[Any], field: pa.Field) -> pa.Array:
    if field.name == EMBEDDING.name:
        values = [None if value is None else np.frombuffer(value, "<f4") for value in values]
    return pa.array(values, field.type)


def _between(start: datetime, end: datetime) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return _COLUMNS.time >= _microseconds(start), _COLUMNS.time < _microseconds(end)


def _microseconds(time: datetime) -> int:
    return (aware(time) - EPOCH) // MICROSECOND


def _time(microseconds: int) -> datetime:
    return (EPOCH + microseconds * MICROSECOND).astimezone(UTC)
