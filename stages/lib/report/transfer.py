"""People of another source, kept for evaluation: whether what was learned carries over to them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.dataset as ds

from stages.lib.deploy.session import Inspection
from stages.lib.report.candidates import Candidate
from stages.lib.report.inspections import InspectionCache
from stages.lib.report.pose import YAW_COLUMNS
from stages.lib.runtime import Runtime
from stages.lib.table import Table

SPLIT = ds.field("split") == "transfer"


def transfer_faces(aligned: Table) -> dict[str, pa.Table]:
    """Source -> `subject_id`, `yaw` and `q_yaw` (where the table has it) of its (K,) faces."""
    columns = ["subject_id", "source", *(c for c in YAW_COLUMNS if c in aligned.columns)]
    there = aligned.read(columns, SPLIT)
    return {s: there.filter(pa.compute.equal(there["source"], s)) for s in sorted(set(there["source"].to_pylist()))}


def inspect_transfers(
    cache: InspectionCache, aligned: Table, sources: Iterable[str], models: Sequence[Candidate], runtime: Runtime
) -> list[dict[str, Inspection]]:
    """For each model, source -> what it says of its (K,) faces, rows as `transfer_faces` counts them."""
    found: list[dict[str, Inspection]] = [{} for _ in models]
    for source in sources:
        where = SPLIT & (ds.field("source") == source)
        by_model = cache.inspect(aligned, where, models, runtime, f"{source} faces")
        for entry, inspection in zip(found, by_model, strict=True):
            entry[source] = inspection
    return found
