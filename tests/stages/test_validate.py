"""A gate leaves its token only while it passes."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from stages import synthesize
from stages.lib.errors import ConfigError, GateFailed
from stages.lib.runtime import Runtime
from stages.lib.table import Table, reject_rows
from stages.params import Range, Synthesize, Validate
from stages.validate import advice, run

SPLITS = ("train", "train", "val", "val", "test", "test")
PARAMS = Validate(min_rows=18, min_subjects=6, max_reject_share=0.0, ranges={"q_brightness": Range(0.0, 1.0)})


@pytest.fixture
def aligned(make_table: Callable[..., Table], face_rows: Callable[..., Any]) -> Table:
    return make_table(face_rows())


def test_a_failed_gate_takes_an_older_token_away(aligned: Table, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    assert "18 faces passed" in run(PARAMS, {}, "aligned", aligned.path, None, gate)
    token = json.loads((gate / "token.json").read_text())
    assert token == {"table": "aligned", "content_id": aligned.content_id}
    passed = (gate / "token.json").read_bytes()

    narrow = PARAMS.model_copy(update={"ranges": {"q_brightness": Range(0.0, 0.5)}})
    with pytest.raises(
        GateFailed,
        match=r"in range: \d+ faces at fault, 0 to 0\.5 .validate\.ranges\.q_brightness.; report: .*report\.html",
    ) as failure:
        run(narrow, {}, "aligned", aligned.path, None, gate)
    assert failure.value.exit_code == 3
    assert sorted(file.name for file in gate.iterdir()) == ["report.html", "report.json"]
    assert not json.loads((gate / "report.json").read_text())["success"]

    looser = PARAMS.model_copy(update={"min_rows": 1})
    run(looser, {}, "aligned", aligned.path, None, gate)
    assert (gate / "token.json").read_bytes() == passed  # a bound that still passes makes nothing stale


def test_a_range_may_let_a_share_of_the_faces_out(aligned: Table, tmp_path: Path) -> None:
    outside = sum(value > 0.8 for value in aligned.read(["q_brightness"])["q_brightness"].to_pylist())
    assert 0 < outside < aligned.rows
    inside = 1 - outside / aligned.rows
    for mostly, passes in ((inside - 0.01, True), (inside + 0.01, False)):
        ranges = {"q_brightness": Range(0.0, 0.8, mostly)}
        with nullcontext() if passes else pytest.raises(GateFailed, match="q_brightness in range"):
            run(PARAMS.model_copy(update={"ranges": ranges}), {}, "aligned", aligned.path, None, tmp_path / "gate")


@pytest.mark.parametrize("lost", ["train", "val", "test"])
def test_a_table_without_one_of_the_splits_fails(
    lost: str, make_table: Callable[..., Table], face_rows: Callable[..., Any], tmp_path: Path
) -> None:
    other = {"train": "val", "val": "train", "test": "val"}[lost]
    table = make_table(face_rows([other if split == lost else split for split in SPLITS]))
    with pytest.raises(GateFailed, match=f"failed: .*enough {lost} (faces|people): 0, at least [12] .ingest"):
        run(PARAMS, {}, "faces", table.path, None, tmp_path / "gate")


@pytest.mark.parametrize(
    ("split", "found"),
    [
        ("val", "enough val people: 1, at least 2 (ingest.val_fraction)"),
        ("test", "enough test people: 1, at least 2 (ingest.test_fraction"),
    ],
)
def test_people_too_few_to_compare_are_found_before_anything_is_trained(
    split: str, found: str, make_table: Callable[..., Table], face_rows: Callable[..., Any], tmp_path: Path
) -> None:
    one = list(SPLITS)
    one[one.index(split)] = "train"
    table = make_table(face_rows(one))
    with pytest.raises(GateFailed) as failure:
        run(PARAMS, {}, "faces", table.path, None, tmp_path / "gate")
    assert found in str(failure.value)


def test_a_failed_gate_says_what_was_found_and_where_to_turn(
    make_table: Callable[..., Table], face_rows: Callable[..., Any], tmp_path: Path
) -> None:
    rejects = reject_rows("made", [("p0/9.png", None, "p0", "no image")])
    table = make_table(face_rows(each=1), rejects=rejects)
    with pytest.raises(GateFailed) as failure:
        run(PARAMS, {}, "faces", table.path, None, tmp_path / "gate")
    assert str(failure.value) == (
        f"{table.path} failed: enough faces: 6, at least 18 (validate.min_rows); "
        f"few rejects: 0.1429, at most 0 (validate.max_reject_share), see {table.path / 'rejects.parquet'}; "
        "most faces of a val person: 1, at least 2 (ingest.val_fraction); "
        "most faces of a test person: 1, at least 2 "
        "(ingest.test_fraction or, of a cohort, ingest.cohort.test_identities); "
        f"report: {tmp_path / 'gate' / 'report.html'}"
    )


def test_advice_is_given_for_checks_that_there_are(aligned: Table, tmp_path: Path) -> None:
    run(PARAMS, {}, "aligned", aligned.path, None, tmp_path / "gate")
    checks = json.loads((tmp_path / "gate" / "report.json").read_text())["checks"]
    assert set(advice(PARAMS, aligned.path)) <= {check["name"] for check in checks}


@pytest.mark.parametrize("part", ["variants", "grid"])
def test_degraded_faces_are_held_against_their_parents_and_rules(
    part: synthesize.Part, aligned: Table, runtime: Runtime, tmp_path: Path
) -> None:
    about = {"seed": 1, "grid_faces": 2, "probabilities": {"jpeg": 1.0}, "grid": {"blur": (2,)}, "variants": 1}
    made = synthesize.run(part, Synthesize.model_validate(about), aligned.path, tmp_path / part, runtime)
    gate = tmp_path / "gate"
    assert "faces passed" in run(PARAMS, {"blur": (2,)}, part, made.path, aligned.path, gate)  # few are enough here
    with pytest.raises(GateFailed, match="parent"):
        run(PARAMS, {"blur": (2,)}, part, aligned.path, aligned.path, gate)
    if part == "grid":
        with pytest.raises(GateFailed, match="grid is complete"):
            run(PARAMS, {"blur": (2, 3)}, part, made.path, aligned.path, gate)
    none = Synthesize.model_validate({**about, "variants": 0})
    empty = synthesize.run("variants", none, aligned.path, tmp_path / "empty", runtime)
    assert "0 faces passed" in run(PARAMS, {"blur": (2,)}, "variants", empty.path, aligned.path, gate)


def test_a_damaged_table_is_no_verdict(aligned: Table, tmp_path: Path) -> None:
    shard = aligned.shards[0].path
    shard.write_bytes(shard.read_bytes() + b"x")
    with pytest.raises(ConfigError, match=shard.name):
        run(PARAMS, {}, "aligned", aligned.path, None, tmp_path / "gate")
    assert not (tmp_path / "gate" / "token.json").exists()
