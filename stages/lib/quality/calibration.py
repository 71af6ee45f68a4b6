"""What is high? The user's own faces say: the share of misses that each band of quality costs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stages.lib.errors import ConfigError
from stages.lib.metrics.bootstrap import Estimate, Ints, Replicates, bootstrap_mean, interval
from stages.lib.table import write_parquet

Values = NDArray[np.float32] | NDArray[np.float64]
SCHEMA = pa.schema(
    [
        *((name, pa.float64()) for name in ("from", "to")),
        ("pairs", pa.int64()),
        *((name, pa.float64()) for name in ("fnmr", "low", "high")),
        ("replicates", pa.list_(pa.float64())),
    ]
)
FEWEST_PEOPLE = 10
"""Of a band; with fewer its misses are those of single people, whose pairs hang together."""


@dataclass(frozen=True)
class QualityBands:
    """FNMR by the quality of the probe, the template being a clean face.

    Attributes:
        edges: (K - 1,) rising; band k holds qualities from `edges[k - 1]` up to, and without, `edges[k]`.
        pairs: (K,) mated pairs in each band.
        fnmr: (K,) share of them that miss.
        replicates: (B, K) the same in resamples of the people; NaN in one that drew none of a band's.
    """

    edges: NDArray[np.float64]
    pairs: NDArray[np.int64]
    fnmr: NDArray[np.float64]
    replicates: NDArray[np.float64]

    def of(self, quality: Values) -> NDArray[np.int64]:
        """(N,) band of each face, in [0, K)."""
        return np.searchsorted(self.edges, quality, side="right")

    def intervals(self) -> list[tuple[float, float]]:
        """95 % interval of each band's FNMR."""
        return [interval(self.replicates[:, band]) for band in range(len(self.fnmr))]

    def expected(self, quality: Values) -> Estimate:
        """FNMR to expect of probes of these qualities.

        Args:
            quality: (N,) of at least one face.

        Raises:
            ConfigError: no face, or one whose quality is not a number.
        """
        return self._expected(self._shares(quality))

    def change(self, quality: Values, reference: Values) -> Estimate:
        """What FNMR is to be expected with these qualities, less what is with those of the reference.

        The interval is of the difference: both sides are read from the same bands.

        Raises:
            ConfigError: as `expected`, on either side.
        """
        return self._expected(self._shares(quality) - self._shares(reference))

    def _shares(self, quality: Values) -> NDArray[np.float64]:
        if not len(quality) or not np.isfinite(quality).all():
            raise ConfigError("no faces, or one whose quality is not a number: nothing is to be expected of them")
        return np.bincount(self.of(quality), minlength=len(self.fnmr)) / len(quality)

    def _expected(self, shares: NDArray[np.float64]) -> Estimate:
        # a resample that drew nobody of a band says nothing of it; the figure of all people stands in
        drawn: Replicates = np.where(np.isnan(self.replicates), self.fnmr, self.replicates) @ shares
        return Estimate(float(self.fnmr @ shares), *interval(drawn))


def save_bands(bands: QualityBands, path: Path) -> None:
    """Write bands as Parquet, a row a band from the lowest quality on.

    `from` and `to` are empty at the open ends; `replicates` hold what an interval of any mixture of faces needs.
    """
    ends = zip([None, *bands.edges], [*bands.edges, None], strict=True)
    rows = [
        {"from": start, "to": end, "pairs": pairs, "fnmr": fnmr, "low": low, "high": high, "replicates": own}
        for (start, end), pairs, fnmr, (low, high), own in zip(
            ends, bands.pairs, bands.fnmr, bands.intervals(), bands.replicates.T, strict=True
        )
    ]
    write_parquet(pa.Table.from_pylist(rows, schema=SCHEMA), path)


def load_bands(path: Path) -> QualityBands:
    """Read what `save_bands` wrote.

    Raises:
        ConfigError: the file is missing or holds no bands.
    """
    try:
        rows = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise ConfigError(f"{path} holds no bands of quality: {error}; run the stage reference") from error
    if not rows.schema.equals(SCHEMA) or not rows.num_rows:
        raise ConfigError(f"{path} holds no bands of quality but {rows.column_names}; run the stage reference")
    return QualityBands(
        rows["from"].drop_null().to_numpy(),
        rows["pairs"].to_numpy(),
        rows["fnmr"].to_numpy(),
        np.stack(rows["replicates"].to_numpy(), axis=1),
    )


def calibrate(quality: Values, missed: NDArray[np.bool_], subject: Ints, weights: Ints, count: int) -> QualityBands:
    """Bands with about equally many pairs, each of at least `FEWEST_PEOPLE`.

    Args:
        quality: (P,) of the probe of each mated pair. Both good and bad faces must be among them: of what no probe
            was like, no band tells.
        missed: (P,) whether the pair's score lies below the threshold.
        subject: (P,) whose pair it is, in [0, S).
        weights: (B, S) from `bootstrap.subject_weights`.
        count: of bands; there are fewer where people do not fill them, or qualities are equal.

    Raises:
        ConfigError: fewer than `FEWEST_PEOPLE`.
    """
    people = len(np.unique(subject))
    if people < FEWEST_PEOPLE:
        raise ConfigError(f"mated pairs of {people} people calibrate no quality: give {FEWEST_PEOPLE} at least")
    for wanted in range(count, 0, -1):
        edges = np.unique(np.quantile(quality.astype(np.float64), np.arange(1, wanted) / wanted))
        band = np.searchsorted(edges, quality, side="right")
        inside = [np.flatnonzero(band == k) for k in range(len(edges) + 1)]
        filled = [k for k, rows in enumerate(inside) if len(rows)]  # ties may leave the lowest band empty
        if all(len(np.unique(subject[inside[k]])) >= FEWEST_PEOPLE for k in filled):
            break
    rows_of = [inside[k] for k in filled]
    replicates = [bootstrap_mean(missed[rows], subject[rows], weights) for rows in rows_of]
    fnmr = np.array([missed[rows].mean() for rows in rows_of])
    pairs = np.array([len(rows) for rows in rows_of])
    return QualityBands(edges[filled[:-1]], pairs, fnmr, np.stack(replicates, axis=1))
