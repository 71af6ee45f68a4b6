"""The container: what a writer by the format's description writes is read back, and damage stays local."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from stages.lib.sources.recordio import MAGIC, BadRecord, parse_image_record, read_record, scan

Pack = Callable[[bytes], bytes]

# Payloads that hold the magic word often, on and off 4-byte boundaries.
payloads = st.lists(st.one_of(st.just(MAGIC), st.binary(max_size=9)), max_size=8).map(b"".join)
shared = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)


@shared
@given(contents=st.lists(payloads, min_size=1, max_size=6))
def test_round_trip_with_and_without_index(pack: Pack, contents: list[bytes]) -> None:
    records = [pack(content) for content in contents]
    data = b"".join(records)
    starts = [sum(map(len, records[:place])) for place in range(len(records))]
    assert scan(data).tolist() == starts
    limits = [*starts[1:], len(data)]
    assert [read_record(data, *edges) for edges in zip(starts, limits, strict=True)] == contents


@shared
@given(contents=st.lists(payloads, min_size=1, max_size=5), cut=st.integers(1, 40))
def test_a_cut_file_loses_only_what_was_cut(pack: Pack, contents: list[bytes], cut: int) -> None:
    records = [pack(content) for content in contents]
    data = b"".join(records)[:-cut]
    assume(data)
    starts = scan(data).tolist()
    read = []
    for start, limit in zip(starts, [*starts[1:], len(data)], strict=True):
        try:
            read.append(read_record(data, start, limit))
        except BadRecord:
            assert limit == len(data)  # only the last can be damaged
    # Cutting nothing but padding leaves the last payload whole.
    assert contents[: len(read)] == read
    whole = sum(sum(map(len, records[: place + 1])) <= len(data) for place in range(len(records)))
    assert len(read) >= whole


@shared
@given(data=st.binary(max_size=200), start=st.integers(-50, 250), limit=st.integers(-50, 250))
def test_rubbish_is_refused_and_never_crashes(data: bytes, start: int, limit: int) -> None:
    scan(data)
    try:
        payload = read_record(MAGIC + data, start, limit)
        parse_image_record(payload)
    except BadRecord:
        pass


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda d: b"\0" + d[1:], "magic"),
        (lambda d: d[:4] + struct.pack("<I", 500) + d[8:], "declares 500 bytes where 16 are left"),
        (lambda d: d[:4] + struct.pack("<I", 2 << 29 | 8) + d[8:], "continuation flag 2"),
        (lambda d: d[:6], "truncated"),
    ],
)
def test_damage_is_named(pack: Pack, damage: Callable[[bytes], bytes], reason: str) -> None:
    data = damage(pack(b"a payload of 16!"))
    with pytest.raises(BadRecord, match=reason):
        read_record(data, 0, len(data))


def test_scan_counts_every_record_beside_a_damaged_one(pack: Pack) -> None:
    records = [pack(bytes([place]) * 40) for place in range(5)]
    starts = [place * len(records[0]) for place in range(5)]
    bad_magic = b"".join([*records[:2], b"\0\0\0\0" + records[2][4:], *records[3:]])
    too_long = b"".join([*records[:2], records[2][:4] + struct.pack("<I", 60) + records[2][8:], *records[3:]])
    assert scan(bad_magic).tolist() == starts
    assert scan(too_long).tolist() == starts


def test_image_record_with_one_label_and_with_several() -> None:
    one = parse_image_record(struct.pack("<IfQQ", 0, 7.0, 3, 0) + b"jpeg")
    several = parse_image_record(struct.pack("<IfQQ2f", 2, 0.0, 9, 0, 1.0, 11.0))
    assert (one.labels.tolist(), one.number, one.image, one.is_meta) == ([7.0], 3, b"jpeg", False)
    assert (several.labels.tolist(), several.number, several.image, several.is_meta) == (
        [1.0, 11.0],
        9,
        b"",
        True,
    )
    with pytest.raises(BadRecord, match="do not hold 4000000000 labels"):
        parse_image_record(struct.pack("<IfQQ", 4_000_000_000, 0.0, 0, 0))
