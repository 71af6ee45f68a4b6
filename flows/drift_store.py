"""The drift store: what was measured of each window, one Parquet file a window. All that is shown is made from it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from flows.captures import aware
from flows.rows import DRIFT
from stages.lib.errors import ConfigError, TransientError
from stages.lib.folders import new_file

LOCK_SECONDS: Final = 3600.0
CAPTURES: Final = b"captures"
"""Key of a file's metadata: how many captures of each camera were counted."""


@dataclass(frozen=True)
class DriftStore:
    """A folder with a file for each window of each length.

    Files are replaced whole, and are a function of their rows: measured again from the same captures, a window's file
    has the same bytes.

    Attributes:
        folder: it need not exist yet.
    """

    folder: Path

    def write(self, window: datetime, hours: int, rows: pa.Table, captures: Mapping[str, int]) -> None:
        """Put a window's rows in the place of those that it had.

        Args:
            window: its start.
            hours: its length.
            rows: of DRIFT.
            captures: how many of each camera the rows were measured from.

        Raises:
            pyarrow.ArrowInvalid: the rows are not of DRIFT.
        """
        about = {CAPTURES: json.dumps(dict(sorted(captures.items()))).encode()}
        table = rows.select(DRIFT.names).cast(DRIFT).replace_schema_metadata(about)
        with new_file(self._path(window, hours)) as building:
            pq.write_table(table, building, compression="zstd")

    def read(
        self,
        start: datetime | None = None,
        end: datetime | None = None,
        hours: int | None = None,
        metrics: Collection[str] | None = None,
        camera: str | None = None,
    ) -> pa.Table:
        """Rows of DRIFT, in order of their windows.

        Args:
            start: of the first window.
            end: before which the last window starts.
            hours: length of the windows; none: of any length.
            metrics: only these.
            camera: only this one.

        Raises:
            ConfigError: a file is damaged.
        """
        paths = [
            path
            for path, (window, length) in self._files()
            if (start is None or window >= aware(start))
            and (end is None or window < aware(end))
            and (hours is None or length == hours)
        ]
        if not paths:
            return DRIFT.empty_table()
        wanted = ds.scalar(True) if camera is None else ds.field("camera") == camera
        if metrics is not None:
            wanted &= ds.field("metric").isin(list(metrics))
        try:
            return ds.dataset([str(path) for path in paths], schema=DRIFT).to_table(filter=wanted)
        except (OSError, pa.ArrowInvalid) as error:
            raise ConfigError(f"{self.folder}: {error}; remove that file, and its window is measured again") from error

    def windows(self, hours: int) -> dict[datetime, dict[str, int]]:
        """Start of each window of this length -> captures of each camera that were counted."""
        return {window: _counted(path) for path, (window, length) in self._files() if length == hours}

    @contextmanager
    def alone(self) -> Iterator[None]:
        """A turn at the store: who measures holds it, and a second one waits.

        Raises:
            TransientError: the other did not finish in an hour.
        """
        path = self.folder / ".lock"
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(path, timeout=LOCK_SECONDS):
                yield
        except Timeout:
            raise TransientError(
                f"another monitor has held {path} for {LOCK_SECONDS:.0f} s; see what it does"
            ) from None

    def _path(self, window: datetime, hours: int) -> Path:
        return self.folder / f"{aware(window):%Y-%m-%dT%H}-{hours:02d}h.parquet"

    def _files(self) -> list[tuple[Path, tuple[datetime, int]]]:
        return [(path, _named(path)) for path in sorted(self.folder.glob("*h.parquet"))]


def _named(path: Path) -> tuple[datetime, int]:
    """Start and length of the window that a file is named after."""
    try:
        start, hours = path.stem.removesuffix("h").rsplit("-", 1)
        return datetime.strptime(start, "%Y-%m-%dT%H").replace(tzinfo=UTC), int(hours)
    except ValueError:
        raise ConfigError(f"{path} is no window of a drift store; move it away") from None


def _counted(path: Path) -> dict[str, int]:
    try:
        return {
            str(camera): int(count) for camera, count in json.loads(pq.read_metadata(path).metadata[CAPTURES]).items()
        }
    except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path} is damaged: {error}; remove it, and its window is measured again") from error
