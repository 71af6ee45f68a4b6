"""validate: the Great Expectations gate of one table; a failed gate leaves no token, so nothing goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pandas as pd

from stages.lib.errors import GateFailed
from stages.lib.expectations.bounds import AlignedBounds, Band, FacesBounds, VariantsBounds
from stages.lib.expectations.gate import validate
from stages.lib.expectations.prepare import metadata_columns
from stages.lib.expectations.report import to_html, to_json
from stages.lib.table import Table
from stages.params import Validate

# No student is trained, chosen or measured without its people.
TRAINED = {"train": 1}
COMPARED = {"val": "ingest.val_fraction", "test": "ingest.test_fraction or, of a cohort, ingest.cohort.test_identities"}


def run(
    params: Validate,
    grid: Mapping[str, tuple[int, ...]],
    name: str,
    source: Path,
    parent: Path | None,
    destination: Path,
) -> str:
    """Hold a table against its suite; write the report, and the token only if it passes.

    The token holds the table's content id and no bound: a bound that is changed and still passes
    makes nothing downstream stale.

    Raises:
        GateFailed: names the checks and where the report with the failing faces is.
        TableError: the table's files do not match its own counts and hashes.
    """
    token = destination / "token.json"
    token.unlink(missing_ok=True)  # one of an earlier pass must not outlive a failure now
    table = Table.open(source)
    table.verify()
    frame = table.read(metadata_columns(table.columns)).to_pandas()
    parents = None if parent is None else _parents(parent)
    result = validate(name, frame, _bounds(params, grid, name, parents is not None), table.rejects().num_rows, parents)
    destination.mkdir(parents=True, exist_ok=True)
    (destination / "report.json").write_text(to_json(result))
    (destination / "report.html").write_text(to_html(result))
    if not result.success:
        failed = result.complaint(advice(params, source))
        raise GateFailed(f"{source} failed: {failed}; report: {destination / 'report.html'}")
    token.write_text(json.dumps({"table": name, "content_id": table.content_id}) + "\n")
    return f"validate {name}: {table.rows} faces passed {len(result.checks)} checks; {destination / 'report.html'}"


def _parents(path: Path) -> pd.DataFrame:
    return Table.open(path).read(["face_id", "subject_id", "split"]).to_pandas()


def advice(params: Validate, source: Path) -> dict[str, str]:
    """Name of a check -> the keys of params that set its rule, and where else to look."""
    keys = {
        "enough faces": "validate.min_rows",
        "enough people": "validate.min_subjects",
        "enough train faces": "ingest.val_fraction, ingest.test_fraction",
        **{f"{name} in range": f"validate.ranges.{name}" for name in params.ranges},
        **{f"enough {split} people": key for split, key in COMPARED.items()},
        **{f"most faces of a {split} person": key for split, key in COMPARED.items()},
    }
    rejects = f"(validate.max_reject_share), see {source / 'rejects.parquet'}"
    return {name: f"({key})" for name, key in keys.items()} | {"few rejects": rejects}


def _bounds(params: Validate, grid: Mapping[str, tuple[int, ...]], name: str, degraded: bool) -> FacesBounds:
    build: dict[str, Callable[..., FacesBounds]] = {
        "faces": partial(FacesBounds, min_faces_per_split=TRAINED, compared_splits=tuple(COMPARED)),
        "aligned": partial(
            AlignedBounds,
            min_faces_per_split=TRAINED,
            compared_splits=tuple(COMPARED),
            ranges={name: Band(*bounds) for name, bounds in params.ranges.items()},
        ),
        # `synthesize.variants` may be 0, and the grid of few faces: those that they are made of have passed their gate
        "variants": partial(VariantsBounds, operators=("random",), splits=("train", "val")),
        "grid": partial(VariantsBounds, operators=tuple(grid), grid=grid, splits=("test",)),
    }
    least = (0, 0) if degraded else (params.min_rows, params.min_subjects)
    return build[name](min_rows=least[0], min_subjects=least[1], max_reject_share=params.max_reject_share)
