"""The captures of one window in memory, as arrays: read in one pass, in whatever order they come."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from flows.captures import CaptureLog
from flows.rows import EMBEDDING
from stages.lib.drift.reference import vectors

HOUR: Final = 3_600_000_000  # microseconds
DIGITS: Final = 16  # of a capture's id, which is a uniform hash

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Window:
    """N captures of a camera.

    Attributes:
        camera: its name.
        models: that scored them, by name.
        key: (N,) uint64 of each capture's id; who has the lowest ones, under a mask, is a fair draw.
        hour: (N,) of each, since 1970.
        rejected: (N,) whether there was no face to measure.
        columns: (N,) measures; NaN where there is none.
        embeddings: (N, D), NaN where there is none; none: not asked for, or not kept.
    """

    camera: str
    models: tuple[str, ...]
    key: NDArray[np.uint64]
    hour: NDArray[np.int64]
    rejected: NDArray[np.bool_]
    columns: dict[str, Floats]
    embeddings: Floats | None = None

    @property
    def captures(self) -> int:
        """All of them."""
        return len(self.key)

    @property
    def faces(self) -> int:
        """Those that were not rejected."""
        return int(len(self.key) - self.rejected.sum())

    def drawn(self, lot: str, count: int, rejected: bool = False) -> NDArray[np.int64]:
        """Positions of at most so many captures: fair, the same for the same lot, whatever order they were read in.

        Args:
            lot: names the draw.
            count: wanted.
            rejected: draw from all captures, and not from those with a face.
        """
        mask = np.frombuffer(hashlib.sha256(lot.encode()).digest()[:8], np.uint64)[0]
        among = np.arange(len(self.key)) if rejected else np.flatnonzero(~self.rejected)
        keys = self.key[among] ^ mask
        if len(among) > count:
            few = np.argpartition(keys, count)[:count]
            among, keys = among[few], keys[few]
        return among[np.argsort(keys, kind="stable")]

    def told(self, column: str) -> Floats:
        """(<=N,) values of a column."""
        values = self.columns[column]
        return values[np.isfinite(values)]


def read_windows(
    log: CaptureLog,
    start: datetime,
    end: datetime,
    columns: Sequence[str],
    camera: str | None = None,
    embeddings: bool = False,
) -> dict[str, Window]:
    """Read a stretch of the log, by camera in order of their names.

    Args:
        log: to read.
        start: of the first capture.
        end: before which the last one was taken.
        columns: measures that are wanted.
        camera: only this one.
        embeddings: are wanted as well.
    """
    further = [EMBEDDING.name] if embeddings else []
    parts: dict[str, list[pa.RecordBatch]] = defaultdict(list)
    about = ["capture_id", "time", "camera", "model", "rejected"]
    for batch in log.scan(start, end, [*about, *columns, *further], camera):
        slim = _slim(batch, [*columns, *further])
        names = batch["camera"].dictionary_encode()
        for code, name in enumerate(names.dictionary.to_pylist()):
            parts[name].append(slim.filter(pc.equal(names.indices, code)))
    return {name: _window(name, pa.Table.from_batches(parts[name]), columns) for name in sorted(parts)}


def _slim(batch: pa.RecordBatch, columns: Sequence[str]) -> pa.RecordBatch:
    """A batch with numbers in the place of texts: 30 bytes a row less."""
    hours = batch["time"].cast(pa.int64()).to_numpy() // HOUR
    arrays = [
        pa.array(_keys(batch["capture_id"])),
        pa.array(hours),
        batch["model"].dictionary_encode(),
        pc.is_valid(batch["rejected"]),
        *(batch[name] for name in columns),
    ]
    return pa.RecordBatch.from_arrays(arrays, names=["key", "hour", "model", "rejected", *columns])


def _keys(ids: pa.Array) -> NDArray[np.uint64]:
    """(N,) the first hex digits of ids as a number."""
    padded = pc.utf8_rpad(pc.utf8_slice_codeunits(ids, 0, DIGITS), DIGITS, "0")
    fixed = padded.cast(pa.binary()).cast(pa.binary(DIGITS))
    text = np.frombuffer(fixed.buffers()[1], np.uint8).reshape(-1, DIGITS)[fixed.offset : fixed.offset + len(fixed)]
    digits = (text & 15) + 9 * (text >> 6)  # "0" to "9" and "a" to "f"
    packed = np.ascontiguousarray((digits[:, ::2] << 4) | digits[:, 1::2])
    return packed.view(">u8").ravel().astype(np.uint64)


def _window(camera: str, rows: pa.Table, columns: Sequence[str]) -> Window:
    return Window(
        camera,
        tuple(sorted(rows["model"].cast(pa.string()).unique().to_pylist())),
        rows["key"].to_numpy(),
        rows["hour"].to_numpy(),
        rows["rejected"].to_numpy(),
        {name: rows[name].to_numpy().astype(np.float32, copy=False) for name in columns},
        vectors(rows[EMBEDDING.name].combine_chunks()) if EMBEDDING.name in rows.column_names else None,
    )
