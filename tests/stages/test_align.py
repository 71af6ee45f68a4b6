"""Faces come to the template by their points; what does not fit is a reject and nothing is lost."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from stages import align
from stages.lib.codec import decode, decode_untrusted
from stages.lib.errors import ConfigError
from stages.lib.geometry.template import ARCFACE_TEMPLATE, similarity
from stages.lib.runtime import Runtime
from stages.lib.sources import Record, crop_landmarks, open_source
from stages.lib.table import Table, conform, reject_rows
from stages.params import Align

PARAMS = Align(detector="crop", weights=None, score_threshold=0.6, max_residual=12.0)


@pytest.fixture
def faces(make_table: Callable[..., Table]) -> Table:
    """Nine ORL photographs: seven with plausible points, one with mixed-up ones, one without any."""
    crop = crop_landmarks("orl")
    assert crop is not None
    jitter = np.random.default_rng(1).normal(0, 1.5, (9, 5, 2))
    rows = []
    for place, record in enumerate(open_source("orl", None).read(0, 9)):
        assert isinstance(record, Record)
        points = (crop[1] + jitter[place]).astype(np.float32)
        points = points[[3, 4, 2, 0, 1]] * [1, 3] if place == 3 else points
        height, width = decode_untrusted(record.image, 10**6).shape[:2]
        rows.append(
            {
                "face_id": hashlib.sha256(record.image).hexdigest()[:32],
                "subject_id": record.subject,
                "source": "orl",
                "name": record.name,
                "licence": "research",
                "split": "train",
                "image": record.image,
                "width": width,
                "height": height,
                "landmarks": None if place == 5 else points.ravel().tolist(),
                "landmarks_from": None if place == 5 else "source",
            }
        )
    table = conform(pa.Table.from_pylist(sorted(rows, key=lambda row: str(row["face_id"]))))
    earlier = reject_rows("ingest", [("x.png", None, None, "not an image")])
    return make_table(table, "faces", rejects=earlier)


def test_points_come_to_the_template_and_misfits_go(
    faces: Table, runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = align.run(PARAMS, faces.path, tmp_path / "aligned", runtime)
    rejects = table.rejects().to_pylist()
    assert table.rows + len(rejects) == faces.rows + 1
    assert [(row["stage"], row["name"]) for row in rejects] == [("ingest", "x.png"), ("align", "s1/4.pgm")]
    assert "miss the template by" in rejects[1]["reason"]

    before = {row["face_id"]: row for row in faces.read(faces.columns).to_pylist()}
    for row in table.read(table.columns).to_pylist():
        assert decode(row["image"]).shape == (112, 112, 3)
        assert (row["width"], row["height"]) == (112, 112)
        parent = before[row["face_id"]]
        assert {name: row[name] for name in ("subject_id", "split", "name", "licence")} == {
            name: parent[name] for name in ("subject_id", "split", "name", "licence")
        }
        points = np.array(row["landmarks"]).reshape(5, 2)
        misfit = np.sqrt(((points - ARCFACE_TEMPLATE) ** 2).sum(axis=1).mean())
        assert row["q_alignment_residual"] == pytest.approx(misfit, abs=1e-3)
        assert misfit < PARAMS.max_residual
        if parent["landmarks"] is None:
            assert row["landmarks_from"] == "crop"
            continue
        assert row["landmarks_from"] == "source"
        given = np.array(parent["landmarks"]).reshape(5, 2)
        np.testing.assert_allclose(np.array(row["transform"]).reshape(2, 3), similarity(given[None])[0][0], atol=1e-4)
        assert row["q_interocular"] == pytest.approx(np.linalg.norm(given[1] - given[0]), rel=1e-5)

    monkeypatch.setattr(align, "BATCH", 2)
    again = align.run(PARAMS, faces.path, tmp_path / "again", runtime)
    assert again.content_id == table.content_id


def test_a_shard_may_lose_every_face(faces: Table, runtime: Runtime, tmp_path: Path) -> None:
    table = align.run(PARAMS.model_copy(update={"max_residual": 0.0}), faces.path, tmp_path / "aligned", runtime)
    assert (table.rows, table.rejects().num_rows) == (0, faces.rows + 1)


def test_points_that_nobody_can_give_are_asked_for(
    make_table: Callable[..., Table], face_rows: Callable[..., Any], runtime: Runtime, tmp_path: Path
) -> None:
    rows = face_rows().drop_columns(["landmarks", "landmarks_from"])
    with pytest.raises(ConfigError, match=r"'made' has no documented crop; use `yunet`"):
        align.run(PARAMS, make_table(conform(rows)).path, tmp_path / "aligned", runtime)
    missing = PARAMS.model_copy(update={"detector": "yunet", "weights": str(tmp_path / "none.onnx")})
    with pytest.raises(ConfigError, match="onnx"):
        align.run(missing, tmp_path / "table", tmp_path / "aligned", runtime)
