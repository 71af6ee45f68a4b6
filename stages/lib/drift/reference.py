"""What a stretch of faces is compared with: the faces of a time, or of people, that count as normal."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.lib.errors import ConfigError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FEWEST: Final = 20
"""Faces that have a measure, or it is not watched."""
MOST: Final = 5_000
"""Faces of a reference: of more, its own error is small beside that of a window, and a resample takes long."""
MOST_EMBEDDINGS: Final = 1_000
"""The same where embeddings are compared: the scalar products of all pairs are held."""


@dataclass(frozen=True)
class Reference:
    """M captures that count as normal.

    Attributes:
        name: for messages.
        model: version that said `norm`, `quality` and `occlusion`.
        columns: (M,) each; NaN where a capture has no such measure, and in all of a rejected one.
        rejected: (M,) whether there was no face to measure; none: only faces were kept.
        block: (M,) number of what hangs together: an hour of a camera, or a person.
        window: (M,) number of the window that a capture fell into; none: not captured by a watched camera.
        phase: (M,) number of its block within the window, such as the hour of the day; none with `window`.
        stratum: (M,) number of the part that it belongs to; a window has as many faces of each part.
        embeddings: (M, D) unit, where those of all faces were kept; NaN in rejected rows.
    """

    name: str
    model: str | None
    columns: Mapping[str, Floats]
    rejected: NDArray[np.bool_] | None
    block: Ints
    window: Ints | None
    phase: Ints | None
    stratum: Ints
    embeddings: NDArray[np.float32] | None = None

    @classmethod
    def of(
        cls,
        rows: pa.Table,
        columns: Sequence[str],
        block: str,
        name: str,
        model: str | None = None,
        blocks_of_window: int | None = None,
    ) -> Reference:
        """A reference of a table's rows.

        Args:
            rows: in an order that does not depend on chance; `rejected` (bool) and `embedding` are optional.
            columns: that are wanted; those that fewer than `FEWEST` rows have are left out.
            block: column of int64 that tells what hangs together.
            name: for messages.
            model: version that said what is in the rows.
            blocks_of_window: how many blocks, in order of their number, make a window; none: blocks are no times.

        Raises:
            ConfigError: the column of blocks is missing, or no wanted column is told.
        """
        if block not in rows.column_names:
            raise ConfigError(f"{name}: no column {block} tells which rows hang together; make it again")
        number = rows[block].to_numpy().astype(np.int64)
        there = {column: _floats(rows[column]) for column in columns if column in rows.column_names}
        told = {column: values for column, values in there.items() if np.isfinite(values).sum() >= FEWEST}
        if not told:
            raise ConfigError(f"{name}: fewer than {FEWEST} faces have any of the measures {', '.join(columns)}")
        whole = cls(
            name,
            model,
            told,
            rows["rejected"].to_numpy().astype(np.bool_) if "rejected" in rows.column_names else None,
            number,
            None if blocks_of_window is None else number // blocks_of_window,
            None if blocks_of_window is None else number % blocks_of_window,
            np.zeros(len(number), np.int64),
            vectors(rows["embedding"].combine_chunks()) if "embedding" in rows.column_names else None,
        )
        kept = whole.faces().embeddings
        if kept is None or not np.isfinite(kept).all():
            return replace(whole, embeddings=None).thinned(MOST)
        return whole.thinned(MOST_EMBEDDINGS)

    @classmethod
    def joined(cls, parts: Sequence[Reference], name: str) -> Reference:
        """Several references in equal parts, each of as many rows: which part has more traffic does not count.

        Raises:
            ConfigError: no part, or no measure that all have.
        """
        rows = min((len(part) for part in parts), default=0)
        rows = min(rows, max(FEWEST, MOST // max(1, len(parts))))
        shared = [column for column in parts[0].columns if all(column in p.columns for p in parts)] if parts else []
        if not shared:
            raise ConfigError(f"{name}: its references share no measure")
        thin = [part.thinned(rows) for part in parts]
        blocks = [np.unique(part.block, return_inverse=True)[1] for part in thin]
        starts = np.cumsum([0, *(block.max() + 1 for block in blocks)])
        models = {part.model for part in parts}
        return cls(
            name,
            models.pop() if len(models) == 1 else None,
            {column: np.concatenate([part.columns[column] for part in thin]) for column in shared},
            _all([part.rejected for part in thin]),
            np.concatenate([block + start for block, start in zip(blocks, starts, strict=False)]),
            _all([part.window for part in thin]),
            _all([part.phase for part in thin]),
            np.repeat(np.arange(len(thin)), rows),
        )

    def __len__(self) -> int:
        """Rows, rejected ones included."""
        return len(self.block)

    @cached_property
    def content_id(self) -> str:
        """Hash of all that a comparison depends on, 16 hex digits."""
        digest = hashlib.sha256(f"{self.model}\0{len(self)}".encode())
        further = {
            name: getattr(self, name) for name in ("rejected", "block", "window", "phase", "stratum", "embeddings")
        }
        for name, values in (*self.columns.items(), *further.items()):
            digest.update(f"\0{name}\0".encode() + (b"" if values is None else np.ascontiguousarray(values).tobytes()))
        return digest.hexdigest()[:16]

    @cached_property
    def quality(self) -> Floats | None:
        """(<=M,) how good its faces are for the model: its own word, or else the norm; none: neither is told."""
        for column in ("quality", "norm"):
            if column in self.columns:
                values = self.columns[column]
                return values[np.isfinite(values)]
        return None

    def faces(self) -> Reference:
        """Its rows that were not rejected."""
        return self if self.rejected is None else self._rows(np.flatnonzero(~self.rejected))

    def thinned(self, rows: int) -> Reference:
        """At most so many of its rows, drawn fairly and the same each time."""
        if len(self) <= rows:
            return self
        kept = np.random.default_rng(rows).permutation(len(self))[:rows]
        return self._rows(np.sort(kept))

    def _rows(self, kept: Ints) -> Reference:
        return replace(
            self,
            columns={column: values[kept] for column, values in self.columns.items()},
            rejected=None if self.rejected is None else self.rejected[kept],
            block=self.block[kept],
            window=None if self.window is None else self.window[kept],
            phase=None if self.phase is None else self.phase[kept],
            stratum=self.stratum[kept],
            embeddings=None if self.embeddings is None else self.embeddings[kept],
        )


def _all(parts: Sequence[NDArray | None]) -> NDArray | None:
    there = [part for part in parts if part is not None]
    return np.concatenate(there) if len(there) == len(parts) else None


def _floats(column: pa.ChunkedArray) -> Floats:
    values = column.cast(pa.float64()).to_numpy()
    return np.where(np.isfinite(values), values, np.nan)


def vectors(column: pa.ListArray) -> NDArray[np.float32] | None:
    """(N, D) of a column of lists, NaN where there is none; none: there is no list, or they differ in length."""
    lengths = column.value_lengths().drop_null().unique().to_pylist()
    if len(lengths) != 1:
        return None
    there = column.is_valid().to_numpy(zero_copy_only=False)
    found = np.full((len(column), lengths[0]), np.nan, np.float32)
    found[there] = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, lengths[0])
    return found
