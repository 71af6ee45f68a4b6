"""reference: the frozen profile that production is compared with, and what quality costs there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from stages.lib.deploy.session import SHIPPED, FaceModel
from stages.lib.drift.price import Price, learn
from stages.lib.drift.probes import PIXELS, mated, probes_of
from stages.lib.errors import ConfigError
from stages.lib.folders import new_folder
from stages.lib.metrics.bootstrap import subject_weights
from stages.lib.models.contract import SAID
from stages.lib.quality.calibration import QualityBands, calibrate, save_bands
from stages.lib.quality.seen import look
from stages.lib.runtime import Runtime
from stages.lib.table import Table, write_parquet
from stages.params import MOVERS, Reference

Made = TypeVar("Made")

LIKE_QUALITY = ("norm", "quality")  # a pair has the lower one of its two faces
PRICE_REPLICATES = 200  # of the regression: each is fitted anew
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
    `profile.json` (quantiles and histogram edges of every column, and at what threshold misses are priced),
    `bands.parquet` (what each band of quality costs in FNMR, from clean faces to the worst of the grid) and `price.npz`
    (what captures cost by all that is measured of them, by which the watch prices a drift).

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
    left, right = mated(codes)
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
    profile["run_at"] = dict(zip(("fmr", "threshold"), run_at, strict=True)) if run_at else None
    bands, price = None, None
    missing = {"left_out": "that takes the cells of synthesize.grid, and a threshold that the model states"}
    costs: dict[str, dict[str, str]] = {"bands": missing, "price": missing}
    if run_at is not None and cells.rows:
        probes = probes_of(seen, (table, cells), codes, model, run_at[1], runtime)
        weights = subject_weights(int(codes.max()) + 1, params.replicates, params.seed)
        bands, costs["bands"] = _told(lambda: _bands(probes, weights, params.bands), technique=seen.technique)
        price, costs["price"] = _told(lambda: _price(probes, weights))
    profile |= costs
    with new_folder(destination) as building:
        write_parquet(pa.Table.from_pandas(faces, preserve_index=False), building / "faces.parquet")
        write_parquet(pa.Table.from_pandas(genuine, preserve_index=False), building / "genuine.parquet")
        (building / "profile.json").write_text(json.dumps(profile, indent=2, allow_nan=False) + "\n")
        if bands is not None:
            save_bands(bands, building / "bands.parquet")
        if price is not None:
            price.save(building / "price.npz")
    done = f"reference: {len(faces)} faces, {len(genuine)} genuine pairs, {len(profiled)} columns"
    return "; ".join([done, *(f"no {name}: {why['left_out']}" for name, why in costs.items() if "left_out" in why)])


def _told(make: Callable[[], Made], **about: str) -> tuple[Made | None, dict[str, str]]:
    """What was made and what is said of it; nothing, and why, where too few people tell it."""
    try:
        return make(), about
    except ConfigError as error:
        return None, {"left_out": f"{error}; raise synthesize.grid_faces or ingest.test_fraction"}


def _bands(probes: pd.DataFrame, weights: NDArray[np.int64], count: int) -> QualityBands:
    told, missed, subject = (probes[name].to_numpy() for name in ("told", "missed", "subject"))
    return calibrate(told, missed, subject, weights, count)


def _price(probes: pd.DataFrame, weights: NDArray[np.int64]) -> Price:
    # who watches aligns for himself, and no measure tells that it went wrong: such misses would be laid to others
    straight = probes[~probes["operator"].isin(MOVERS)]
    measures = {name: straight[name].to_numpy() for name in (*PIXELS, *SAID) if name in straight}
    return learn(measures, straight["missed"].to_numpy(), straight["subject"].to_numpy(), weights[:PRICE_REPLICATES])


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
