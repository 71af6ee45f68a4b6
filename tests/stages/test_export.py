"""The best seed on validation people ships, with its contract; what is too large or too different does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages import export
from stages.lib.codec import decode
from stages.lib.deploy.golden import verify_golden
from stages.lib.deploy.session import FaceModel
from stages.lib.errors import ConfigError, GateFailed
from stages.lib.report.candidates import int8_candidate, student_candidates
from stages.lib.runtime import Runtime
from stages.params import Export, Int8

Make = Callable[..., Any]
SMALL = Int8(max_mb=1.0, min_cosine=0.9, calibration_faces=16)
PARAMS = Export(min_cosine=0.9999, parity_faces=5, max_mb=8.0, int8=SMALL, fmr_targets=(0.5, 1e-3))
FLOAT_ONLY = PARAMS.model_copy(update={"int8": None})


def test_the_best_seed_ships_and_a_failed_gate_keeps_it(
    trained: Callable[..., Path],
    face_rows: Make,
    make_table: Make,
    runtime: Runtime,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    aligned, out = make_table(face_rows()), tmp_path / "exported"
    students = trained({2: 0.1, 10: 0.3}, "big: no trade")
    export.run(PARAMS, "small", students, aligned.path, out, runtime)
    about = json.loads((out / "model.json").read_text())
    assert about["contract"]["licence"] == "of the faces: CC0-1.0; of the teacher: big: no trade"
    assert about["shipped"] == "seed-2"
    assert sorted(file.name for file in (out / "replicas").iterdir()) == ["seed-10.onnx", "seed-2.onnx"]
    shipped = (out / "model.onnx").read_bytes()
    assert shipped == (out / "replicas" / "seed-2.onnx").read_bytes()
    assert about["bytes"] == len(shipped)
    assert about["contract"]["hashes"]["aligned"] == aligned.content_id
    assert about["contract"]["objectives"] == ["identity"]
    assert min(figures["min_cosine"] for figures in about["parity"].values()) > PARAMS.min_cosine
    small = FaceModel(out / "model.int8.onnx")
    assert small.contract.version == f"{about['contract']['version']}-int8"
    assert about["int8"]["contract"] == json.loads(small.contract.model_dump_json())
    assert about["int8"]["bytes"] == (out / "model.int8.onnx").stat().st_size < 0.6 * len(shipped)
    assert about["int8"]["parity"]["min_cosine"] > SMALL.min_cosine
    for model, vectors in (("model.onnx", "golden.npz"), ("model.int8.onnx", "golden.int8.npz")):
        verify_golden(out / model, out / vectors)
    with pytest.raises(GateFailed, match="cosine"):
        verify_golden(out / "model.onnx", out / "golden.int8.npz")  # each has its own
    with np.load(out / "golden.npz") as golden:
        assert golden["embeddings"].shape == (8, 8)
        first = decode(aligned.read(["image"])["image"][0].as_py())
        assert not (golden["faces"] == first).all(axis=(1, 2, 3)).any()  # no face of a source that may not travel

    def write_too_much(encoder: object, path: Path, contract: object) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(9 * 2**20))

    monkeypatch.setattr(export, "export_encoder", write_too_much)
    with pytest.raises(GateFailed, match=r"9\.00 MB, more than export\.max_mb 8\.0"):
        export.run(PARAMS, "small", students, aligned.path, out, runtime)
    assert (out / "model.onnx").read_bytes() == shipped
    assert FaceModel(out / "model.onnx").contract.version == about["contract"]["version"]


def test_int8_that_wrecks_the_student_or_is_too_large_does_not_ship(
    trained: Callable[..., Path], face_rows: Make, make_table: Make, runtime: Runtime, tmp_path: Path
) -> None:
    aligned, students, out = make_table(face_rows()).path, trained({1: 0.1}), tmp_path / "exported"
    for strict, message in (
        ({"min_cosine": 1.0}, r"below cosine 1\.0; .* leave export\.int8 empty"),
        ({"max_mb": 0.01}, r"more than export\.int8\.max_mb 0\.01"),
    ):
        params = PARAMS.model_copy(update={"int8": SMALL.model_copy(update=strict)})
        with pytest.raises(GateFailed, match=message):
            export.run(params, "small", students, aligned, out, runtime)
        assert not out.exists()
    export.run(FLOAT_ONLY, "small", students, aligned, out, runtime)
    assert sorted(file.name for file in out.iterdir()) == ["golden.npz", "model.json", "model.onnx", "replicas"]
    with pytest.raises(ConfigError, match=r"set export\.int8 in params\.yaml"):
        int8_candidate("small", out, 1)


def test_the_threshold_that_ships_is_that_of_unseen_people(
    trained: Callable[..., Path],
    face_rows: Make,
    make_table: Make,
    runtime: Runtime,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    aligned = make_table(face_rows(each=5))
    export.run(PARAMS, "small", trained({1: 0.1, 2: 0.2}), aligned.path, tmp_path / "out", runtime)
    shipped = FaceModel(tmp_path / "out" / "model.onnx")
    assert json.loads((tmp_path / "out" / "model.json").read_text())["contract"] == json.loads(
        shipped.contract.model_dump_json()
    )
    small = FaceModel(tmp_path / "out" / "model.int8.onnx")
    candidate = int8_candidate("small", tmp_path / "out", 1)
    (replica, _) = student_candidates("small", (), tmp_path / "out", 1)
    assert (candidate.label, candidate.parameters) == ("small_int8, seed 1", replica.parameters)
    assert candidate.megabytes < replica.megabytes and candidate.identity != replica.identity
    assert set(small.contract.thresholds) == set(shipped.contract.thresholds)  # of its own scores
    assert small.contract.thresholds != shipped.contract.thresholds
    (threshold,) = shipped.contract.thresholds.values()
    assert (threshold.impostor_pairs, threshold.people) == (25, 2)
    rows = [row for row in aligned.read(["subject_id", "split", "image"]).to_pylist() if row["split"] == "val"]
    embeddings, _ = shipped.embed(np.stack([decode(row["image"]) for row in rows]))
    pairs = [(a, b) for a, b in combinations(range(10), 2) if rows[a]["subject_id"] != rows[b]["subject_id"]]
    accepted = sum(float(embeddings[a] @ embeddings[b]) >= threshold.cosine for a, b in pairs)
    assert 11 <= accepted <= 13  # of 25; one at the threshold may fall to either side of it by rounding
    assert "no threshold at FMR 1e-3: of 25 pairs of 2 validation people 0.025 match" in capsys.readouterr().out


def test_a_student_that_was_not_trained_says_so(
    face_rows: Make, make_table: Make, runtime: Runtime, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="no trained seed; run `python -m stages distill small`"):
        export.run(PARAMS, "small", tmp_path / "nothing", make_table(face_rows()).path, tmp_path / "exported", runtime)
