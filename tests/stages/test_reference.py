"""The profile is of the test people, and its figures are those of a loop."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from stages import reference
from stages.lib.codec import decode
from stages.lib.deploy.session import Inspection
from stages.lib.runtime import Runtime
from stages.params import Reference

Make = Callable[..., Any]


class Contract:
    version = "seed-1-abc"


class MeanColour:
    """Embeds a face as the mean of its red, green and blue; the norm says how bright it is, the map how red."""

    contract = Contract()
    tells = True

    def __init__(self, path: Path, threads: int) -> None:
        assert path.name == "model.onnx"

    def inspect(self, faces: np.ndarray) -> Inspection:
        raw = faces.mean(axis=(1, 2)).astype(np.float32)
        norms = np.linalg.norm(raw, axis=1)
        occlusion = faces[:, ::16, ::16, 0].astype(np.float32) / 255
        return Inspection(raw / norms[:, None], norms, occlusion if self.tells else None)


def test_figures_are_those_of_a_loop(
    face_rows: Make, make_table: Make, runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "FaceModel", MeanColour)
    monkeypatch.setattr(reference, "BATCH", 4)
    rows = face_rows()
    out = tmp_path / "reference"
    reference.run(Reference(student="small", bins=4), make_table(rows).path, tmp_path, out, runtime)

    test = [row for row in rows.to_pylist() if row["split"] == "test"]
    raw = [decode(row["image"]).reshape(-1, 3).mean(axis=0) for row in test]
    norms = [float(np.linalg.norm(value)) for value in raw]
    faces = pq.read_table(out / "faces.parquet")
    assert set(faces.column_names) == {
        "face_id",
        "q_brightness",
        "norm",
        "occlusion",
    }  # no pixels, no embedding, no person
    assert faces["face_id"].to_pylist() == [row["face_id"] for row in test]
    np.testing.assert_allclose(faces["norm"].to_numpy(), norms, rtol=1e-5)

    covered = [(decode(row["image"])[::16, ::16, 0] / 255).mean() for row in test]
    np.testing.assert_allclose(faces["occlusion"].to_numpy(), covered, rtol=1e-5)

    pairs = [
        (float(raw[a] @ raw[b] / norms[a] / norms[b]), min(norms[a], norms[b]))
        for a, b in combinations(range(len(test)), 2)
        if test[a]["subject_id"] == test[b]["subject_id"]
    ]
    genuine = pq.read_table(out / "genuine.parquet").to_pandas().sort_values("score")
    np.testing.assert_allclose(genuine[["score", "norm"]].to_numpy(), sorted(pairs), rtol=1e-5)

    profile = json.loads((out / "profile.json").read_text())
    assert (profile["faces"], profile["genuine_pairs"], profile["model"]) == (6, 6, "seed-1-abc")
    assert set(profile["columns"]) == {"q_brightness", "norm", "occlusion", "genuine_score"}
    brightness = np.array([row["q_brightness"] for row in test])
    column = profile["columns"]["q_brightness"]
    assert column["mean"] == pytest.approx(brightness.mean(), rel=1e-6)
    assert column["quantiles"]["0.5"] == pytest.approx(np.median(brightness), rel=1e-6)
    assert (column["edges"][0], column["edges"][-1]) == pytest.approx((brightness.min(), brightness.max()))
    assert all(sum(about["counts"]) == 6 for about in profile["columns"].values())


def test_a_model_that_cannot_tell_what_is_covered_has_no_such_column(
    face_rows: Make, make_table: Make, runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "FaceModel", MeanColour)
    monkeypatch.setattr(MeanColour, "tells", False)
    out = tmp_path / "reference"
    reference.run(Reference(student="small", bins=4), make_table(face_rows()).path, tmp_path, out, runtime)
    assert "occlusion" not in pq.read_table(out / "faces.parquet").column_names
