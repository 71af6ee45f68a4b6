"""The profile is of the test people, and its figures are those of a loop."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages import reference
from stages.lib.codec import decode
from stages.lib.deploy import ask
from stages.lib.deploy.session import Inspection
from stages.lib.drift.price import Price
from stages.lib.models import contract
from stages.lib.models.contract import QualityContract, Technique, Threshold
from stages.lib.quality.calibration import load_bands
from stages.lib.runtime import Runtime
from stages.lib.table import conform
from stages.params import Reference

Make = Callable[..., Any]


class Contract:
    version = "seed-1-abc"
    thresholds: ClassVar[dict[str, Threshold]] = {}
    quality: ClassVar[QualityContract | None] = QualityContract(technique="pair")
    own_quality = contract.Contract.own_quality


class MeanColour:
    """Embeds a face as the mean of its red, green and blue; the norm says how bright it is, the map how red.

    What is not red is good.
    """

    contract = Contract()
    tells = True

    def __init__(self, path: Path, threads: int) -> None:
        assert path.name == "model.onnx"

    def inspect(self, faces: np.ndarray) -> Inspection:
        raw = faces.mean(axis=(1, 2)).astype(np.float32)
        norms = np.linalg.norm(raw, axis=1)
        occlusion = faces[:, ::16, ::16, 0].astype(np.float32) / 255
        heads = (occlusion, 1.0 - raw[:, 0] / 255) if self.tells else (None, None)
        return Inspection(raw / norms[:, None], norms, *heads)


PARAMS = Reference(student="small", bins=4, bands=2, replicates=20, seed=1)


@pytest.fixture
def grid(face_rows: Make, make_table: Make) -> Path:
    return noisy([row for row in face_rows().to_pylist() if row["split"] == "test"], make_table)


def noisy(rows: list[dict[str, Any]], make_table: Make) -> Path:
    """Faces under three severities of a noise that is none: their own pictures."""
    cells = [
        {**row, "face_id": f"{row['face_id']}-noise-{s}", "parent_id": row["face_id"], "d_operator": "noise"}
        | {"d_severity": s, "d_params": "{}", "d_seed": 1}
        for row in rows
        for s in (1, 2, 3)
    ]
    return make_table(conform(pa.Table.from_pylist(sorted(cells, key=lambda cell: cell["face_id"]))), "grid").path


def test_figures_are_those_of_a_loop(
    face_rows: Make, make_table: Make, grid: Path, runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "FaceModel", MeanColour)
    monkeypatch.setattr(ask, "BATCH", 4)
    rows = face_rows()
    out = tmp_path / "reference"
    said = reference.run(PARAMS, make_table(rows).path, grid, tmp_path, out, runtime)
    assert "no bands: that takes" in said and "no price: that takes" in said and not (out / "bands.parquet").exists()

    test = [row for row in rows.to_pylist() if row["split"] == "test"]
    raw = [decode(row["image"]).reshape(-1, 3).mean(axis=0) for row in test]
    norms = [float(np.linalg.norm(value)) for value in raw]
    faces = pq.read_table(out / "faces.parquet")
    assert set(faces.column_names) == {
        "face_id",
        "q_brightness",
        "norm",
        "occlusion",
        "quality",
        "person",
    }  # no pixels, no embedding, no name
    assert faces["face_id"].to_pylist() == [row["face_id"] for row in test]
    people = sorted({row["subject_id"] for row in test})
    assert faces["person"].to_pylist() == [people.index(row["subject_id"]) for row in test]
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
    assert set(profile["columns"]) == {"q_brightness", "norm", "occlusion", "quality", "genuine_score"}
    brightness = np.array([row["q_brightness"] for row in test])
    column = profile["columns"]["q_brightness"]
    assert column["mean"] == pytest.approx(brightness.mean(), rel=1e-6)
    assert column["quantiles"]["0.5"] == pytest.approx(np.median(brightness), rel=1e-6)
    assert (column["edges"][0], column["edges"][-1]) == pytest.approx((brightness.min(), brightness.max()))
    assert all(sum(about["counts"]) == 6 for about in profile["columns"].values())


def test_a_model_that_tells_neither_covers_nor_quality_has_no_such_columns(
    face_rows: Make, make_table: Make, grid: Path, runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "FaceModel", MeanColour)
    monkeypatch.setattr(MeanColour, "tells", False)
    out = tmp_path / "reference"
    reference.run(PARAMS, make_table(face_rows()).path, grid, tmp_path, out, runtime)
    assert {"occlusion", "quality"}.isdisjoint(pq.read_table(out / "faces.parquet").column_names)


@pytest.mark.parametrize("technique", ["pair", "teacher_pair", None])
def test_bands_price_the_probes_quality_at_the_strictest_threshold(
    technique: Technique | None,
    face_rows: Make,
    make_table: Make,
    runtime: Runtime,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reference, "FaceModel", MeanColour)
    monkeypatch.setattr(MeanColour, "tells", technique is not None)
    monkeypatch.setattr(Contract, "quality", technique and QualityContract(technique=technique))
    own = technique == "pair"  # the other one judges faces for another model
    strict, loose = (Threshold(cosine=c, impostor_pairs=10, people=2) for c in (0.9995, 0.0))
    monkeypatch.setattr(Contract, "thresholds", {"1e-2": loose, "1e-3": strict})
    rows = face_rows(["test"] * 40, each=3)
    test, out = rows.to_pylist(), tmp_path / "reference"
    tables = make_table(rows).path, noisy(test, make_table)
    reference.run(PARAMS, *tables, tmp_path, out, runtime)
    raw = [decode(row["image"]).reshape(-1, 3).mean(axis=0) for row in test]
    good, missed = [], []
    for (one, a), (other, b) in combinations(zip(test, raw, strict=True), 2):
        if one["subject_id"] == other["subject_id"]:
            good.append(1 - b[0] / 255 if own else np.linalg.norm(b))
            missed.append(a @ b / np.linalg.norm(a) / np.linalg.norm(b) < 0.9995)
    bands = load_bands(out / "bands.parquet")
    assert len(bands.fnmr) == 2
    assert bands.edges == pytest.approx([np.median(good)], rel=1e-5)
    sides = [[m for q, m in zip(good, missed, strict=True) if (q >= bands.edges[0]) == side] for side in (False, True)]
    assert bands.pairs.tolist() == [4 * len(side) for side in sides]  # clean, and three cells of the same pictures
    assert bands.fnmr == pytest.approx([np.mean(side) for side in sides])
    told = json.loads((out / "profile.json").read_text())
    assert told["bands"] == {"technique": "quality" if own else "norm"}
    assert told["run_at"] == {"fmr": "1e-3", "threshold": 0.9995}
    price = Price.load(out / "price.npz")  # of all 120 probes, clean and in three cells of the same pictures
    probes = {name: np.full(1, at[2]) for name, at in zip(price.columns, price.knots, strict=True)}
    expected = price.expected(probes)
    assert set(price.columns) >= {"q_brightness", "norm"} and expected is not None and 0.0 < expected[0] < 1.0

    reference.run(PARAMS, *tables, tmp_path, out, runtime, run_at=("1e-2", -1.0))  # none that is stated
    told = json.loads((out / "profile.json").read_text())
    assert told["run_at"] == {"fmr": "1e-2", "threshold": -1.0} and not load_bands(out / "bands.parquet").fnmr.any()
    assert "all pairs miss or none" in told["price"]["left_out"] and not (out / "price.npz").exists()


def test_too_few_people_leave_the_profile_without_a_price(
    face_rows: Make, make_table: Make, grid: Path, runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "FaceModel", MeanColour)
    monkeypatch.setattr(Contract, "thresholds", {"1e-2": Threshold(cosine=0.5, impostor_pairs=10, people=2)})
    out = tmp_path / "reference"
    said = reference.run(PARAMS, make_table(face_rows()).path, grid, tmp_path, out, runtime)
    assert "raise synthesize.grid_faces" in said and (out / "faces.parquet").is_file()
    assert not (out / "bands.parquet").exists()
