"""Sources read block by block into Parquet, so that a killed run goes on and processes share the work."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from stages.lib.codec import BadImage, decode_classes, decode_untrusted
from stages.lib.sources.base import Record, Source, Unreadable
from stages.lib.table import CORE, reject_rows, write_parquet

# a split can be given only once every subject is known, so a block holds what the source fixes
BLOCK_SCHEMA = pa.schema([*(f for f in CORE if f.name != "split"), pa.field("fixed_split", pa.string())])


@dataclass(frozen=True)
class Part:
    """A source and what its people are for.

    Attributes:
        source: opened.
        split: that all its people get; None: as the source's lists say, else by lot. Where it is `train`, those
            whom the source's lists keep for test are for evaluation only: `transfer`.
        prefix: of names and people, so that no other source has them too.
        block: entries that a worker reads before it writes.
        processes: that it gains from; reading files waits for the disk, so one is enough.
    """

    source: Source
    split: str | None
    prefix: str
    block: int
    processes: int = 1

    @property
    def starts(self) -> range:
        """The first entry of each block."""
        return range(0, len(self.source), self.block)

    def split_of(self, fixed: str | None) -> str | None:
        """Split of a person for whom the source fixes one, or none."""
        return "transfer" if (self.split, fixed) == ("train", "test") else self.split or fixed


def read_block(part: Part, start: int, max_pixels: int, file: Path) -> None:
    """Read a block of a source into two Parquet files, unless they are there.

    Args:
        part: the source.
        start: the block's first entry.
        max_pixels: larger images are rejected before they are decoded.
        file: of the faces; what cannot be used lands in `rejects_of(file)`, which is written last.
    """
    if rejects_of(file).is_file():
        return
    rows, rejected = [], []
    for entry in part.source.read(start, min(start + part.block, len(part.source))):
        name, subject = part.prefix + entry.name, entry.subject and part.prefix + entry.subject
        if isinstance(entry, Unreadable):
            rejected.append((name, None, subject, entry.reason))
            continue
        try:
            rows.append(_row(part, entry, max_pixels))
        except BadImage as error:
            rejected.append((name, None, subject, str(error)))
    write_parquet(pa.Table.from_pylist(rows, schema=BLOCK_SCHEMA), file)
    write_parquet(reject_rows("ingest", rejected), rejects_of(file))


def _row(part: Part, record: Record, max_pixels: int) -> dict[str, object]:
    height, width = decode_untrusted(record.image, max_pixels).shape[:2]
    parse = record.labels.get("segmentation")
    if isinstance(parse, bytes) and decode_classes(parse).shape != (height, width):
        raise BadImage("its segmentation is of another size")
    return {
        "face_id": hashlib.sha256(record.image).hexdigest()[:32],
        "subject_id": part.prefix + record.subject,
        "source": part.source.kind,
        "name": part.prefix + record.name,
        "licence": part.source.licence,
        "fixed_split": part.split_of(record.split),
        "image": record.image,
        "width": width,
        "height": height,
        "landmarks": None if record.landmarks is None else record.landmarks.ravel().tolist(),
        "landmarks_from": record.landmarks_from,
        **record.labels,
    }


def rejects_of(block: Path) -> Path:
    """Where the rejects of a block stand."""
    return block.with_suffix(".rejects.parquet")
