"""reference: the frozen profile that production is compared with: `q_*`, norms and genuine scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
from numpy.typing import NDArray

from stages.lib.codec import decode
from stages.lib.deploy.session import SHIPPED, FaceModel
from stages.lib.errors import ConfigError
from stages.lib.folders import new_folder
from stages.lib.metrics.protocol import all_pairs
from stages.lib.runtime import Runtime
from stages.lib.table import Table, write_parquet
from stages.params import Reference

BATCH = 64
LIKE_QUALITY = ("norm", "quality")  # a pair has the lower one of its two faces
QUANTILES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)


def run(params: Reference, aligned: Path, exported: Path, destination: Path, runtime: Runtime) -> str:
    """Profile the people that training never saw: what the shipped model will meet if nothing drifts.

    The folder holds `faces.parquet` (one row a face: every `q_*`, `norm`, and of models that tell them `occlusion`,
    the covered share of the face, and `quality`; no pixels, no embedding),
    `genuine.parquet` (one row a pair of one person: score, and the lower of the two norms and qualities) and
    `profile.json` (quantiles and histogram edges of every column).
    """
    table = Table.open(aligned)
    model = FaceModel(exported / SHIPPED, runtime.threads)
    faces, embeddings = _embed(table, model, runtime)
    codes = pd.factorize(faces["subject_id"], sort=True)[0].astype(np.int64)
    pairs = all_pairs(codes, max_impostors=0, seed=0)
    left, right = pairs.left[pairs.genuine], pairs.right[pairs.genuine]
    if not len(left):
        raise ConfigError(f"{aligned}: no test person has two faces, so there is no genuine score to freeze")
    worse = {n: np.minimum(faces[n].to_numpy()[left], faces[n].to_numpy()[right]) for n in LIKE_QUALITY if n in faces}
    genuine = pd.DataFrame({"score": (embeddings[left] * embeddings[right]).sum(axis=1), **worse})
    faces = faces.drop(columns="subject_id")

    columns = {n: faces[n].to_numpy() for n in faces if n != "face_id"} | {"genuine_score": genuine["score"].to_numpy()}
    profile = {
        "model": model.contract.version,
        "aligned": table.content_id,
        "faces": len(faces),
        "genuine_pairs": len(genuine),
        "columns": {name: _describe(values, params.bins) for name, values in columns.items()},
    }
    with new_folder(destination) as building:
        write_parquet(pa.Table.from_pandas(faces, preserve_index=False), building / "faces.parquet")
        write_parquet(pa.Table.from_pandas(genuine, preserve_index=False), building / "genuine.parquet")
        (building / "profile.json").write_text(json.dumps(profile, indent=2, allow_nan=False) + "\n")
    return f"reference: {len(faces)} faces, {len(genuine)} genuine pairs, {len(columns)} columns"


def _embed(table: Table, model: FaceModel, runtime: Runtime) -> tuple[pd.DataFrame, NDArray[np.float32]]:
    names = ["face_id", "subject_id", *(c for c in table.columns if c.startswith("q_"))]
    where = ds.field("split") == "test"
    total = table.read(["face_id"], where).num_rows
    if not total:
        raise ConfigError(f"{table.path} has no test face to profile; raise `ingest.test_fraction`")
    rows, vectors = [], []
    batches = table.scan([*names, "image"], where, BATCH)
    for batch in runtime.progress(batches, "reference", "batches", total=-(-total // BATCH)):
        found = model.inspect(np.stack([decode(image.as_py()) for image in batch["image"]]))
        said = {} if found.occlusion is None else {"occlusion": found.occlusion.mean(axis=(1, 2))}
        said |= {} if found.quality is None else {"quality": found.quality}
        rows.append(pa.Table.from_batches([batch]).select(names).to_pandas().assign(norm=found.norms, **said))
        vectors.append(found.embeddings)
    return pd.concat(rows, ignore_index=True), np.concatenate(vectors)


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
