"""The gate: run a table's suite over its metadata and name the faces that break it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import great_expectations as gx
import numpy as np
import pandas as pd
from great_expectations import ExpectationSuite
from great_expectations.core import ExpectationValidationResult
from great_expectations.data_context.types.base import (
    DataContextConfig,
    InMemoryStoreBackendDefaults,
    ProgressBarsConfig,
)

from stages.lib.errors import ConfigError
from stages.lib.expectations.bounds import FacesBounds, VariantsBounds
from stages.lib.expectations.prepare import Evidence, prepare
from stages.lib.expectations.result import Check, Failing, GateResult, Observed, Scalar, Severity
from stages.lib.expectations.suites import SUITES

SHOWN = 20  # failing faces that a check names; its count is always whole
RESULT_FORMAT = {
    "result_format": "COMPLETE",
    "unexpected_index_column_names": ["face_id", "row"],
    "include_unexpected_rows": False,
    "return_unexpected_index_query": False,
    "partial_unexpected_count": SHOWN,
}


def validate(
    table_name: str,
    frame: pd.DataFrame,
    bounds: FacesBounds,
    rejects: int,
    parents: pd.DataFrame | None = None,
) -> GateResult:
    """Hold a face table against its suite.

    Args:
        table_name: `faces`, `aligned`, `variants` or `grid`.
        frame: one row per face, the `metadata_columns` of the table. An absent column reads as one without
            values, so its checks fail.
        bounds: of the class that the table's suite takes.
        rejects: faces dropped on the way to this table.
        parents: `face_id`, `subject_id` and `split` of the clean table; those of degraded faces need it.

    Returns:
        The verdict, with the first faces that broke each check.

    Raises:
        ConfigError: the table has no suite, or degraded faces came without parents.
    """
    if table_name not in SUITES:
        raise ConfigError(f"no suite for table {table_name!r}: choose from {sorted(SUITES)}")
    suite = SUITES[table_name](bounds)
    grid = bounds.grid if isinstance(bounds, VariantsBounds) else {}
    columns = [rule.column for rule in suite.expectations if hasattr(rule, "column")]
    prepared = prepare(Evidence(frame, rejects, parents, grid), columns)
    found = {check.name: check for check in (_check(outcome, prepared) for outcome in _run(suite, prepared))}
    checks = tuple(found[_about(rule)["name"]] for rule in suite.expectations)
    counts = prepared["split"].value_counts().sort_index()
    return GateResult(
        table=table_name,
        success=all(check.success or check.severity == "warning" for check in checks),
        rows=len(frame),
        rejects=rejects,
        subjects=int(prepared["subject_id"].nunique()),
        splits={str(s): int(counts.get(s, 0)) for s in dict.fromkeys([*bounds.splits, *counts.index])},
        checks=checks,
    )


def _run(suite: ExpectationSuite, frame: pd.DataFrame) -> list[ExpectationValidationResult]:
    in_memory = DataContextConfig(  # the default one leaves a folder for Data Docs behind at every run
        store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
        analytics_enabled=False,
        progress_bars=ProgressBarsConfig(globally=False, metric_calculations=False),
    )
    context = gx.get_context(mode="ephemeral", project_config=in_memory)
    asset = context.data_sources.add_pandas("memory").add_dataframe_asset(suite.name)
    batch = asset.add_batch_definition_whole_dataframe("whole").get_batch({"dataframe": frame})
    return batch.validate(suite, result_format=RESULT_FORMAT).results


def _check(outcome: ExpectationValidationResult, frame: pd.DataFrame) -> Check:
    config: Any = outcome.expectation_config  # optional in its type, set in every outcome of a run
    result, about, column = outcome.result, _about(config), config.kwargs.get("column", "")
    return Check(
        name=about["name"],
        topic=about["topic"],
        column=about["column"],
        success=bool(outcome.success),
        observed=_observed(result, frame, column),
        expected=about["expected"],
        severity=_SEVERITIES[config.severity.value],
        failing=tuple(_failing(entry, column) for entry in result.get("unexpected_index_list", [])[:SHOWN]),
        failing_count=int(result.get("unexpected_count", 0)),
        error="; ".join(sorted(set(_errors(outcome.exception_info)))),
    )


def _about(rule: Any) -> Mapping[str, str]:
    return rule.meta


_SEVERITIES: dict[str, Severity] = {"critical": "critical", "warning": "warning"}


def _observed(result: Mapping[str, Any], frame: pd.DataFrame, column: str) -> Observed:
    """The figure or the lack that Great Expectations found, else the extent of a numeric column."""
    if result.get("partial_missing_list"):
        return "without " + ", ".join(sorted(result["partial_missing_list"]))
    if result.get("observed_value") is not None:
        return _plain(result["observed_value"])
    if column in frame and pd.api.types.is_numeric_dtype(frame[column]) and frame[column].notna().any():
        return _plain(frame[column].min()), _plain(frame[column].max())
    return None


def _failing(entry: Mapping[str, Any], column: str) -> Failing:
    face = entry["face_id"]
    name = f"row {int(entry['row'])}" if pd.isna(face) else str(face)
    return Failing(name, _plain(entry[column]))


def _plain(value: Any) -> Scalar:
    """A value that JSON can hold: no numpy scalar, NaN or infinity."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def _errors(info: Mapping[str, Any]) -> Iterator[str]:
    """Messages of the exceptions that Great Expectations caught, one level deep or two."""
    if info.get("exception_message"):
        yield info["exception_message"]
    for inner in info.values():
        if isinstance(inner, Mapping):
            yield from _errors(inner)
