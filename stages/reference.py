"""reference: the frozen profile that production is compared with, and what quality costs there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from stages.lib.deploy.session import SHIPPED, FaceModel
from stages.lib.errors import ConfigError
from stages.lib.folders import new_folder
from stages.lib.metrics.bootstrap import subject_weights
from stages.lib.metrics.protocol import all_pairs
from stages.lib.quality.calibration import QualityBands, calibrate, save_bands
from stages.lib.quality.seen import Seen, look
from stages.lib.report.conditions import grid_of
from stages.lib.runtime import Runtime
from stages.lib.table import Table, write_parquet
from stages.params import Reference

LIKE_QUALITY = ("norm", "quality")  # a pair has the lower one of its two faces
QUANTILES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)


def run(
    params: Reference,
    aligned: Path,
    grid: Path,
    exported: Path,
    destination: Path,
    runtime: Runtime,
    run_at: tuple[str, float] | None = None,
) -> str:
    """Profile the people that training never saw: what the shipped model will meet if nothing drifts.

    The folder holds `faces.parquet` (one row a face: every `q_*`, `norm`, and of models that tell them `occlusion`,
    the covered share of the face, and `quality`; `person` numbers whose faces hang together; no pixels, no embedding),
    `genuine.parquet` (one row a pair of one person: score, and the lower of the two norms and qualities),
    `profile.json` (quantiles and histogram edges of every column, and what `bands` are of) and `bands.parquet` (what
    each band of quality costs in FNMR, from clean faces to the worst of the grid).

    Args:
        params: how it is made.
        aligned: table of clean faces.
        grid: table of the test people's degraded faces.
        exported: folder of the shipped model.
        destination: the folder to make.
        runtime: where to compute.
        run_at: FMR and cosine at which misses are priced; none: the strictest that the model states.
    """
    table, cells = Table.open(aligned), Table.open(grid)
    model = FaceModel(exported / SHIPPED, runtime.threads)
    columns = ["face_id", "subject_id", *(c for c in table.columns if c.startswith("q_"))]
    seen = look(table, columns, model, runtime, "clean faces")
    codes = pd.factorize(seen.rows["subject_id"], sort=True)[0].astype(np.int64)
    left, right = _mated(codes)
    if not len(left):
        raise ConfigError(f"{aligned}: no test person has two faces, so there is no genuine score to freeze")
    score = (seen.embeddings[left] * seen.embeddings[right]).sum(axis=1)
    said = {name: seen.rows[name].to_numpy() for name in LIKE_QUALITY if name in seen.rows}
    genuine = pd.DataFrame({"score": score, **{n: np.minimum(v[left], v[right]) for n, v in said.items()}})
    faces = seen.rows.drop(columns="subject_id").assign(person=codes)

    profiled = {n: faces[n].to_numpy() for n in faces if n not in ("face_id", "person")} | {"genuine_score": score}
    profile = {
        "model": model.contract.version,
        "aligned": table.content_id,
        "faces": len(faces),
        "genuine_pairs": len(genuine),
        "columns": {name: _describe(values, params.bins) for name, values in profiled.items()},
    }
    stated = [(fmr, threshold.cosine) for fmr, threshold in model.contract.thresholds.items()]
    run_at = run_at or min(stated, key=lambda one: float(one[0]), default=None)
    bands, priced = _price(params, seen, cells, codes, model, runtime, run_at)
    profile["bands"] = priced
    with new_folder(destination) as building:
        write_parquet(pa.Table.from_pandas(faces, preserve_index=False), building / "faces.parquet")
        write_parquet(pa.Table.from_pandas(genuine, preserve_index=False), building / "genuine.parquet")
        (building / "profile.json").write_text(json.dumps(profile, indent=2, allow_nan=False) + "\n")
        if bands is not None:
            save_bands(bands, building / "bands.parquet")
    done = f"reference: {len(faces)} faces, {len(genuine)} genuine pairs, {len(profiled)} columns"
    return done if bands is not None else f"{done}; no band of quality has a price: {priced['left_out']}"


def _price(
    params: Reference,
    seen: Seen,
    cells: Table,
    codes: NDArray[np.int64],
    model: FaceModel,
    runtime: Runtime,
    run_at: tuple[str, float] | None,
) -> tuple[QualityBands | None, dict[str, object]]:
    """What each band of quality costs, and what the price is of; no bands, and why, where nothing can be told."""
    if run_at is None or not cells.rows:
        return None, {"left_out": "that takes the cells of synthesize.grid, and a threshold that the model states"}
    fmr, threshold = run_at
    degraded = look(cells, ["parent_id", "d_operator", "d_severity"], model, runtime, "degraded faces")
    try:
        bands = _bands(params, seen, degraded, codes, threshold)
    except ConfigError as error:
        return None, {"left_out": f"{error}; raise synthesize.grid_faces or ingest.test_fraction"}
    return bands, {"technique": seen.technique, "fmr": fmr, "threshold": threshold}


def _mated(codes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    pairs = all_pairs(codes, max_impostors=0, seed=0)
    return pairs.left[pairs.genuine], pairs.right[pairs.genuine]


def _bands(params: Reference, clean: Seen, cells: Seen, codes: NDArray[np.int64], threshold: float) -> QualityBands:
    """Clean templates against the other faces of their people, clean and in every cell of the grid."""
    about = pa.Table.from_pandas(cells.rows[["parent_id", "d_operator", "d_severity"]], preserve_index=False)
    grid = grid_of(pa.array(clean.rows["face_id"]), about)
    inside = grid.conditions[1].templates
    left, right = _mated(codes[inside])
    templates, missed, quality = clean.embeddings[inside][left], [], []
    for side, rows in [(clean, inside), *((cells, cell.probes) for cell in grid.degraded)]:
        missed.append((templates * side.embeddings[rows][right]).sum(axis=1) < threshold)
        quality.append(side.quality[rows][right])
    subject = np.tile(codes[inside][left], len(missed))
    weights = subject_weights(int(codes.max()) + 1, params.replicates, params.seed)
    return calibrate(np.concatenate(quality), np.concatenate(missed), subject, weights, params.bands)


def _describe(values: NDArray[np.floating], bins: int) -> dict[str, object]:
    """Moments, quantiles and equal-count bin edges: what PSI and Wasserstein distances start from."""
    values = values[np.isfinite(values)].astype(np.float64)
    edges = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)))
    return {
        "mean": float(values.mean()),
        "sd": float(values.std()),
        "quantiles": {str(q): float(v) for q, v in zip(QUANTILES, np.quantile(values, QUANTILES), strict=True)},
        "edges": edges.tolist(),
        "counts": np.histogram(values, edges)[0].tolist() if len(edges) > 1 else [],
    }
