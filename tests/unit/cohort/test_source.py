"""The cohort as a source: the same bytes however it is read, and labels that fit the pictures."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from stages import ingest
from stages.lib.classes import Label
from stages.lib.codec import decode, decode_classes
from stages.lib.cohort.landmarks import LEFT_MOUTH, RIGHT_MOUTH
from stages.lib.cohort.shot import Ranges
from stages.lib.cohort.source import CohortSource, Recipe
from stages.lib.runtime import Runtime
from stages.lib.sources.base import Record
from stages.params import load

RECIPE = Recipe(
    seed=5, identities=5, test_identities=2, shots=4, size=64, spread=1.0, ranges=Ranges(mask_rate=0.5, yaw_sd=10.0)
)


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return list(CohortSource(RECIPE, "cpu").read(0, 99))


def test_pictures_do_not_depend_on_how_they_are_read(records: list[Record]) -> None:
    source = pickle.loads(pickle.dumps(CohortSource(RECIPE, "cpu")))
    assert len(records) == len(source) == 20
    pieces = [record for start, stop in ((0, 1), (1, 7), (7, 20)) for record in source.read(start, stop)]
    assert [r.name for r in pieces] == [r.name for r in records]
    for one, other in zip(pieces, records, strict=True):
        assert one.image == other.image
        assert one.labels == other.labels


def test_people_and_shots_differ(records: list[Record]) -> None:
    assert len({r.image for r in records}) == 20
    assert [r.subject for r in records] == [f"{n:06d}" for n in range(5) for _ in range(4)]
    assert [r.split for r in records] == ["test"] * 8 + ["train"] * 12


def test_labels_fit_the_pictures(records: list[Record]) -> None:
    worn = 0
    for record in records:
        pixels, classes = decode(record.image), decode_classes(record.labels["segmentation"])  # type: ignore[arg-type]
        assert pixels.shape == (64, 64, 3)
        assert classes.shape == (64, 64)
        assert classes.max() < len(Label)
        assert (Label.MASK in classes) == record.labels["mask_worn"]
        points = np.reshape(record.labels["landmarks68"], (68, 2))  # type: ignore[arg-type]
        visible = np.asarray(record.labels["visible68"])
        assert record.landmarks is not None
        assert record.landmarks[3:] == pytest.approx(points[[RIGHT_MOUTH, LEFT_MOUTH]])
        if record.labels["mask_worn"]:
            worn += 1
            assert not visible[48:68].any()
        column, row = np.floor(points[visible]).astype(int).T
        assert (classes[row, column] != Label.MASK).all()
        recipe = json.loads(str(record.labels["recipe"]))
        assert recipe["pose"]["yaw"] == record.labels["yaw"]
    assert 4 <= worn <= 16


def test_pairs_name_test_pictures(records: list[Record]) -> None:
    known = {r.name: r for r in records if r.split == "test"}
    pairs = list(CohortSource(RECIPE, "cpu").pairs())
    assert pairs
    for pair in pairs:
        assert pair.same == (known[pair.name_a].subject == known[pair.name_b].subject)


def test_workers_do_not_change_the_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = load().ingest
    cohort = params.cohort.model_copy(update={"identities": 4, "test_identities": 2, "shots": 3, "size": 64})
    params = params.model_copy(update={"source": "cohort", "more": (), "cohort": cohort})
    monkeypatch.setattr(ingest, "RENDERED", 5)  # blocks that end within a person
    made = [
        ingest.run(params, tmp_path / f"by-{workers}", Runtime("cpu", 1, workers, tmp_path / "scratch"))
        for workers in (1, 2)
    ]
    assert made[0].content_id == made[1].content_id
    assert made[0].rows == 12
