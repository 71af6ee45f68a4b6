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

EACH_SPLIT = {"train": 1, "val": 1, "test": 1}  # no student is trained, chosen or measured without its people


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
    result = validate(name, frame, _bounds(params, grid, name), table.rejects().num_rows, parents)
    destination.mkdir(parents=True, exist_ok=True)
    (destination / "report.json").write_text(to_json(result))
    (destination / "report.html").write_text(to_html(result))
    if not result.success:
        failed = ", ".join(check.name for check in result.checks if not check.success)
        raise GateFailed(f"{source} failed {failed}; the faces are named in {destination / 'report.html'}")
    token.write_text(json.dumps({"table": name, "content_id": table.content_id}) + "\n")
    return f"validate {name}: {table.rows} faces passed {len(result.checks)} checks; {destination / 'report.html'}"


def _parents(path: Path) -> pd.DataFrame:
    return Table.open(path).read(["face_id", "subject_id", "split"]).to_pandas()


def _bounds(params: Validate, grid: Mapping[str, tuple[int, ...]], name: str) -> FacesBounds:
    build: dict[str, Callable[..., FacesBounds]] = {
        "faces": partial(FacesBounds, min_faces_per_split=EACH_SPLIT),
        "aligned": partial(
            AlignedBounds,
            min_faces_per_split=EACH_SPLIT,
            ranges={name: Band(*bounds) for name, bounds in params.ranges.items()},
        ),
        # no EACH_SPLIT: with `synthesize.variants: 0` only test faces have variants
        "variants": partial(VariantsBounds, operators=(*grid, "random"), grid=grid),
    }
    return build[name](
        min_rows=params.min_rows, min_subjects=params.min_subjects, max_reject_share=params.max_reject_share
    )
