"""The grid is of test people only, variants of the others only, and each says how it was made."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from stages import synthesize
from stages.lib.classes import UNKNOWN, Label
from stages.lib.codec import decode, decode_classes, encode_png
from stages.lib.degrade.chain import replay
from stages.lib.runtime import Runtime
from stages.lib.table import Table
from stages.params import Synthesize

Make = Callable[..., Any]
GRID = {"blur": (2, 4), "mask": (1,)}
PARAMS = Synthesize(
    seed=1, grid=GRID, grid_faces=100, variants=11, probabilities={"noise": 0.5, "mask": 0.3, "jpeg": 0.5}
)
EACH = 3
PARTS: tuple[synthesize.Part, ...] = ("grid", "variants")


def test_rows_of_the_grid_and_of_training(
    face_rows: Make, make_table: Make, runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aligned: Table = make_table(face_rows())
    tables = [synthesize.run(part, PARAMS, aligned.path, tmp_path / part, runtime) for part in PARTS]
    rows = [row for table in tables for row in table.read(table.columns).to_pylist()]
    parents = {row["face_id"]: row for row in aligned.read(aligned.columns).to_pylist()}
    cells = Counter((row["split"], row["d_operator"], row["d_severity"]) for row in rows)
    assert cells == {
        **{("test", operator, level): 2 * EACH for operator, levels in GRID.items() for level in levels},
        **{(split, "random", 0): 2 * EACH * PARAMS.variants for split in ("train", "val")},
    }
    for table in tables:
        ids = table.read(["face_id"])["face_id"].to_pylist()
        assert ids == sorted(set(ids))
        assert not [name for name in table.columns if name.startswith("q_")]  # those are the clean parent's
    for row in rows:
        parent = parents[row["parent_id"]]
        assert (row["subject_id"], row["split"]) == (parent["subject_id"], parent["split"])
        assert row["d_seed"] == 1
        used = [step["operator"] for step in json.loads(row["d_params"])]
        assert used == [row["d_operator"]] or (row["d_operator"] == "random" and set(used) <= set(PARAMS.probabilities))
        assert row["mask_worn"] == ("mask" in used)

    some = rows[::7]
    clean = torch.from_numpy(np.stack([decode(parents[row["parent_id"]]["image"]) for row in some]))
    points = np.array([row["landmarks"] for row in some], np.float32).reshape(-1, 5, 2)
    again = replay(clean.permute(0, 3, 1, 2), points, [row["d_params"] for row in some])
    stored = np.stack([decode(row["image"]) for row in some])
    np.testing.assert_array_equal(again.permute(0, 2, 3, 1).numpy(), stored)

    monkeypatch.setattr(synthesize, "BATCH", 2)
    for part, table in zip(PARTS, tables, strict=True):
        assert synthesize.run(part, PARAMS, aligned.path, tmp_path / "again", runtime).content_id == table.content_id


def test_the_grid_takes_whole_people_up_to_its_limit(
    face_rows: Make, make_table: Make, runtime: Runtime, tmp_path: Path
) -> None:
    aligned = make_table(face_rows(splits=["test"] * 5))
    params = PARAMS.model_copy(update={"grid": {"blur": (1,)}, "grid_faces": 3 * EACH + 1, "variants": 0})
    table = synthesize.run("grid", params, aligned.path, tmp_path / "grid", runtime)
    people = Counter(table.read(["subject_id"])["subject_id"].to_pylist())
    assert sorted(people.values()) == [EACH] * 3


def test_a_shard_without_faces_is_passed_on(
    face_rows: Make, make_table: Make, runtime: Runtime, tmp_path: Path
) -> None:
    rows: pa.Table = face_rows(splits=["train"], each=2)
    aligned = make_table(rows, shards=3)  # the third is empty
    params = PARAMS.model_copy(update={"variants": 1})
    table = synthesize.run("variants", params, aligned.path, tmp_path / "variants", runtime)
    assert [shard.rows for shard in table.shards] == [1, 1, 0]
    assert synthesize.run("grid", params, aligned.path, tmp_path / "grid", runtime).rows == 0
    none = params.model_copy(update={"variants": 0})
    empty = synthesize.run("variants", none, aligned.path, tmp_path / "none", runtime)
    assert (empty.rows, empty.columns) == (0, table.columns)


def test_a_parse_is_moved_and_covered_with_its_face(
    face_rows: Make, make_table: Make, runtime: Runtime, tmp_path: Path
) -> None:
    rows: pa.Table = face_rows(splits=["test", "train"])
    skin = encode_png(np.full((112, 112), Label.SKIN, np.uint8))
    parses = [skin if number % 2 else None for number in range(rows.num_rows)]
    rows = rows.set_column(rows.column_names.index("segmentation"), "segmentation", pa.array(parses, pa.binary()))
    params = PARAMS.model_copy(update={"variants": 3})
    aligned = make_table(rows)
    tables = [synthesize.run(part, params, aligned.path, tmp_path / part, runtime) for part in PARTS]
    parent = dict(zip(rows["face_id"].to_pylist(), parses, strict=True))
    seen: Counter[bool] = Counter()
    for row in (row for table in tables for row in table.read(table.columns).to_pylist()):
        if parent[row["parent_id"]] is not None:
            classes = set(np.unique(decode_classes(row["segmentation"])).tolist())
            assert classes == ({Label.SKIN, Label.MASK} if row["mask_worn"] else {Label.SKIN})
            seen[row["mask_worn"]] += 1
    assert min(seen[True], seen[False]) > 0


def test_what_covers_a_face_is_labelled_where_nothing_else_is_known(
    face_rows: Make, make_table: Make, runtime: Runtime, tmp_path: Path
) -> None:
    rows: pa.Table = face_rows(splits=["test", "train"])
    probabilities = {"mask": 0.5, "occlusion": 0.5, "misalignment": 0.5, "blur": 0.5}
    params = PARAMS.model_copy(update={"variants": 8, "probabilities": probabilities})
    aligned = make_table(rows)
    tables = [synthesize.run(part, params, aligned.path, tmp_path / part, runtime) for part in PARTS]
    classes_of = {"mask": Label.MASK, "occlusion": Label.OCCLUDER}
    seen: Counter[frozenset[str]] = Counter()
    wanted = ["d_params", "segmentation", "landmarks"]
    for row in (row for table in tables for row in table.read(wanted).to_pylist()):
        used = {step["operator"] for step in json.loads(row["d_params"])}
        covering = used & set(classes_of)
        assert (row["segmentation"] is None) == (not covering)
        assert (row["landmarks"] is None) == ("misalignment" in used)
        if covering:
            found = set(np.unique(decode_classes(row["segmentation"])).tolist())
            assert UNKNOWN in found
            # a hand may hide all of a mask, and nothing covers the hand
            assert found - {UNKNOWN} in ([{classes_of[c] for c in covering}, {Label.OCCLUDER}])
            seen[frozenset(used & {*covering, "misalignment"})] += 1
    assert {frozenset(("mask",)), frozenset(("occlusion",)), frozenset(("mask", "misalignment"))} <= set(seen)
