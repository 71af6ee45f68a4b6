"""The suite of each table: its rules in the words of Great Expectations.

A rule's `meta` carries what the report shows: name, topic, column and the rule in words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import great_expectations.expectations as gxe
import pyarrow as pa
from great_expectations import ExpectationSuite
from great_expectations.expectations.expectation import Expectation
from great_expectations.expectations.metadata_types import FailureSeverity
from great_expectations.expectations.row_conditions import Column

from stages.lib.expectations.bounds import AlignedBounds, Band, FacesBounds, VariantsBounds
from stages.lib.expectations.faults import cell_names
from stages.lib.table.schema import CORE, DEGRADATION

Rules = Iterator[Expectation]

FACE_ID = r"^[0-9a-f]{16,64}$"
VARIANT_ID = r"^[0-9a-f]{16,64}-[a-z_]+-[0-9]+$"  # the parent's id, then the cell


def faces_suite(bounds: FacesBounds) -> ExpectationSuite:
    """After ingest: enough faces and people, sound ids, no person in two splits, sane image sizes."""
    sides = Band(bounds.min_side, bounds.max_side)
    return ExpectationSuite("faces", expectations=[*_common(bounds), *_sides(sides)])


def aligned_suite(bounds: AlignedBounds) -> ExpectationSuite:
    """After align: also one size, landmarks on every face, and covariates that are finite and in range."""
    return ExpectationSuite(
        "aligned",
        expectations=[
            *_common(bounds),
            *_sides(Band(bounds.size, bounds.size)),
            _no_fault("landmarks_fault", "landmarks are whole", "five finite points", "Images", "landmarks"),
            _finite_covariates(),
            *(_band(c, band, f"{c} in range", "Covariates") for c, band in bounds.ranges.items()),
            *(_band(c, band, f"{c} mostly typical", "Covariates") for c, band in bounds.typical.items()),
        ],
    )


def variants_suite(bounds: VariantsBounds) -> ExpectationSuite:
    """After synthesize: also declared operators, known parents, and of a grid that its cells hold the same faces."""
    return ExpectationSuite(
        "variants",
        expectations=[
            *_common(bounds),
            *_sides(Band(bounds.size, bounds.size)),
            _finite_covariates(),
            *(_present(f.name, "Degradation") for f in DEGRADATION),
            _among("d_operator", bounds.operators, "operator is declared", "Degradation"),
            _no_fault(
                "parent_fault",
                "parent exists",
                "in the clean table, same person and split",
                "Degradation",
                "parent_id",
            ),
            *(_grid(bounds.grid) if bounds.grid else ()),
        ],
    )


OWN = Column("split") != "transfer"  # another source's people, kept to be tested on, do not make up for too few

SUITES: dict[str, Callable[[Any], ExpectationSuite]] = {
    "faces": faces_suite,
    "aligned": aligned_suite,
    "variants": variants_suite,
    "grid": variants_suite,
}


def _common(bounds: FacesBounds) -> Rules:
    yield from _amounts(bounds)
    required = [f.name for f in CORE if not f.nullable and not pa.types.is_binary(f.type)]
    yield from (_present(name, "Identity") for name in required)
    yield gxe.ExpectColumnValuesToMatchRegex(
        column="face_id",
        regex=VARIANT_ID if isinstance(bounds, VariantsBounds) else FACE_ID,
        meta=_about("face_id is a hash", "16 to 64 hex digits, a variant's cell behind", "Identity", "face_id"),
    )
    yield gxe.ExpectColumnValuesToBeUnique(
        column="face_id", meta=_about("face_id is unique", "each once", "Identity", "face_id")
    )
    yield _among("split", bounds.splits, "split is known", "Splits")
    yield _no_fault("split_fault", "no person in two splits", "one split per person", "Splits", "subject_id, split")
    yield from (_split_size(split, least) for split, least in bounds.min_faces_per_split.items())
    for split in bounds.compared_splits:
        yield from _comparable(split)


def _amounts(bounds: FacesBounds) -> Rules:
    yield gxe.ExpectTableRowCountToBeBetween(
        min_value=bounds.min_rows,
        row_condition=OWN,
        meta=_about("enough faces", f"at least {bounds.min_rows}", "Amounts"),
    )
    yield gxe.ExpectColumnUniqueValueCountToBeBetween(
        column="subject_id",
        min_value=bounds.min_subjects,
        row_condition=OWN,
        meta=_about("enough people", f"at least {bounds.min_subjects}", "Amounts", "subject_id"),
    )
    if not isinstance(bounds, VariantsBounds):  # to degrade a face rejects none, and there may be none to degrade
        yield gxe.ExpectColumnMaxToBeBetween(
            column="reject_share",
            max_value=bounds.max_reject_share,
            meta=_about("few rejects", f"at most {bounds.max_reject_share:g}", "Amounts"),
        )


def _split_size(split: str, least: int) -> Expectation:
    return gxe.ExpectTableRowCountToBeBetween(
        min_value=least,
        row_condition=Column("split") == split,
        meta=_about(f"enough {split} faces", f"at least {least}", "Splits", "split"),
    )


def _comparable(split: str) -> Rules:
    """One impostor and one genuine pair."""
    yield gxe.ExpectColumnUniqueValueCountToBeBetween(
        column="subject_id",
        min_value=2,
        row_condition=Column("split") == split,
        meta=_about(f"enough {split} people", "at least 2", "Splits", "split, subject_id"),
    )
    yield gxe.ExpectColumnMaxToBeBetween(
        column="faces_of_person",
        min_value=2,
        row_condition=Column("split") == split,
        meta=_about(f"most faces of a {split} person", "at least 2", "Splits", "split, subject_id"),
    )


def _sides(band: Band) -> Rules:
    for column in ("width", "height"):
        yield _band(column, band, f"{column} in bounds", "Images", " pixels")


def _finite_covariates() -> Expectation:
    return _no_fault("quality_fault", "covariates are finite", "no NaN or infinity", "Covariates", "q_*")


def _band(column: str, band: Band, name: str, topic: str, unit: str = "") -> Expectation:
    expected = f"{band.low:g}" if band.low == band.high else f"{band.low:g} to {band.high:g}"
    share = "" if band.mostly == 1 else f", for {100 * band.mostly:.4g} % of the faces"
    return gxe.ExpectColumnValuesToBeBetween(
        column=column,
        min_value=band.low,
        max_value=band.high,
        mostly=band.mostly,
        severity=FailureSeverity(band.severity),
        meta=_about(name, expected + unit + share, topic, column),
    )


def _grid(grid: Mapping[str, tuple[int, ...]]) -> Rules:
    cells = cell_names(grid)
    yield gxe.ExpectColumnDistinctValuesToContainSet(
        column="grid_cell",
        value_set=cells,
        meta=_about("grid is complete", ", ".join(cells), "Degradation", "d_operator, d_severity"),
    )
    yield _no_fault(
        "grid_fault",
        "grid is balanced",
        "each parent once in each cell",
        "Degradation",
        "parent_id, d_operator, d_severity",
    )


def _present(column: str, topic: str) -> Expectation:
    return gxe.ExpectColumnValuesToNotBeNull(
        column=column, meta=_about(f"{column} is present", "no missing value", topic, column)
    )


def _among(column: str, values: tuple[str, ...], name: str, topic: str) -> Expectation:
    return gxe.ExpectColumnValuesToBeInSet(
        column=column, value_set=list(values), meta=_about(name, ", ".join(values), topic, column)
    )


def _no_fault(fault: str, name: str, expected: str, topic: str, column: str) -> Expectation:
    return gxe.ExpectColumnValuesToBeNull(column=fault, meta=_about(name, expected, topic, column))


def _about(name: str, expected: str, topic: str, column: str = "") -> dict[str, str]:
    return {"name": name, "expected": expected, "topic": topic, "column": column}
