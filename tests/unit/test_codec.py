"""Bytes from outside become RGB pixels or a reason, and never more memory than was allowed."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from stages.lib.codec import BadImage, decode, decode_untrusted, encode_png

LIMIT = 10_000
RAMP = np.linspace(0, 255, 40 * 30).reshape(30, 40).astype(np.uint8)
COLOUR = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], axis=-1)


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def huge_png(width: int, height: int) -> bytes:
    """A PNG whose header promises what its few bytes do not hold."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


JPEG, PNG = (encode(Image.fromarray(COLOUR), kind) for kind in ("JPEG", "PNG"))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"no image, only a text about one", "not an image"),
        (JPEG[:-60], "truncated or corrupt"),
        (PNG[: len(PNG) // 2], "truncated or corrupt"),
        (encode(Image.fromarray(COLOUR), "GIF"), "not an image"),  # a format that no source needs
        (encode(Image.fromarray(COLOUR[:15]), "PNG"), "40x15 is smaller than 16"),
        (encode(Image.new("RGB", (101, 100)), "PNG"), "101x100 is larger than 10000"),
        (huge_png(60_000, 60_000), "more pixels"),
    ],
    ids=["empty", "text", "half-jpeg", "half-png", "gif", "tiny", "large", "bomb"],
)
def test_hostile_bytes_are_refused_with_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(BadImage, match=reason):
        decode_untrusted(data, LIMIT)


def test_a_promise_of_many_pixels_costs_no_memory() -> None:
    tracemalloc.start()
    with pytest.raises(BadImage, match="12000x12000 is larger"):
        decode_untrusted(huge_png(12_000, 12_000), LIMIT)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


@given(st.data())
def test_damaged_bytes_give_pixels_or_a_reason(data: st.DataObject) -> None:
    damaged = bytearray(data.draw(st.sampled_from([JPEG, PNG])))
    for place in data.draw(st.lists(st.integers(0, len(damaged) - 1), min_size=1, max_size=8)):
        damaged[place] = data.draw(st.integers(0, 255))
    try:
        pixels = decode_untrusted(bytes(damaged), LIMIT)
    except BadImage:  # and no other kind of error
        return
    assert (pixels.dtype, pixels.ndim, pixels.shape[2]) == (np.uint8, 3, 3)


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise to show
    turned = decode_untrusted(encode(Image.fromarray(COLOUR), "PNG", exif=exif), LIMIT)
    np.testing.assert_array_equal(turned, np.rot90(COLOUR, -1))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: Image.fromarray(RAMP), np.stack([RAMP] * 3, axis=-1)),
        (lambda: Image.fromarray(RAMP.astype(np.uint16) * 257), np.stack([RAMP] * 3, axis=-1)),
        (lambda: Image.fromarray(np.dstack([COLOUR, RAMP])), COLOUR),  # alpha goes, colour under it stays
        (lambda: Image.fromarray(RAMP // 64 * 64).convert("P"), np.stack([RAMP // 64 * 64] * 3, axis=-1)),
    ],
    ids=["grey", "grey-16-bit", "alpha", "palette"],
)
def test_every_kind_of_image_becomes_rgb(make: Callable[[], Image.Image], expected: np.ndarray) -> None:
    np.testing.assert_array_equal(decode_untrusted(encode(make(), "PNG"), LIMIT), expected)


def test_png_of_our_own_is_lossless_and_damage_is_found() -> None:
    np.testing.assert_array_equal(decode(encode_png(COLOUR)), COLOUR)
    np.testing.assert_array_equal(decode_untrusted(encode_png(RAMP), LIMIT)[..., 0], RAMP)
    with pytest.raises(BadImage, match="do not decode"):
        decode(encode_png(COLOUR)[:20])
