"""Columns of the face table: one row per face, image bytes inside.

Core columns are always there. `q_*` (covariates and quality, float32) are added by align and
`d_*` (degradation) by synthesize; the same names are read by the gates, training, evaluation,
the reference profile and the drift monitor.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.dataset as ds

VERSION = 2

TEST = ds.field("split") == "test"
"""The rows of people whom nobody learns from, as a filter of `Table.scan` and `Table.read`."""

SHOWABLE = frozenset({"orl", "cohort"})
"""Sources whose faces may stand in a report or travel with a model: ORL's volunteers, and people that were computed. A
face of anyone else is biometric data and stays in the table."""

CORE = pa.schema(
    [
        pa.field("face_id", pa.string(), nullable=False),  # hex content hash, the sort key
        pa.field("parent_id", pa.string()),  # the clean face of a degraded one
        pa.field("subject_id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),  # reader: cohort, orl, folder, lfw, fasseg, rec, bin
        pa.field("name", pa.string(), nullable=False),  # place within the source, for people
        pa.field("licence", pa.string(), nullable=False),
        # by subject, fixed at ingest: train, val or test; transfer: people of another source, for evaluation only
        pa.field("split", pa.string(), nullable=False),
        pa.field("image", pa.binary(), nullable=False),  # encoded bytes (JPEG, PNG, ...)
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        # right eye, left eye, nose, right and left mouth corner of the person; x, y in pixels
        pa.field("landmarks", pa.list_(pa.float32(), 10)),
        pa.field("landmarks_from", pa.string()),  # source, detector or crop (documented fallback)
        pa.field("box", pa.list_(pa.float32(), 4)),  # x, y, width, height in pixels
        pa.field("transform", pa.list_(pa.float32(), 6)),  # source -> aligned pixels, row-major 2x3
        pa.field("yaw", pa.float32()),  # labels where the source knows them, degrees
        pa.field("pitch", pa.float32()),
        pa.field("roll", pa.float32()),
        pa.field("segmentation", pa.binary()),  # PNG of class indices, the size of the image
        pa.field("landmarks68", pa.list_(pa.float32(), 136)),  # the 68 points of iBUG 300-W; x, y in pixels
        pa.field("visible68", pa.list_(pa.bool_(), 68)),  # whether each can be seen
        pa.field("mask_worn", pa.bool_()),
        pa.field("expression", pa.string()),
        pa.field("light", pa.float32()),  # degrees between the key light and the camera's axis
        pa.field("recipe", pa.string()),  # JSON: all that a computed face was made from
    ]
)

DEGRADATION = pa.schema(
    [
        pa.field("d_operator", pa.string(), nullable=False),  # clean, low_resolution, blur, ...
        pa.field("d_severity", pa.int32(), nullable=False),  # 0 for a random training draw, else 1..n
        pa.field("d_params", pa.string(), nullable=False),  # JSON: what the operator was given
        pa.field("d_seed", pa.int64(), nullable=False),
    ]
)

REJECTS = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("face_id", pa.string()),
        pa.field("subject_id", pa.string()),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
    ]
)

PAIRS = pa.schema(
    [
        pa.field("protocol", pa.string(), nullable=False),  # e.g. lfw-view1-test
        pa.field("face_a", pa.string(), nullable=False),
        pa.field("face_b", pa.string(), nullable=False),
        pa.field("same", pa.bool_(), nullable=False),
        pa.field("fold", pa.int32(), nullable=False),
    ]
)


def conform(table: pa.Table) -> pa.Table:
    """Order and cast columns to the contract: core, then `d_*`, then `q_*` by name.

    Core columns that may be null are filled in where missing.

    Raises:
        ValueError: a required column is missing or an unknown one is present.
    """
    names = set(table.column_names)
    quality = sorted(n for n in names if n.startswith("q_"))
    degraded = DEGRADATION if any(n.startswith("d_") for n in names) else pa.schema([])
    fields = [*CORE, *degraded, *(pa.field(n, pa.float32()) for n in quality)]
    unknown = names - {f.name for f in fields}
    missing = {f.name for f in fields if not f.nullable} - names
    if unknown or missing:
        raise ValueError(f"not a face table: unknown columns {sorted(unknown)}, missing {sorted(missing)}")
    columns = [table[f.name].cast(f.type) if f.name in names else pa.nulls(table.num_rows, f.type) for f in fields]
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))
