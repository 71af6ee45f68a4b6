"""The cache: a killed run resumes, and nothing stays that is not in use."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from stages.lib.codec import encode_png
from stages.lib.report.candidates import Candidate
from stages.lib.report.inspections import InspectionCache
from stages.lib.runtime import Runtime
from stages.lib.table import conform, publish, reject_rows, write_parquet

TEST = ds.field("split") == "test"


class Counting:
    """Embeds the mean colour, counts faces, and dies after so many."""

    dim = 3

    def __init__(self, dies_after: int | None = None) -> None:
        self.seen, self._dies_after = 0, dies_after

    def embed(self, faces, flip=False):
        self.seen += len(faces)
        if self._dies_after is not None and self.seen > self._dies_after:
            raise KeyboardInterrupt
        raw = faces.mean(axis=(1, 2), dtype=np.float32)
        norms = np.linalg.norm(raw, axis=1)
        return raw / norms[:, None], norms


@pytest.fixture
def table(tmp_path):
    rng, files, self_made = np.random.default_rng(0), [], {"licence": "t", "source": "t", "width": 112, "height": 112}
    for shard in range(3):
        rows = []
        for place in range(4):
            image = np.full((112, 112, 3), rng.integers(1, 255, 3), np.uint8)
            face = f"{shard}{place}"
            split = "train" if shard == 1 or place == 0 else "test"  # a shard without any test face
            rows.append(
                {"face_id": face, "name": face, "subject_id": "s", "split": split, "image": encode_png(image)}
                | self_made
            )
        files.append(tmp_path / f"{shard}.parquet")
        write_parquet(conform(pa.Table.from_pylist(rows)), files[-1])
    return publish(tmp_path / "table", files, reject_rows("t", []))


def _candidate(name: str, embedder: Counting) -> Candidate:
    return Candidate(name, "peer", None, None, name, lambda: embedder, 0.0, 0)


def test_a_killed_run_resumes_and_gives_the_same(table, tmp_path):
    runtime = Runtime("cpu", 1, 1, tmp_path)
    fresh = InspectionCache(tmp_path / "fresh").inspect(table, TEST, [_candidate("a", Counting())], runtime, "x")[0]
    assert (fresh.embeddings.shape, fresh.norms.shape, fresh.occlusion) == ((6, 3), (6,), None)

    with pytest.raises(KeyboardInterrupt):
        InspectionCache(tmp_path / "c").inspect(table, TEST, [_candidate("a", Counting(dies_after=3))], runtime, "x")
    again = Counting()
    resumed = InspectionCache(tmp_path / "c").inspect(table, TEST, [_candidate("a", again)], runtime, "x")[0]
    assert again.seen == 3  # the first shard was kept
    np.testing.assert_array_equal(resumed.embeddings, fresh.embeddings)

    unused = Counting(dies_after=0)
    kept = InspectionCache(tmp_path / "c").inspect(table, TEST, [_candidate("a", unused)], runtime, "x")[0]
    np.testing.assert_array_equal(kept.norms, fresh.norms)


def test_a_new_model_leaves_the_others_alone_and_prune_drops_the_old(table, tmp_path):
    runtime, folder = Runtime("cpu", 1, 1, tmp_path), tmp_path / "c"
    InspectionCache(folder).inspect(table, TEST, [_candidate("old", Counting())], runtime, "x")
    old = set(folder.iterdir())
    cache, new = InspectionCache(folder), Counting()
    cache.inspect(table, TEST, [_candidate("new", new)], runtime, "x")
    assert new.seen == 6
    cache.prune()
    assert set(folder.iterdir()).isdisjoint(old)
    assert len(list(folder.iterdir())) == 3
