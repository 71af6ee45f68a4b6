"""Maps of covers against segmentations, in plain loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from stages.lib.classes import UNKNOWN, Label
from stages.lib.codec import encode_png
from stages.lib.deploy.session import Inspection
from stages.lib.report.candidates import Candidate
from stages.lib.report.conditions import Condition
from stages.lib.report.covers import Covers, look_for_covers, measure_covers
from stages.lib.report.trial import Trial
from stages.lib.runtime import Runtime
from stages.lib.table import Table, conform, publish, reject_rows, write_parquet

EVERY = ds.field("split") == "test"


class Bright:
    """Calls a cell covered as far as its red is bright."""

    def __init__(self, tells: bool) -> None:
        self.tells_occlusion = tells

    def inspect(self, faces):
        maps = faces[..., 0].reshape(len(faces), 7, 16, 7, 16).mean(axis=(2, 4), dtype=np.float32) / 255
        return Inspection(np.empty((len(faces), 0), np.float32), np.empty(len(faces), np.float32), maps)


def candidate(name: str, role: str, tells: bool) -> Candidate:
    return Candidate(name, role, 1, (), name, lambda: Bright(tells), 1.0, 1)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    """Four faces whose lower rows are red from row 112, 80, 56 and 64; the truth: none, 48 rows, 56 rows, unknown."""
    folder = tmp_path_factory.mktemp("covers") / "faces"
    rows = []
    for number, (red, truth) in enumerate([(112, 112), (80, 64), (56, 56), (64, None)]):
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


def test_students_with_a_map_are_held_against_the_segmentation(table: Table, tmp_path: Path) -> None:
    models = [candidate("unified", "student", True), candidate("control", "student", False)]
    models.append(candidate("teacher", "teacher", True))
    found = look_for_covers(table, EVERY, models, Runtime("cpu", 1, 1, tmp_path), "covers")
    assert list(found) == ["unified"]
    covers = found["unified"]
    np.testing.assert_allclose(covers.found, [0, 32 / 112, 56 / 112, 48 / 112], atol=1e-6)
    np.testing.assert_allclose(covers.true, [0, 48 / 112, 56 / 112, np.nan])
    # a row of cells is covered if more than half of its 16 rows are: of face 1 the last two and in truth the last
    # three, of face 2 the fourth row is covered by half, which is not more
    np.testing.assert_allclose(covers.right, [1, 6 / 7, 1, np.nan])


def test_figures_and_resamples_equal_plain_loops() -> None:
    draw = np.random.default_rng(0)
    subject = np.array([0, 0, 1, 1, 2, 2, 3])
    trial = Trial.of(subject, 100, 40, 0)
    clean = Covers(draw.uniform(0, 0.3, 9).round(1), np.full(9, 0.9), np.zeros(9))
    hidden = Covers(draw.uniform(0, 0.5, 8).round(1), draw.uniform(size=8), np.full(8, 0.3))
    hidden.true[2] = hidden.right[2] = np.nan
    cell = Condition("mask-2", "mask", 2, np.arange(2, 9), np.array([1, 0, 2, 3, 4, 7, 6]))
    blank = Condition("blur-1", "blur", 1, cell.templates, cell.templates - 2)
    same = Covers(clean.found, clean.right, clean.true)
    found = measure_covers(clean, hidden, [cell], trial)
    assert set(found) == {"clean", "mask-2"}
    assert "cover_auc" not in found["clean"].values
    assert "cover_auc" not in measure_covers(clean, same, [blank], trial)["blur-1"].values  # nothing was drawn

    bare, covered = clean.found[cell.templates], hidden.found[cell.probes]
    for number, weights in enumerate([np.ones(4, int), *trial.weights]):
        faces = [i for i, s in enumerate(subject) for _ in range(weights[s])]
        wins = [float(covered[i] > bare[j]) + 0.5 * float(covered[i] == bare[j]) for i in faces for j in faces]
        right = [hidden.right[cell.probes[i]] for i in faces if cell.probes[i] != 2]
        measured = found["mask-2"]
        got = {m: v if number == 0 else measured.replicates[m][number - 1] for m, v in measured.values.items()}
        assert got["cover_auc"] == pytest.approx(np.mean(wins))
        assert got["cover_right"] == pytest.approx(np.mean(right))
        assert got["cover_found"] == pytest.approx(np.mean(covered[faces]))


def test_photographs_without_a_segmentation_have_a_found_share_only() -> None:
    unknown = np.full(4, np.nan)
    trial = Trial.of(np.array([0, 0, 1, 1]), 10, 5, 0)
    found = measure_covers(Covers(np.full(4, 0.1), unknown, unknown), Covers(*[np.empty(0)] * 3), [], trial)
    assert found["clean"].values == {"cover_found": pytest.approx(0.1)}
