"""Mated pairs in every condition of the grid, with what is measured of each probe: what misses are priced by."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from stages.lib.codec import decode
from stages.lib.deploy.ask import BATCH
from stages.lib.deploy.session import FaceModel
from stages.lib.geometry.template import ARCFACE_TEMPLATE
from stages.lib.metrics.protocol import all_pairs
from stages.lib.models.contract import SAID
from stages.lib.quality.covariates import covariates
from stages.lib.quality.seen import Seen, look
from stages.lib.report.conditions import grid_of
from stages.lib.runtime import Runtime
from stages.lib.table import TEST, Table

PIXELS: Final = ("q_sharpness", "q_brightness", "q_contrast", "q_overexposed", "q_underexposed")
"""Covariates that the grid varies."""


def mated(codes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places of both faces of each pair of one person, of (N,) codes of persons."""
    pairs = all_pairs(codes, max_impostors=0, seed=0)
    return pairs.left[pairs.genuine], pairs.right[pairs.genuine]


def probes_of(
    clean: Seen,
    tables: tuple[Table, Table],
    codes: NDArray[np.int64],
    model: FaceModel,
    threshold: float,
    runtime: Runtime,
) -> pd.DataFrame:
    """Clean templates against the other faces of their people, clean and in every cell of the grid.

    Args:
        clean: what the model says of the test faces.
        tables: of clean faces, and of the grid.
        codes: (N,) whom each clean face shows.
        model: that ships.
        threshold: cosine below which a pair is missed.
        runtime: where to compute.

    Returns:
        A row a pair: PIXELS and SAID of the probe, its `told` quality, the degradation's `operator` (empty: none),
        `subject` and whether it is `missed`.
    """
    cells = look(tables[1], ["parent_id", "d_operator", "d_severity"], model, runtime, "degraded faces")
    bare, degraded = (
        pd.concat([side.rows.filter(SAID), _pixels(table, runtime)], axis=1).assign(told=side.quality)
        for side, table in zip((clean, cells), tables, strict=True)
    )
    bare["operator"], degraded["operator"] = "", cells.rows["d_operator"]
    about = pa.Table.from_pandas(cells.rows[["parent_id", "d_operator", "d_severity"]], preserve_index=False)
    grid = grid_of(pa.array(clean.rows["face_id"]), about)
    inside = grid.conditions[1].templates
    left, right = mated(codes[inside])
    templates, found = clean.embeddings[inside][left], []
    in_cells = ((cells, degraded, cell.probes) for cell in grid.degraded if cell.probes is not None)
    for side, measured, rows in ((clean, bare, inside), *in_cells):
        score = (templates * side.embeddings[rows][right]).sum(axis=1)
        found.append(measured.iloc[rows[right]].assign(missed=score < threshold, subject=codes[inside][left]))
    return pd.concat(found, ignore_index=True)


def _pixels(table: Table, runtime: Runtime) -> pd.DataFrame:
    """Covariates that pixels tell, of the test faces of a table: degraded ones have no others of their own."""
    parts = []
    for batch in table.scan(["image"], TEST, BATCH):
        faces = np.stack([decode(image) for image in batch["image"].to_pylist()])
        straight = np.broadcast_to(ARCFACE_TEMPLATE, (len(faces), 5, 2))
        told = covariates(faces, straight, np.zeros(len(faces)), runtime.device)
        parts.append(pd.DataFrame({name: told[name] for name in PIXELS}))
    return pd.concat(parts, ignore_index=True)
