"""What several tests of the readers share: the folder of real files, and a writer of RecordIO."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

MAGIC = struct.pack("<I", 0xCED7230A)


@pytest.fixture(scope="session")
def real() -> Callable[[str], Path]:
    """Find a folder of the real test data, or skip."""

    def find(name: str) -> Path:
        folder = os.environ.get("FACE_TEST_DATA")
        if not folder or not (Path(folder) / name).is_dir():
            pytest.skip(f"no folder {name} of real files: set FACE_TEST_DATA to where the test data is unpacked")
        return Path(folder) / name

    return find


def _pack(payload: bytes) -> bytes:
    """One record as dmlc's writer lays it out, splitting at every aligned magic word of the payload."""
    cuts = [place for place in range(0, len(payload) - 3, 4) if payload[place : place + 4] == MAGIC]
    edges = [-4, *cuts, len(payload)]
    parts = [payload[start + 4 : stop] for start, stop in pairwise(edges)]
    out = b""
    for place, part in enumerate(parts):
        flag = 0 if len(parts) == 1 else 1 if place == 0 else 3 if place == len(parts) - 1 else 2
        out += MAGIC + struct.pack("<I", flag << 29 | len(part)) + part + bytes(-len(part) % 4)
    return out


def _image(number: int, label: float | tuple[float, ...], image: bytes) -> bytes:
    """The payload of an image record; InsightFace's header and identity records have two labels."""
    if isinstance(label, tuple):
        return struct.pack(f"<IfQQ{len(label)}f", len(label), 0.0, number, 0, *label) + image
    return struct.pack("<IfQQ", 0, label, number, 0) + image


@pytest.fixture(scope="session")
def pack() -> Callable[[bytes], bytes]:
    return _pack


@pytest.fixture(scope="session")
def image_payload() -> Callable[[int, float | tuple[float, ...], bytes], bytes]:
    return _image


@pytest.fixture
def write_rec(tmp_path: Path) -> Callable[[dict[int, bytes]], Path]:
    """Write payloads by key as train.rec and train.idx; returns the folder."""

    def write(payloads: dict[int, bytes]) -> Path:
        data, lines = b"", []
        for key, payload in payloads.items():
            lines.append(f"{key}\t{len(data)}\n")
            data += _pack(payload)
        (tmp_path / "train.rec").write_bytes(data)
        (tmp_path / "train.idx").write_text("".join(lines))
        return tmp_path

    return write
