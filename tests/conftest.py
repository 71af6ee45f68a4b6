"""What tests of every kind share: a small machine, faces drawn from a seed, and tables made of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import settings

import stages as stages  # sets the thread policy and switches telemetry off, before torch is imported
from stages.lib.codec import Pixels, encode_png
from stages.lib.geometry.template import ARCFACE_TEMPLATE
from stages.lib.runtime import Runtime
from stages.lib.table import Table, conform, publish, reject_rows, write_parquet

settings.register_profile("suite", deadline=None, max_examples=30)  # a loaded machine is no failure
settings.load_profile("suite")

SPLITS = ("train", "train", "val", "val", "test", "test")  # of people 0, 1, 2, ...


def draw_face(person: int, photograph: int) -> Pixels:
    """112x112 RGB: blobs that belong to the person, and a little of the photograph's own."""
    own = np.random.default_rng([1, person]).integers(40, 216, (8, 8, 3))
    other = np.random.default_rng([2, person, photograph]).integers(-24, 25, (8, 8, 3))
    coarse = (own + other).clip(0, 255).astype(np.uint8)
    return coarse.repeat(14, axis=0).repeat(14, axis=1)


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    return Runtime("cpu", threads=1, workers=1, scratch=tmp_path / "scratch")


@pytest.fixture(scope="session")
def face_rows() -> Callable[..., pa.Table]:
    """Aligned faces, sorted by id: `each` photographs of as many people as there are splits."""

    def make(splits: Sequence[str] = SPLITS, each: int = 3) -> pa.Table:
        rows = []
        for person, split in enumerate(splits):
            for photograph in range(each):
                image = encode_png(draw_face(person, photograph))
                rows.append(
                    {
                        "face_id": hashlib.sha256(image).hexdigest()[:32],
                        "subject_id": f"p{person}",
                        "source": "made",
                        "name": f"p{person}/{photograph}.png",
                        "licence": "CC0-1.0",
                        "split": split,
                        "image": image,
                        "width": 112,
                        "height": 112,
                        "landmarks": ARCFACE_TEMPLATE.ravel().tolist(),
                        "landmarks_from": "source",
                        "q_brightness": (person + photograph / 10) / len(splits),
                    }
                )
        return conform(pa.Table.from_pylist(sorted(rows, key=lambda row: str(row["face_id"]))))

    return make


@pytest.fixture
def make_table(tmp_path: Path) -> Callable[..., Table]:
    """Publish rows as a table of some shards, below the test's own folder."""

    def make(rows: pa.Table, name: str = "table", shards: int = 2, rejects: pa.Table | None = None) -> Table:
        parts = tmp_path / f"{name}-parts"
        parts.mkdir()
        size = -(-rows.num_rows // shards)
        paths = [parts / f"{index}.parquet" for index in range(shards)]
        for index, path in enumerate(paths):
            write_parquet(rows.slice(index * size, size), path)
        return publish(tmp_path / name, paths, reject_rows("made", []) if rejects is None else rejects)

    return make
