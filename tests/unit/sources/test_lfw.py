"""LFW: lists, folds and landmarks on a small copy of the layout, and the counts of the real set."""

from __future__ import annotations

import csv
import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stages.lib.errors import ConfigError
from stages.lib.sources import Record, crop_landmarks, open_source
from stages.lib.sources.lfw import LFW_CROP_LANDMARKS

HEADER = "image,person,re_x,re_y,le_x,le_y,nose_x,nose_y,rm_x,rm_y,lm_x,lm_y,score"


@pytest.fixture
def lfw(tmp_path: Path) -> Path:
    for name, count in {"Ann": 3, "Bob_Ray": 2, "Cy": 1}.items():
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(1, count + 1):
            (tmp_path / f"images/{name}/{name}_{number:04d}.jpg").write_bytes(f"{name}{number}".encode())
    (tmp_path / "peopleDevTrain.txt").write_text("2\nAnn\t3\nCy\t1\n")
    (tmp_path / "peopleDevTest.txt").write_text("1\nBob_Ray\t2\n")
    (tmp_path / "pairsDevTest.txt").write_text("2\nAnn\t1\t2\nBob_Ray\t1\t2\nAnn\t1\tCy\t1\nAnn\t3\tCy\t1\n")
    (tmp_path / "pairs.txt").write_text("2\t1\nAnn\t1\t3\nAnn\t2\tCy\t1\nBob_Ray\t1\t2\nCy\t1\tBob_Ray\t2\n")
    return tmp_path


def _all(path: Path) -> list[Record]:
    source = pickle.loads(pickle.dumps(open_source("lfw", path)))
    return [r for r in source.read(0, len(source)) if isinstance(r, Record)]


@pytest.mark.parametrize("direct", [False, True])
def test_both_layouts(lfw: Path, direct: bool) -> None:
    if direct:
        for folder in (lfw / "images").iterdir():
            folder.rename(lfw / folder.name)
        (lfw / "images").rmdir()
    records = _all(lfw)
    assert [(r.name, r.subject, r.split) for r in records][2:5] == [
        ("Ann/Ann_0003.jpg", "Ann", "train"),
        ("Bob_Ray/Bob_Ray_0001.jpg", "Bob_Ray", "test"),
        ("Bob_Ray/Bob_Ray_0002.jpg", "Bob_Ray", "test"),
    ]
    assert len(records) == 6 and records[5].image == b"Cy1"
    assert {(r.landmarks, r.landmarks_from) for r in records} == {(None, None)}


def test_pairs_of_both_views(lfw: Path) -> None:
    pairs = [(p.protocol, p.name_a[:3] + p.name_a[-5], p.name_b[:3] + p.name_b[-5], p.same, p.fold)
             for p in open_source("lfw", lfw).pairs()]  # fmt: skip
    assert pairs == [
        ("lfw-view1-test", "Ann1", "Ann2", True, 0),
        ("lfw-view1-test", "Bob1", "Bob2", True, 5),
        ("lfw-view1-test", "Ann1", "Cy/1", False, 0),
        ("lfw-view1-test", "Ann3", "Cy/1", False, 5),
        ("lfw-view2", "Ann1", "Ann3", True, 0),
        ("lfw-view2", "Ann2", "Cy/1", False, 0),
        ("lfw-view2", "Bob1", "Bob2", True, 1),
        ("lfw-view2", "Cy/1", "Bob2", False, 1),
    ]


