from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stages.lib.errors import ConfigError
from stages.lib.expectations.bounds import AlignedBounds, Band, FacesBounds, VariantsBounds
from stages.lib.expectations.gate import validate
from stages.lib.expectations.prepare import metadata_columns
from stages.lib.expectations.report import to_html, to_json
from stages.lib.expectations.result import Check, GateResult
from stages.lib.table.schema import CORE

SPLITS = ["train"] * 6 + ["val"] * 2 + ["test"] * 4  # of the twelve people
FACES_EACH = 5
GRID = {"blur": (1, 2), "noise": (3,)}
FACES = FacesBounds(min_rows=60, min_subjects=12, max_reject_share=0.05, min_faces_per_split={"test": 20})
ALIGNED = AlignedBounds(
    min_rows=60,
    min_subjects=12,
    max_reject_share=0.05,
    ranges={"q_brightness": Band(0.05, 0.95)},
    typical={"q_sharpness": Band(0.2, 1.0, mostly=0.9), "q_brightness": Band(0.4, 0.6, 0.9, "warning")},
)
VARIANTS = VariantsBounds(
    min_rows=20, min_subjects=4, max_reject_share=0.0, operators=("clean", "mix", *GRID), grid=GRID
)


def identity(*key: object) -> str:
    return hashlib.sha256(repr(key).encode()).hexdigest()


@pytest.fixture
def aligned() -> pd.DataFrame:
    person = np.arange(len(SPLITS) * FACES_EACH) // FACES_EACH
    rows = len(person)
    frame = pd.DataFrame(
        {
            "face_id": [identity(i) for i in range(rows)],
            "subject_id": [f"p{i}" for i in person],
            "source": "made",
            "name": [f"{i}.png" for i in range(rows)],
            "licence": "CC0-1.0",
            "split": [SPLITS[i] for i in person],
            "width": np.full(rows, 112, np.int32),
            "height": np.full(rows, 112, np.int32),
            "landmarks": list(np.full((rows, 10), 56, np.float32)),
            "q_brightness": np.linspace(0.42, 0.58, rows, dtype=np.float32),
            "q_sharpness": np.linspace(0.3, 0.9, rows, dtype=np.float32),
        }
    )
    return frame.sort_values("face_id", ignore_index=True)


@pytest.fixture
def variants(aligned: pd.DataFrame) -> pd.DataFrame:
    """Every test face in every cell of the grid, and one random variant of each training face."""
    cells = [(name, severity) for name, severities in GRID.items() for severity in severities]
    test, train = aligned[aligned["split"] == "test"], aligned[aligned["split"] == "train"]
    parts = [test.assign(d_operator=name, d_severity=severity) for name, severity in cells]
    frame = pd.concat([*parts, train.assign(d_operator="mix", d_severity=0)], ignore_index=True)
    frame = frame.assign(parent_id=frame["face_id"], d_params="{}", d_seed=np.arange(len(frame)))
    cells = zip(frame["parent_id"], frame["d_operator"], frame["d_seed"], strict=True)
    frame["face_id"] = [f"{parent}-{operator}-{number}" for parent, operator, number in cells]
    return frame.sort_values("face_id", ignore_index=True)


def only_failure(result: GateResult) -> Check:
    assert [check.name for check in result.failed] == [result.failed[0].name]
    assert result.success == (result.failed[0].severity == "warning")
    return result.failed[0]


def named(check: Check) -> set[str]:
    return {failing.face_id for failing in check.failing}


def test_good_tables_pass(aligned: pd.DataFrame, variants: pd.DataFrame, capfd: pytest.CaptureFixture[str]) -> None:
    results = [
        validate("faces", aligned, FACES, 3),
        validate("aligned", aligned, ALIGNED, 0),
        validate("variants", variants, VARIANTS, 0, parents=aligned),
    ]
    assert [result.failed for result in results] == [(), (), ()]
    assert all(result.success for result in results)
    assert results[0].splits == {"train": 30, "val": 10, "test": 20, "transfer": 0}
    assert results[2].rows == 3 * 20 + 30
    assert capfd.readouterr() == ("", "")  # no progress bars in a stage's log


