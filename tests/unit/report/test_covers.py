"""Maps of covers against segmentations, in plain loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from stages.lib.classes import UNKNOWN, Label
from stages.lib.codec import decode, encode_png
from stages.lib.deploy.session import Inspection
from stages.lib.report.conditions import Condition
from stages.lib.report.covers import SHARES, judge, judge_covers, measure_covers, read_truth
from stages.lib.report.trial import Trial
from stages.lib.runtime import Runtime
from stages.lib.table import Table, conform, publish, reject_rows, write_parquet

EVERY = ds.field("split") == "test"


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    """Four faces, red from row 112, 80, 56 and 64 down; in truth covered from row 112, 64, 72, and unknown."""
    folder = tmp_path_factory.mktemp("covers") / "faces"
    rows = []
    for number, (red, truth) in enumerate([(112, 112), (80, 64), (56, 72), (64, None)]):
        image, classes = np.zeros((112, 112, 3), np.uint8), np.full((112, 112), UNKNOWN, np.uint8)
        image[red:, :, 0] = 255
        classes[:40] = Label.SKIN
        classes[truth:] = Label.MASK if number == 1 else Label.OCCLUDER
        known = None if truth is None else encode_png(classes)
        about = {"source": "cohort", "split": "test", "licence": "test", "width": 112, "height": 112}
        face = {"face_id": f"f{number}", "subject_id": f"s{number}", "name": f"f{number}", "segmentation": known}
        rows.append({**face, **about, "image": encode_png(image)})
    files = [folder.with_name(f"shard-{i}.parquet") for i in range(2)]
    for file, part in zip(files, (rows[:3], rows[3:]), strict=True):
        write_parquet(conform(pa.Table.from_pylist(part)), file)
    publish(folder, files, reject_rows("test", []))
    return Table.open(folder)


def test_maps_are_held_against_the_segmentation(table: Table, tmp_path: Path) -> None:
    runtime = Runtime("cpu", 1, 1, tmp_path)
    red = np.stack([decode(image)[..., 0] for image in table.read(["image"])["image"].to_pylist()])
    maps = red.reshape(4, 7, 16, 7, 16).mean(axis=(2, 4), dtype=np.float32) / 255
    covers = judge(maps, read_truth(table, EVERY, [(7, 7)], runtime, "covers")[7, 7])
    np.testing.assert_allclose(covers["found"], [0, 32 / 112, 56 / 112, 48 / 112], atol=1e-6)
    np.testing.assert_allclose(covers["true"], [0, 48 / 112, 40 / 112, np.nan])
    # rows of cells, 16 pixels high: in truth the last three of face 1, and of face 2 the last two (the one above is
    # covered by half, which is not more); the map has the last two of face 1 and the last three of face 2
    np.testing.assert_allclose(covers["covered"], [0, 3 / 7, 2 / 7, np.nan])
    np.testing.assert_allclose(covers["hit"], [0, 2 / 7, 2 / 7, np.nan])
    np.testing.assert_allclose(covers["false"], [0, 0, 1 / 7, np.nan])
    nobody = read_truth(table, ds.field("split") == "val", [(7, 7)], runtime, "covers")[7, 7]
    assert judge(maps[:0], nobody).empty
    assert read_truth(table, EVERY, [], runtime, "covers") == {}


def test_a_map_may_have_cells_that_share_pixels(table: Table, tmp_path: Path) -> None:
    truth = read_truth(table, EVERY, [(3, 3), (7, 7)], Runtime("cpu", 1, 1, tmp_path), "covers")[3, 3]
    found = judge(np.zeros((4, 3, 3), np.float32), truth)  # rows of cells: pixels 0 to 37, 37 to 74, 74 to 111
    np.testing.assert_allclose(found["covered"], [0, 1 / 3, 1 / 3, np.nan])


def test_a_model_without_a_map_is_not_judged() -> None:
    silent = Inspection(np.empty((4, 2), np.float32), np.empty(4, np.float32))
    assert judge_covers(silent, silent, {}, {}, [], Trial.of(np.array([0, 0, 1, 1]), 10, 5, 0)) == {}


def test_figures_and_resamples_equal_plain_loops() -> None:
    draw = np.random.default_rng(0)
    trial = Trial.of(np.array([0, 0, 1, 1, 2, 2, 3]), 100, 40, 0)
    clean, hidden = (
        pd.DataFrame(draw.uniform(0, 0.5, (count, len(SHARES))).round(1), columns=SHARES) for count in (9, 8)
    )
    clean["true"], hidden["true"] = 0.0, 0.3
    clean.loc[3, "true"] = 0.2  # came covered: nothing that a drawn cover can be told from
    hidden.loc[2, SHARES[1:]] = np.nan
    cell = Condition("mask-2", "mask", 2, np.arange(2, 9), np.array([1, 0, 2, 3, 4, 7, 6]))
    found = measure_covers(clean, hidden, [cell], trial)
    assert set(found) == {"clean", "mask-2"}
    assert "cover_auc" not in found["clean"].values
    blank = Condition("blur-1", "blur", 1, cell.templates, cell.templates)
    assert "cover_auc" not in measure_covers(clean, clean, [blank], trial)["blur-1"].values  # nothing was drawn

    before, after = clean.iloc[cell.templates].to_dict("records"), hidden.iloc[cell.probes].to_dict("records")
    for number, weights in enumerate([np.ones(4, int), *trial.weights]):
        faces = [i for i, person in enumerate(trial.subject) for _ in range(weights[person])]
        known, bare = ([i for i in faces if drop != i] for drop in (2, 1))
        wins = [
            float(after[i]["found"] > before[j]["found"]) + 0.5 * float(after[i]["found"] == before[j]["found"])
            for i in bare
            for j in bare
        ]
        expected = {
            "cover_auc": np.mean(wins) if wins else np.nan,
            "cover_found": np.mean([after[i]["found"] for i in faces]),
            "cover_true": np.mean([after[i]["true"] for i in known]),
            "cover_recall": sum(after[i]["hit"] for i in known) / sum(after[i]["covered"] for i in known),
            "cover_false": sum(after[i]["false"] for i in known) / sum(1 - after[i]["covered"] for i in known),
        }
        measured = found["mask-2"]
        got = {m: v if number == 0 else measured.replicates[m][number - 1] for m, v in measured.values.items()}
        assert got == pytest.approx(expected, nan_ok=True)


def test_photographs_without_a_segmentation_have_a_found_share_only() -> None:
    clean = pd.DataFrame({"found": [0.1] * 4}, columns=SHARES, dtype=float)
    found = measure_covers(clean, clean.iloc[:0], [], Trial.of(np.array([0, 0, 1, 1]), 10, 5, 0))
    assert found["clean"].values == {"cover_found": pytest.approx(0.1)}
