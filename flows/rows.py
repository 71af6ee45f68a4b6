"""The rows that the watch writes: a capture that was scored, and a figure of a window of captures."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any, Final

import pyarrow as pa

from stages.lib.models.contract import SAID as SAID
from stages.params import COVARIATES as COVARIATES

TIME: Final = pa.timestamp("us", tz="UTC")

BLOCKS: Final = "q_blocks"
"""What `flows.blocks` measures of the picture as it came."""
MEASURES: Final = (*COVARIATES, BLOCKS, *SAID)

CAPTURES: Final = pa.schema(
    [
        pa.field("capture_id", pa.string(), nullable=False),
        pa.field("time", TIME, nullable=False),
        pa.field("camera", pa.string(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("rejected", pa.string()),  # why there is no face to measure; null: there is one
        *(pa.field(name, pa.float32()) for name in MEASURES),
        pa.field("match_score", pa.float32()),  # cosine with the template of whom the person claims to be
    ]
)
EMBEDDING: Final = pa.field("embedding", pa.list_(pa.float32()))
"""A further column of CAPTURES, only where the operator asked for it."""

ALL_CAMERAS: Final = "*"
"""Stands where a camera's name would, for all of them together."""

DRIFT: Final = pa.schema(
    [
        pa.field("window", TIME, nullable=False),  # its start
        pa.field("hours", pa.float64(), nullable=False),
        pa.field("camera", pa.string(), nullable=False),
        pa.field("column", pa.string(), nullable=False),  # empty: the row speaks of the window itself
        pa.field("metric", pa.string(), nullable=False),
        pa.field("value", pa.float64()),
        pa.field("low", pa.float64()),  # of the 95 % interval
        pa.field("high", pa.float64()),
        pa.field("bound", pa.float64()),  # a value beyond it breaches
        pa.field("p", pa.float64()),  # share of quiet windows that are at least as far off
        pa.field("breach", pa.bool_(), nullable=False),
        pa.field("captures", pa.int64(), nullable=False),  # all of the window
        pa.field("faces", pa.int64(), nullable=False),  # those that were not rejected
        pa.field("reference", pa.string(), nullable=False),  # content id
        pa.field("model", pa.string(), nullable=False),
    ]
)

QUANTILES: Final = {"q05": 0.05, "q50": 0.5, "q95": 0.95}
"""Metrics of a column that are levels of it; those of the reference have `reference_` before their names."""

RULE: Final = ("k", "n")
"""Metrics of a window that say by which settings it was judged: its bound was chosen for them."""

Row = dict[str, Any]
"""One of DRIFT."""


def capture_id(camera: str, time: datetime, image: bytes) -> str:
    """The same picture of the same camera at the same time is one capture, however often it is handed in."""
    about = f"{camera}\0{time.astimezone(UTC).isoformat(timespec='microseconds')}\0".encode()
    return hashlib.sha256(about + image).hexdigest()[:32]
