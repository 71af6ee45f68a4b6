"""FASSEG: who is in it, what its angles and its six classes become, and what is no map."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stages.lib.classes import UNKNOWN, Label
from stages.lib.codec import decode_classes, encode_png
from stages.lib.errors import ConfigError
from stages.lib.sources import Record, Unreadable, open_source
from stages.lib.sources.fasseg import to_classes
from stages.lib.sources.tree import RefusedFile

HEADER = "image,label,subset,split,person,series,yaw,pitch,width,height\n"
ROWS = {
    "images/a.jpg": "images/a.jpg,labels/a.png,multipose01,train,p01,1,30,15,60,100",
    "images/b.jpg": "images/b.jpg,,multipose01,test,p02,1,-90,0,60,100",
    "images/f.jpg": "images/f.jpg,labels/a.png,frontal02,train,,,0,0,60,100",
}
RED, YELLOW, MAROON, BLUE, CYAN, GREEN = (
    (255, 0, 0), (255, 255, 0), (127, 0, 0), (0, 0, 255), (0, 255, 255), (0, 255, 0),
)  # fmt: skip


def painted() -> np.ndarray:
    """A head of 60x100 pixels: eyes at row 40, mouth at row 60, thus a reach of 10 pixels."""
    face = np.full((100, 60, 3), RED, np.uint8)
    face[10:99, 10:50] = YELLOW
    face[10:20, 10:50] = MAROON  # hair
    face[35:37, 18:26] = MAROON  # one brow is drawn, the other not
    face[40, 20:24] = face[40, 36:40] = BLUE
    face[44:54, 28:32] = CYAN
    face[60, 24:36] = GREEN
    return face


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    for name in ROWS:
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "labels/a.png").write_bytes(encode_png(painted()))
    (tmp_path / "index.csv").write_text(HEADER + "\n".join(ROWS.values()) + "\n")
    return tmp_path


def _all(path: Path) -> list[Record | Unreadable]:
    source = pickle.loads(pickle.dumps(open_source("fasseg", path)))
    return list(source.read(0, len(source)))


def test_people_angles_and_maps(folder: Path) -> None:
    a, b = _all(folder)  # the frontal picture is of nobody
    assert isinstance(a, Record) and isinstance(b, Record)
    assert (a.subject, a.split, b.subject, b.split) == ("p01", "train", "p02", "test")
    assert (a.labels["yaw"], a.labels["pitch"]) == (-30, 15), "yaw is to the person's left in the face table"
    assert b.labels == {"yaw": 90, "pitch": 0}, "a face without a map has no segmentation"
    parse = a.labels["segmentation"]
    assert isinstance(parse, bytes)
    assert np.array_equal(decode_classes(parse), to_classes(painted()))


def test_what_the_six_classes_leave_open_is_unknown() -> None:
    classes = to_classes(painted())
    seen = {
        "hair": (15, 30), "brow as hair": (36, 22), "brow as skin": (36, 38), "forehead": (25, 30), "eye": (40, 22),
        "nose": (50, 30), "lip": (60, 30), "cheek": (50, 22), "ear": (50, 11), "neck": (90, 30),
        "background": (50, 5), "clothes": (90, 5),
    }  # fmt: skip
    assert {what: int(classes[at]) for what, at in seen.items()} == {
        "hair": Label.HAIR, "brow as hair": UNKNOWN, "brow as skin": UNKNOWN, "forehead": Label.SKIN,
        "eye": Label.EYE, "nose": Label.NOSE, "lip": Label.LIP, "cheek": Label.SKIN, "ear": UNKNOWN,
        "neck": UNKNOWN, "background": Label.BACKGROUND, "clothes": UNKNOWN,
    }  # fmt: skip


def test_a_map_of_other_colours_or_without_a_face_is_refused(folder: Path) -> None:
    odd = painted()
    odd[0, :3] = (1, 2, 3)
    with pytest.raises(RefusedFile, match="3 pixels that are of none of the six colours"):
        to_classes(odd)
    with pytest.raises(RefusedFile, match="no eyes above a mouth"):
        to_classes(painted()[::-1])
    for data, reason in ((b"", "empty file"), (encode_png(odd), "six colours")):
        (folder / "labels/a.png").write_bytes(data)
        a, b = _all(folder)
        assert isinstance(a, Unreadable) and a.subject == "p01" and reason in a.reason
        assert isinstance(b, Record)
    (folder / "labels/a.png").unlink()
    (folder / "images/b.jpg").unlink()
    assert all(isinstance(entry, Unreadable) for entry in _all(folder))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "index.csv cannot be read"),
        ("image,label\n", "lacks the columns subset, split, person, yaw, pitch"),
        (HEADER, "names no photograph of multipose01"),
        (HEADER + "a.jpg,,multipose01,val,p01,1,0,0,60,100\n", "line 2: needs image, person, split"),
        (HEADER + "a.jpg,,multipose01,train,p01,1,nan,0,60,100\n", "line 2: needs image"),
        (HEADER + "a.jpg,,multipose01\n", "line 2: needs image"),
        (
            HEADER + "a.jpg,,multipose01,train,p01,1,0,0,6,6\nb.jpg,,multipose01,test,p01,1,0,0,6,6\n",
            "p01 in train and in test",
        ),
    ],
)
def test_a_damaged_index_is_named(folder: Path, text: str | None, message: str) -> None:
    index = folder / "index.csv"
    index.unlink() if text is None else index.write_text(text)
    with pytest.raises(ConfigError, match=message):
        open_source("fasseg", folder)


def test_links_out_of_the_folder_are_not_followed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    secret = tmp_path_factory.mktemp("elsewhere") / "secret"
    secret.write_text("key")
    (folder / "images/b.jpg").unlink()
    (folder / "images/b.jpg").symlink_to(secret)
    _, b = _all(folder)
    assert isinstance(b, Unreadable) and "leaves the source" in b.reason


def test_real_set(real: Callable[[str], Path]) -> None:
    source = open_source("fasseg", real("fasseg"))
    shots = source.photographs  # type: ignore[attr-defined]
    assert len(source) == 390
    assert Counter(shot.yaw for shot in shots) == dict.fromkeys(range(-90, 91, 15), 30)
    assert Counter((shot.person, shot.split) for shot in shots) == {
        (f"p{n:02d}", "train" if n <= 7 else "test"): 26 for n in range(1, 16)
    }
    assert sum(bool(shot.label) for shot in shots) == 274
    for record in source.read(0, 20):
        assert isinstance(record, Record)
        parse = record.labels["segmentation"]
        assert isinstance(parse, bytes)
        assert {Label.SKIN, Label.EYE, Label.LIP, UNKNOWN} <= set(np.unique(decode_classes(parse)).tolist())
