"""The RecordIO container and the image record inside it, as MXNet writes them.

A record is one part or several. A part is the magic word, a length word (upper 3 bits: 0 whole, 1 first,
2 middle, 3 last; lower 29 bits: bytes), the bytes, and padding to 4. Where a payload holds the magic word
on a 4-byte boundary, the writer takes it out and splits there, so an aligned magic word always heads a part.
An image record's payload is an IRHeader (flag, label, id, id2), `flag` float32 labels if flag > 0, and the
encoded image. Source: dmlc-core `recordio.h`, MXNet `recordio.py`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from mmap import mmap
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stages.lib.sources.base import MAX_IMAGE_BYTES

MAGIC: Final = struct.pack("<I", 0xCED7230A)
_HEAD: Final = struct.Struct("<4sI")
_IMAGE_HEAD: Final = struct.Struct("<IfQQ")
_LENGTH_BITS: Final = 29
_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)

Buffer = bytes | mmap


class BadRecord(ValueError):
    """The bytes at this place are not a whole record; the message says why."""


@dataclass(frozen=True, eq=False)
class ImageRecord:
    """A record's content.

    Attributes:
        labels: (n,) float32, n >= 1; the first is the identity in recognition sets.
        number: the id that the writer gave the record.
        image: encoded bytes; empty in the header and identity records of InsightFace.
    """

    labels: NDArray[np.float32]
    number: int
    image: bytes

    @property
    def is_meta(self) -> bool:
        """Whether this is a header or identity record: a range of record keys and no image."""
        return self.labels.size == 2 and not self.image


def locate(buffer: Buffer, start: int, limit: int) -> tuple[list[slice], int]:
    """Find the parts of the record at an offset, copying nothing.

    Args:
        buffer: the file.
        start: offset of the record's first magic word.
        limit: offset that the record may not pass: the next record or the end of the file.

    Returns:
        Where the payload of each part lies, and the offset after the record.

    Raises:
        BadRecord: bad magic word, parts out of order, or a length past the limit.
    """
    limit = min(limit, len(buffer))
    parts: list[slice] = []
    position = start
    while True:
        if not 0 <= position <= limit - _HEAD.size:
            raise BadRecord("truncated")
        magic, word = _HEAD.unpack_from(buffer, position)
        if magic != MAGIC:
            raise BadRecord("bad magic word")
        flag, length = word >> _LENGTH_BITS, word & (1 << _LENGTH_BITS) - 1
        if flag not in ((_MIDDLE, _LAST) if parts else (_WHOLE, _FIRST)):
            raise BadRecord(f"part {len(parts) + 1} has continuation flag {flag}")
        body = position + _HEAD.size
        if body + length > limit:
            raise BadRecord(f"declares {length} bytes where {limit - body} are left")
        parts.append(slice(body, body + length))
        position = min(body + length + -length % 4, limit)
        if flag in (_WHOLE, _LAST):
            return parts, position


def read_record(buffer: Buffer, start: int, limit: int) -> bytes:
    """The payload of the record at an offset; arguments and errors as for `locate`.

    Raises:
        BadRecord: also where the payload is larger than an image may be.
    """
    parts, _ = locate(buffer, start, limit)
    size = sum(part.stop - part.start for part in parts)
    if size > MAX_IMAGE_BYTES:
        raise BadRecord(f"{size} bytes is larger than {MAX_IMAGE_BYTES // 2**20} MiB")
    return MAGIC.join([buffer[part] for part in parts])


def parse_image_record(payload: bytes) -> ImageRecord:
    """Take a payload apart.

    Raises:
        BadRecord: too short for its header and labels.
    """
    if len(payload) < _IMAGE_HEAD.size:
        raise BadRecord(f"{len(payload)} bytes hold no image header")
    flag, label, number, _ = _IMAGE_HEAD.unpack_from(payload)
    image = _IMAGE_HEAD.size + 4 * flag
    if image > len(payload):
        raise BadRecord(f"{len(payload)} bytes do not hold {flag} labels")
    labels = np.frombuffer(payload[_IMAGE_HEAD.size : image], "<f4") if flag else np.array([label])
    return ImageRecord(labels.astype(np.float32), number, payload[image:])


def scan(buffer: Buffer) -> NDArray[np.int64]:
    """Offsets of all records of a file that has no index, damaged ones included.

    A record that does not join the next is damaged; the walk then goes on at the next aligned magic word that
    begins a record, which by the format lies at or after the true next record.
    """
    size = len(buffer)
    starts: list[int] = []
    position = 0
    while position < size:
        starts.append(position)
        try:
            _, end = locate(buffer, position, size)
        except BadRecord:
            position = _next_head(buffer, position + 4)
        else:
            joined = end == size or buffer[end : end + 4] == MAGIC
            position = end if joined else min(end, _next_head(buffer, position + 4))
    return np.array(starts, np.int64)


def _next_head(buffer: Buffer, position: int) -> int:
    while (position := buffer.find(MAGIC, position)) >= 0:
        length = buffer[position + 4 : position + 8]
        begins = int.from_bytes(length, "little") >> _LENGTH_BITS in (_WHOLE, _FIRST)
        if position % 4 == 0 and len(length) == 4 and begins:
            return position
        position += 1
    return len(buffer)