# one broken face each: column, value, the check that must name it, and what it must say was found
BROKEN: list[tuple[str, Any, str, Any]] = [
    ("licence", None, "licence is present", None),
    ("split", "holdout", "split is known", "holdout"),
    ("width", 96, "width in bounds", 96),
    ("landmarks", None, "landmarks are whole", "no landmarks"),
    ("landmarks", np.zeros(8), "landmarks are whole", "not five points"),
    ("landmarks", np.full(10, np.nan), "landmarks are whole", "a coordinate is not finite"),
    ("q_sharpness", np.nan, "covariates are finite", "not finite: q_sharpness"),
    ("q_sharpness", np.inf, "covariates are finite", "not finite: q_sharpness"),
    ("q_brightness", 0.99, "q_brightness in range", pytest.approx(0.99)),
]


def test_each_broken_face_is_named(aligned: pd.DataFrame) -> None:
    expected: dict[str, dict[str, object]] = {}
    for row, (column, value, check, found) in enumerate(BROKEN):
        aligned.at[row, column] = value
        expected.setdefault(check, {})[aligned.at[row, "face_id"]] = found
    result = validate("aligned", aligned, ALIGNED, 0)
    failed = {check.name: check for check in result.failed}
    assert not result.success
    assert set(failed) == {*expected, "no person in two splits"}
    for name, faces in expected.items():
        assert {failing.face_id: failing.value for failing in failed[name].failing} == faces
        assert failed[name].failing_count == len(faces)
    page = to_html(result)
    assert all(aligned.at[row, "face_id"] in page for row in range(len(BROKEN)))


def test_leakage_names_every_face_of_the_person(aligned: pd.DataFrame) -> None:
    person = aligned["subject_id"] == "p0"
    aligned.loc[person.idxmax(), "split"] = "test"
    check = only_failure(validate("faces", aligned, FACES, 0))
    assert check.name == "no person in two splits"
    assert named(check) == set(aligned.loc[person, "face_id"])
    assert check.failing[0].value == "this person is in test and train"


def test_ids_are_unique_hashes_and_never_missing(aligned: pd.DataFrame) -> None:
    aligned.loc[1, "face_id"] = aligned.loc[0, "face_id"]
    aligned.loc[2, "face_id"] = "<b>me</b>"
    aligned.loc[3, "face_id"] = None
    result = validate("faces", aligned, FACES, 0)
    failed = {check.name: check for check in result.failed}
    assert set(failed) == {"face_id is unique", "face_id is a hash", "face_id is present"}
    assert failed["face_id is unique"].failing_count == 2
    assert named(failed["face_id is a hash"]) == {"<b>me</b>"}
    assert named(failed["face_id is present"]) == {"row 3"}
    assert "<b>me" not in to_html(result)


def test_a_small_table_and_a_lost_column_fail_without_an_exception(aligned: pd.DataFrame) -> None:
    small = aligned[aligned["split"] != "test"].drop(columns="height")
    failed = {check.name: check for check in validate("faces", small, FACES, 5).failed}
    assert set(failed) == {
        "enough faces", "enough people", "few rejects", "enough test faces", "height is present",
    }  # fmt: skip
    assert failed["few rejects"].observed == pytest.approx(5 / 45)
    assert failed["enough people"].observed == 8
    assert failed["height is present"].failing_count == 40
    assert len(failed["height is present"].failing) == 20
    assert not validate("aligned", aligned[:0], ALIGNED, 0).success


def test_compared_people_need_a_pair_of_each_kind(aligned: pd.DataFrame) -> None:
    bounds = replace(FACES, min_rows=1, min_subjects=1, min_faces_per_split={}, compared_splits=("val", "test"))
    assert validate("faces", aligned, bounds, 0).success
    alone = aligned[(aligned["split"] != "val") | (aligned["subject_id"] == "p6")]
    assert only_failure(validate("faces", alone, bounds, 0)).name == "enough val people"
    singles = aligned[(aligned["split"] != "test") | ~aligned.duplicated("subject_id")]
    check = only_failure(validate("faces", singles, bounds, 0))
    assert (check.name, check.observed) == ("most faces of a test person", 1)
    nobody = aligned[aligned["split"] != "val"]
    assert [c.name for c in validate("faces", nobody, bounds, 0).failed] == [
        "enough val people",
        "most faces of a val person",
    ]


