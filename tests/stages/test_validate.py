"""A gate leaves its token only while it passes."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from stages.lib.errors import ConfigError, GateFailed
from stages.lib.table import Table
from stages.params import Range, Validate
from stages.validate import run

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
    with pytest.raises(GateFailed, match=r"q_brightness in range.*report\.html") as failure:
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
    with pytest.raises(GateFailed, match=f"failed enough {lost} faces;"):
        run(PARAMS, {}, "faces", table.path, None, tmp_path / "gate")


def test_variants_are_held_against_their_grid(aligned: Table, tmp_path: Path) -> None:
    with pytest.raises(GateFailed, match="parent"):
        run(PARAMS, {"blur": (2,)}, "variants", aligned.path, aligned.path, tmp_path / "gate")


def test_a_damaged_table_is_no_verdict(aligned: Table, tmp_path: Path) -> None:
    shard = aligned.shards[0].path
    shard.write_bytes(shard.read_bytes() + b"x")
    with pytest.raises(ConfigError, match=shard.name):
        run(PARAMS, {}, "aligned", aligned.path, None, tmp_path / "gate")
    assert not (tmp_path / "gate" / "token.json").exists()