def test_landmarks_of_the_images_that_the_file_lists(lfw: Path) -> None:
    (lfw / "landmarks5.csv").write_text(f"{HEADER}\nCy/Cy_0001.jpg,Cy,1,2,3,4,5,6,7,8,9,10.5,0.9\n")
    *others, last = _all(lfw)
    assert last.landmarks is not None and last.landmarks_from == "source"
    assert last.landmarks.tolist() == [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10.5]]
    assert last.landmarks.dtype == np.float32
    assert all(r.landmarks is None and r.landmarks_from is None for r in others)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("peopleDevTest.txt", "1\nCy\t1\n", "names Cy, who is also in the other"),
        ("peopleDevTest.txt", "2\nBob_Ray\t2\n", "announces 2 people and lists 1"),
        ("peopleDevTest.txt", None, "peopleDevTest.txt is missing beside peopleDevTrain.txt"),
        ("peopleDevTrain.txt", "1\nAnn\t3\n", "1 people .* in neither .* the first Cy"),
        ("pairs.txt", "2\t1\nAnn\t1\t3\n", "announces other numbers of pairs than its 1"),
        ("pairs.txt", "1\t1\nAnn\t1\t3\nAnn\t2\tCy\n", r"line 3: not `name1 n1 name2 n2`"),
        ("pairs.txt", "", "first line should be a count"),
        ("landmarks5.csv", "image,re_x\n", "lacks the columns le_x"),
        ("landmarks5.csv", f"{HEADER}\nCy/Cy_0001.jpg,Cy,1,2,nan,4,5,6,7,8,9,10,1\n", "line 2: a coordinate"),
        ("landmarks5.csv", f"{HEADER}\nCy/Cy_0001.jpg,Cy,1,2\n", "line 2: a coordinate"),
    ],
)
def test_damaged_lists_name_the_file(lfw: Path, file: str, text: str | None, message: str) -> None:
    if text is None:
        (lfw / file).unlink()
    else:
        (lfw / file).write_text(text)
    with pytest.raises(ConfigError, match=message):
        open_source("lfw", lfw)


def test_without_lists_there_is_no_split_and_a_warning(lfw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _all(lfw)
    assert capsys.readouterr().err == ""
    for path in lfw.glob("*.txt"):
        path.unlink()
    assert {r.split for r in _all(lfw)} == {None}
    (warning,) = capsys.readouterr().err.splitlines()
    assert f"neither peopleDevTrain.txt nor peopleDevTest.txt lies in {lfw}" in warning


def test_real_set(real: Callable[[str], Path]) -> None:
    folder = real("lfw")
    source = open_source("lfw", folder)
    pairs = list(source.pairs())
    assert Counter((p.protocol, p.same) for p in pairs) == {
        ("lfw-view1-train", True): 1100, ("lfw-view1-train", False): 1100, ("lfw-view1-test", True): 500,
        ("lfw-view1-test", False): 500, ("lfw-view2", True): 3000, ("lfw-view2", False): 3000,
    }  # fmt: skip
    assert set(Counter((p.fold, p.same) for p in pairs if p.protocol == "lfw-view1-test").values()) == {50}
    assert set(Counter((p.fold, p.same) for p in pairs if p.protocol == "lfw-view2").values()) == {300}
    present = {path.relative_to(folder / "images").as_posix() for path in folder.glob("images/*/*.jpg")}
    assert len(source) == len(present) == 13233
    assert {name for p in pairs for name in (p.name_a, p.name_b)} <= present
    assert all(p.same == (p.name_a.split("/")[0] == p.name_b.split("/")[0]) for p in pairs)


def test_real_splits_and_landmarks_read_a_second_way(real: Callable[[str], Path]) -> None:
    folder = real("lfw")
    source = open_source("lfw", folder)
    rows = {row["image"]: row for row in csv.DictReader((folder / "landmarks5.csv").open())}
    train = {line.split("\t")[0] for line in (folder / "peopleDevTrain.txt").read_text().splitlines()[1:]}
    for place in range(0, len(source), 300):
        (record,) = source.read(place, place + 1)
        assert isinstance(record, Record) and record.landmarks is not None
        assert record.split == ("train" if record.subject in train else "test")
        expected = [float(value) for value in list(rows[record.name].values())[2:12]]
        assert np.allclose(record.landmarks.ravel(), expected)
    middle = np.median([[float(v) for v in list(row.values())[2:12]] for row in rows.values()], axis=0)
    assert np.abs(middle - LFW_CROP_LANDMARKS.ravel()).max() < 0.01


def test_stand_in_points_of_the_crop_and_of_the_full_image() -> None:
    crop, full, other = (crop_landmarks("lfw", size) for size in (None, (250, 250), (85, 85)))
    assert crop is not None and full is not None and other is not None
    assert (crop[0], full[0], other[0]) == ((170, 170), (250, 250), (170, 170))
    assert np.allclose(full[1] - crop[1], 40)
    assert crop_landmarks("folder") is None