def test_only_what_failed_the_gate_is_complained_of(aligned: pd.DataFrame) -> None:
    aligned["q_brightness"] = np.float32(0.7)  # a warning
    aligned.loc[0, "licence"] = None
    result = validate("aligned", aligned, replace(ALIGNED, min_rows=61), 0)
    assert result.complaint({"enough faces": "(rows)"}) == (
        "enough faces: 60, at least 61 (rows); licence is present: 1 face at fault, no missing value"
    )


def test_a_shift_of_many_faces_fails_and_a_warning_does_not(aligned: pd.DataFrame) -> None:
    aligned.loc[:5, "q_sharpness"] = 0.1
    held = validate("aligned", aligned, ALIGNED, 0)
    assert held.success  # six of sixty are the tolerated tenth
    aligned.loc[6, "q_sharpness"] = 0.1
    check = only_failure(validate("aligned", aligned, ALIGNED, 0))
    assert (check.name, check.failing_count) == ("q_sharpness mostly typical", 7)
    aligned["q_sharpness"] = np.float32(0.5)
    aligned["q_brightness"] = np.float32(0.7)
    assert only_failure(validate("aligned", aligned, ALIGNED, 0)).severity == "warning"


def test_variants_keep_their_parents_and_a_balanced_grid(aligned: pd.DataFrame, variants: pd.DataFrame) -> None:
    training = variants.index[variants["d_operator"] == "mix"]
    cell = variants.index[(variants["d_operator"] == "blur") & (variants["d_severity"] == 2)]
    orphan, moved, lost = training[0], training[1], cell[0]
    variants.loc[orphan, "parent_id"] = identity("nobody")
    variants.loc[moved, "split"] = "val"
    variants.loc[training[2], "d_operator"] = "rain"
    siblings = variants.index[variants["parent_id"] == variants.at[lost, "parent_id"]].drop(lost)
    broken = variants.drop(index=lost)
    failed = {c.name: c for c in validate("variants", broken, VARIANTS, 0, parents=aligned).failed}
    assert set(failed) == {
        "parent exists", "no person in two splits", "operator is declared", "grid is balanced",
    }  # fmt: skip
    assert {f.face_id: f.value for f in failed["parent exists"].failing} == {
        variants.at[orphan, "face_id"]: "parent is not in the table",
        variants.at[moved, "face_id"]: "not the split of its parent",
    }
    assert named(failed["grid is balanced"]) == set(variants.loc[siblings, "face_id"])
    assert failed["grid is balanced"].failing[0].value == "its parent is missing from blur 2"


def test_a_lost_cell_is_found(aligned: pd.DataFrame, variants: pd.DataFrame) -> None:
    broken = variants[variants["d_operator"] != "noise"]
    result = validate("variants", broken, VARIANTS, 0, parents=aligned)
    failed = {check.name: check for check in result.failed}
    assert set(failed) == {"grid is complete", "grid is balanced"}
    assert failed["grid is complete"].observed == "without noise 3"
    assert failed["grid is balanced"].failing_count == 40


def test_reports_are_offline_deterministic_and_strict(aligned: pd.DataFrame) -> None:
    aligned.loc[3, "q_brightness"] = np.inf
    result, again = (validate("aligned", frame, ALIGNED, 0) for frame in (aligned, aligned.copy()))
    page = to_html(result)
    assert page == to_html(again)
    assert not any(outside in page for outside in ("http", "src=", "<link", "@import"))
    report = json.loads(to_json(result), parse_constant=lambda token: pytest.fail(f"{token} is not JSON"))
    failed = {check["name"]: check for check in report["checks"] if not check["success"]}
    assert failed["q_brightness in range"]["failing"] == [{"face_id": aligned.at[3, "face_id"], "value": "inf"}]


def test_bad_settings_are_refused(aligned: pd.DataFrame) -> None:
    with pytest.raises(ConfigError, match="no suite"):
        validate("pairs", aligned, FACES, 0)
    with pytest.raises(ConfigError, match="parents"):
        validate("variants", aligned, VARIANTS, 0)
    with pytest.raises(ConfigError, match="low <= high"):
        Band(1.0, 0.0)
    with pytest.raises(ConfigError, match="holdout"):
        replace(FACES, min_faces_per_split={"holdout": 1})
    assert "image" not in metadata_columns(CORE.names)
