"""Verification sets: nothing of a pickle runs; images, people and pairs are what a plain reading gives."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from stages.lib.errors import ConfigError
from stages.lib.sources import Record, open_source

IMAGES = [b"a", b"b", b"a", b"c", b"d\xff\x00", b"e", b"f", b"f", b"b", b"g"]
FLAGS = [True, True, False, True, False]


def _open(tmp_path: Path, data: bytes) -> list[Record]:
    (tmp_path / "set.bin").write_bytes(data)
    source = open_source("bin", tmp_path / "set.bin")
    return [r for r in pickle.loads(pickle.dumps(source)).read(0, 99) if isinstance(r, Record)]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_pickle_protocol(tmp_path: Path, protocol: int) -> None:
    records = _open(tmp_path, pickle.dumps((IMAGES, FLAGS), protocol))
    assert [(r.name, r.image) for r in records] == [
        ("0", b"a"), ("1", b"b"), ("3", b"c"), ("4", b"d\xff\x00"), ("5", b"e"), ("6", b"f"), ("9", b"g")
    ]  # fmt: skip
    # a-b, a-c and f-f are mated: one person holds a, b and c; everybody else stands alone.
    assert [r.subject[-6:] for r in records] == ["000000"] * 3 + ["000004", "000005", "000006", "000009"]
    assert {r.split for r in records} == {"test"}


def test_pickle_of_python_2(tmp_path: Path) -> None:
    # (['\xff\xd8', 'x'], [True]) as cPickle of Python 2 writes it in protocol 2.
    data = b"\x80\x02]q\x01(U\x02\xff\xd8q\x02U\x01xe]q\x03\x88a\x86."
    assert [r.image for r in _open(tmp_path, data)] == [b"\xff\xd8", b"x"]


def test_pairs_and_folds(tmp_path: Path) -> None:
    _open(tmp_path, pickle.dumps((IMAGES, FLAGS)))
    pairs = list(open_source("bin", tmp_path / "set.bin").pairs())
    assert {p.protocol for p in pairs} == {"bin:set"}
    assert [(p.name_a, p.name_b, p.same) for p in pairs] == [
        ("0", "1", True), ("0", "3", True), ("4", "5", False), ("6", "6", True), ("1", "9", False)
    ]  # fmt: skip
    _open(tmp_path, pickle.dumps(([bytes([i]) for i in range(60)], [True] * 30)))
    assert [p.fold for p in open_source("bin", tmp_path / "set.bin").pairs()] == [i // 3 for i in range(30)]


class _Runs:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_hostile_pickle_runs_nothing(tmp_path: Path, protocol: int) -> None:
    mark = tmp_path / "it-ran"
    with pytest.raises(ConfigError, match=r"set\.bin is refused: it asks for (posix|nt)\.system"):
        _open(tmp_path, pickle.dumps(([_Runs(mark), b"x"], [True]), protocol))
    assert not mark.exists()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x05\x00\x00\x00idna2tR.", "Latin-1 text only"),
        (b"c_codecs\ndecode\n.", "_codecs.decode"),
        (b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.", "builtins.eval"),
        (b"]r\xff\xff\xff\x7f.", "memo index 2147483647"),
        (b"c_codecs\nencode\n}b.", "operation EMPTY_DICT"),
        (b"\x80\x02]U\xff", "damaged"),
        (b"not a pickle", "refused"),
        (b"", "damaged"),
    ],
)
def test_other_pickles_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _open(tmp_path, data)


def test_a_pickle_that_expands_is_refused(tmp_path: Path) -> None:
    encode = b"h\x00(h\x01h\x02tR"  # encode(text), all three from the memo, for a few bytes each
    text = b"X" + (1000).to_bytes(4, "little") + b"a" * 1000
    data = b"(c_codecs\nencode\nq\x00" + text + b"q\x01X\x06\x00\x00\x00latin1q\x02" + encode * 500 + b"l."
    assert sum(op.name == "REDUCE" for op, *_ in pickletools.genops(data)) == 500
    with pytest.raises(ConfigError, match="expands to more bytes"):
        _open(tmp_path, data)


@pytest.mark.parametrize("content", [([b"a"], [True]), ([b"a", "b"], [True]), ([], []), ([b"a", b"b"], [2]), b"ab"])
def test_wrong_shape(tmp_path: Path, content: object) -> None:
    with pytest.raises(ConfigError, match="two images"):
        _open(tmp_path, pickle.dumps(content))


def test_real_set_against_plain_pickle_and_the_lists_of_lfw(real: Callable[[str], Path]) -> None:
    path = real("insightface_formats") / "lfw_fold1_600.bin"
    source = open_source("bin", path)
    records = {r.name: r for r in source.read(0, len(source)) if isinstance(r, Record)}
    pairs = list(source.pairs())
    images, flags = pickle.loads(path.read_bytes(), encoding="bytes")
    assert [p.same for p in pairs] == flags
    assert [records[name].image for p in pairs for name in (p.name_a, p.name_b)] == images
    assert len(records) == len(set(images))
    for image in images[::40]:
        by_cv2 = np.asarray(cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR_RGB))
        assert np.array_equal(by_cv2, np.asarray(Image.open(io.BytesIO(image)).convert("RGB")))

    first_fold = [p for p in open_source("lfw", real("lfw")).pairs() if p.protocol == "lfw-view2" and p.fold == 0]
    assert [p.same for p in pairs] == [p.same for p in first_fold]
    # The same image of LFW is the same record, and a pseudo-subject never spans two of LFW's people.
    names = {
        (a, b) for p, q in zip(pairs, first_fold, strict=True) for a, b in ((p.name_a, q.name_a), (p.name_b, q.name_b))
    }
    assert len(names) == len(records)
    people = defaultdict(set)
    for here, there in names:
        people[records[here].subject].add(there.partition("/")[0])
    assert {len(person) for person in people.values()} == {1}
