"""InsightFace and im2rec files: made here, and the real ones read a second way."""

from __future__ import annotations

import io
import pickle
import re
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from stages.lib.errors import ConfigError
from stages.lib.sources import Record, Unreadable, open_source

MAGIC = struct.pack("<I", 0xCED7230A)
Payload = Callable[[int, float | tuple[float, ...], bytes], bytes]
Write = Callable[[dict[int, bytes]], Path]


@pytest.fixture
def insightface(image_payload: Payload, write_rec: Write) -> Path:
    """Two people of two images, header and identity records; image 3 holds the magic word on a boundary."""
    images = {1: b"one", 2: b"second", 3: b"spam" + MAGIC + b"eggs" + MAGIC, 4: b"last"}
    payloads = {0: image_payload(0, (5.0, 7.0), b"")}
    payloads |= {key: image_payload(key, float((key - 1) // 2), image) for key, image in images.items()}
    payloads |= {5: image_payload(5, (1.0, 3.0), b""), 6: image_payload(6, (3.0, 5.0), b"")}
    return write_rec(payloads)


def _all(path: Path) -> list[Record | Unreadable]:
    source = open_source("rec", path)
    return list(source.read(0, len(source)))


@pytest.mark.parametrize("indexed", [True, False])
def test_header_and_identity_records_are_no_faces(insightface: Path, indexed: bool) -> None:
    if not indexed:
        (insightface / "train.idx").unlink()
    read = [(r.name, r.subject, r.image) for r in _all(insightface) if isinstance(r, Record)]
    assert read == [
        ("1", "id_0000000", b"one"),
        ("2", "id_0000000", b"second"),
        ("3", "id_0000001", b"spam" + MAGIC + b"eggs" + MAGIC),
        ("4", "id_0000001", b"last"),
    ]


def test_blocks_of_a_pickled_source_join_to_the_whole(insightface: Path) -> None:
    source = pickle.loads(pickle.dumps(open_source("rec", insightface)))
    blocks = [r.name for start in range(0, 6, 3) for r in source.read(start, start + 3)]
    assert blocks == [r.name for r in _all(insightface)] == ["1", "2", "3", "4"]
    assert list(source.pairs()) == []


@pytest.mark.parametrize("indexed", [True, False])
def test_damaged_records_are_reported_in_their_place(insightface: Path, indexed: bool) -> None:
    rec = insightface / "train.rec"
    data = bytearray(rec.read_bytes())
    place = data.index(b"second") - 24 - 8
    data[place] ^= 0xFF
    rec.write_bytes(data)
    if not indexed:
        (insightface / "train.idx").unlink()
    entries = _all(insightface)
    good = [entry for entry in entries if isinstance(entry, Record)]
    bad = [entry for entry in entries if isinstance(entry, Unreadable)]
    assert [(r.name, r.reason) for r in bad] == [("2", f"record at byte {place}: bad magic word")]
    assert [r.name for r in good] == ["1", "3", "4"]


def test_a_truncated_file_keeps_what_is_whole(image_payload: Payload, write_rec: Write) -> None:
    folder = write_rec({key: image_payload(key, 0.0, b"image" * 5) for key in range(3)})
    rec = folder / "train.rec"
    rec.write_bytes(rec.read_bytes()[:-20])
    first, second, last = _all(folder)
    assert isinstance(first, Record) and isinstance(second, Record) and isinstance(last, Unreadable)
    assert "declares 49 bytes where 32 are left" in last.reason


@pytest.mark.parametrize(("label", "why"), [(0.5, "0.5 is no identity"), (float("nan"), "nan is no"), (-1.0, "-1.0")])
def test_labels_that_are_no_identity(image_payload: Payload, write_rec: Write, label: float, why: str) -> None:
    (entry,) = _all(write_rec({0: image_payload(0, label, b"image")}))
    assert isinstance(entry, Unreadable) and why in entry.reason


def test_more_images_than_float32_counts(image_payload: Payload, write_rec: Write) -> None:
    # 2**24 + 2 is declared where the identities begin at 2**24 + 1, as rounding the label does; a file of
    # that many records is too much for a test, so the complaint about the index shows which key was found.
    first = 2**24 + 1
    folder = write_rec(
        {0: image_payload(0, (first + 1.0, first + 2.0), b""), 1: image_payload(1, 0.0, b"image")}
        | {first: image_payload(first, (1.0, 2.0), b"")}
    )
    with pytest.raises(ConfigError, match=f"lists 1 of {first - 1} images"):
        open_source("rec", folder)


@pytest.mark.parametrize(
    ("index", "message"),
    [("0\t0\n0\t40\n", "twice"), ("rubbish", "key offset"), ("0\t0\n1\t40\n", "lists 1 of 4 images")],
)
def test_a_wrong_index_says_what_to_do(insightface: Path, index: str, message: str) -> None:
    (insightface / "train.idx").write_text(index)
    with pytest.raises(ConfigError, match=rf"train\.idx.*{message}.*remove it"):
        open_source("rec", insightface)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"train\.rec is missing or empty"):
        open_source("rec", tmp_path)


def _jpegs_by_marker(data: bytes) -> list[tuple[int, bytes]]:
    """Images of a .rec found by JPEG markers alone: (offset, bytes) from each SOI to the EOI that follows."""
    starts = [match.start() for match in re.finditer(rb"\xff\xd8\xff", data)]
    return [(start, data[start : data.index(b"\xff\xd9", start) + 2]) for start in starts]


def _same_pixels(image: bytes) -> bool:
    by_cv2 = np.asarray(cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR_RGB))
    return np.array_equal(by_cv2, np.asarray(Image.open(io.BytesIO(image)).convert("RGB")))


def test_real_insightface_set_read_a_second_way(real: Callable[[str], Path]) -> None:
    folder = real("insightface_formats")
    records = [r for r in _all(folder) if isinstance(r, Record)]
    data = (folder / "train.rec").read_bytes()
    found = _jpegs_by_marker(data)
    labels = [struct.unpack_from("<f", data, offset - 20)[0] for offset, _ in found]
    people, width, height = map(int, (folder / "property").read_text().split(","))
    assert [r.image for r in records] == [image for _, image in found]
    assert [r.subject for r in records] == [f"id_{int(label):07d}" for label in labels]
    assert Counter(r.subject for r in records) == {f"id_{person:07d}": 10 for person in range(people)}
    assert {Image.open(io.BytesIO(image)).size for _, image in found} == {(width, height)}
    assert all(_same_pixels(r.image) for r in records)


def test_identity_records_of_the_real_set_give_the_same_people(real: Callable[[str], Path]) -> None:
    folder = real("insightface_formats")
    data = (folder / "train.rec").read_bytes()
    lines = [line.split("\t") for line in (folder / "train.idx").read_text().splitlines()]
    offsets = {int(key): int(offset) for key, offset in lines}
    first, end = map(int, struct.unpack_from("<2f", data, offsets[0] + 32))
    ranges = [map(int, struct.unpack_from("<2f", data, offsets[key] + 32)) for key in range(first, end)]
    expected = {str(key): f"id_{person:07d}" for person, edges in enumerate(ranges) for key in range(*edges)}
    assert {r.name: r.subject for r in _all(folder) if isinstance(r, Record)} == expected


@pytest.mark.parametrize("indexed", [True, False])
def test_file_that_mxnet_wrote_against_its_list(real: Callable[[str], Path], tmp_path: Path, indexed: bool) -> None:
    folder = real("insightface_formats") / "real_mxnet_sample"
    for name in ("train.rec", "train.idx")[: 1 + indexed]:
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    listed = [line.split("\t") for line in (folder / "train.lst").read_text().splitlines()]
    records = [r for r in _all(tmp_path) if isinstance(r, Record)]
    assert [(r.name, r.subject) for r in records] == [(key, f"id_{int(label):07d}") for key, label, _ in listed]
    assert [r.image for r in records] == [image for _, image in _jpegs_by_marker((folder / "train.rec").read_bytes())]
    assert all(_same_pixels(r.image) for r in records)
