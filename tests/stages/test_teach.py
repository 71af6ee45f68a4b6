"""Either kind of teacher leaves a folder, and one unit template of every clean face."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages import synthesize
from stages.lib.codec import decode
from stages.lib.errors import ConfigError
from stages.lib.fingerprint import sha256_file
from stages.lib.models.contract import PRESETS
from stages.lib.models.known import KNOWN, locate
from stages.lib.models.teacher import open_teacher, save_adopted
from stages.lib.runtime import Runtime
from stages.lib.table import Table
from stages.params import PATH, Params, Synthesize, load
from stages.profiles import apply, names
from stages.teach import run

Make = Callable[..., Any]
NONE = Path()  # no variants are asked for


@pytest.fixture
def params() -> Params:
    return load()


def assert_templates(table: Table, aligned: Table, teacher: Path) -> None:
    assert table.read(["face_id"]).to_pylist() == aligned.read(["face_id"]).to_pylist()
    rows = table.read(["template", "norm"])
    vectors = np.stack(rows["template"].to_numpy())
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    faces = np.stack([decode(image) for image in aligned.read(["image"])["image"].to_pylist()])
    unit, norms = open_teacher(teacher, "cpu", 1).embed(faces, flip=True)
    np.testing.assert_allclose(vectors, unit, atol=1e-4)
    np.testing.assert_allclose(rows["norm"].to_numpy(), norms, rtol=1e-3)


def test_a_model_is_adopted(
    params: Params, face_rows: Make, make_table: Make, runtime: Runtime, tmp_path: Path
) -> None:
    aligned = make_table(face_rows(each=1), shards=3)
    table = run(params.teach, aligned.path, NONE, tmp_path / "teacher", tmp_path / "templates", runtime)
    assert_templates(table, aligned, tmp_path / "teacher")
    assert set(table.read(["licence"])["licence"].to_pylist()) == {"sface: Apache-2.0"}


def test_a_model_given_by_path_alone_is_told_its_hash(
    params: Params,
    face_rows: Make,
    make_table: Make,
    runtime: Runtime,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    aligned, file = make_table(face_rows(each=1)), locate("sface")
    for sha256 in (None, sha256_file(file)):
        adopt = params.teach.adopt.model_copy(update={"model": str(file), "sha256": sha256, "licence": "for play"})
        teach = params.teach.model_copy(update={"adopt": adopt})
        table = run(teach, aligned.path, NONE, tmp_path / "teacher", tmp_path / "templates", runtime)
        assert set(table.read(["licence"])["licence"].to_pylist()) == {f"{file.name}: for play"}
        hint = f"set teach.adopt.sha256: {sha256_file(file)}\n"
        assert (hint in capsys.readouterr().out) == (sha256 is None)


def test_people_kept_for_transfer_get_no_template(
    params: Params, face_rows: Make, make_table: Make, runtime: Runtime, tmp_path: Path
) -> None:
    aligned = make_table(face_rows(splits=("train", "transfer", "val"), each=1), shards=2)
    table = run(params.teach, aligned.path, NONE, tmp_path / "teacher", tmp_path / "templates", runtime)
    rows = aligned.read(["face_id", "split"]).to_pylist()
    assert table.read(["face_id"])["face_id"].to_pylist() == [r["face_id"] for r in rows if r["split"] != "transfer"]


def test_training_variants_get_templates_where_wanted(
    params: Params, face_rows: Make, make_table: Make, runtime: Runtime, tmp_path: Path
) -> None:
    aligned = make_table(face_rows(each=1), "aligned")
    wanted = Synthesize(seed=1, grid={"jpeg": (1,)}, grid_faces=9, variants=2, probabilities={"jpeg": 1.0})
    variants = synthesize.run("variants", wanted, aligned.path, tmp_path / "variants", runtime)
    both = params.teach.model_copy(update={"variants": True})
    table = run(both, aligned.path, variants.path, tmp_path / "teacher", tmp_path / "templates", runtime)
    random = variants.read(["face_id"])["face_id"].to_pylist()
    assert random
    clean = aligned.read(["face_id"])["face_id"].to_pylist()
    assert sorted(table.read(["face_id"])["face_id"].to_pylist()) == sorted(clean + random)


def test_a_teacher_is_trained(
    params: Params, face_rows: Make, make_table: Make, runtime: Runtime, tmp_path: Path
) -> None:
    small = {"backbone": "test_efficientnet", "output_stride": 32, "embedding": 8, "epochs": 2, "batch": 3}
    train = params.teach.train.model_copy(update=small)
    aligned = make_table(face_rows(), shards=2)
    settings = params.teach.model_copy(update={"mode": "train", "train": train})
    table = run(settings, aligned.path, NONE, tmp_path / "teacher", tmp_path / "templates", runtime)
    assert_templates(table, aligned, tmp_path / "teacher")
    assert set(table.read(["licence"])["licence"].to_pylist()) == {"trained here, of the faces: CC0-1.0"}


def test_a_known_model_with_anothers_contract_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'sface' was made for the contract 'raw_rgb', not 'raw_bgr'"):
        save_adopted(tmp_path / "teacher", "sface", "raw_bgr", 1)
    with pytest.raises(ConfigError, match="params say 00"):
        save_adopted(tmp_path / "teacher", "sface", "raw_rgb", 1, "00")
    assert not (tmp_path / "teacher").exists()


@pytest.mark.parametrize("name", names())
def test_profiles_give_known_models_their_contract(name: str, tmp_path: Path) -> None:
    path = Path(shutil.copy(PATH, tmp_path / "params.yaml"))
    apply(name, path=path)
    settings = load(path)
    for adopt in (settings.teach.adopt, *settings.evaluate.peers.values()):
        if adopt.model in KNOWN:
            assert PRESETS[adopt.contract] == KNOWN[adopt.model].input
            assert adopt.sha256 in (None, KNOWN[adopt.model].sha256)


def test_another_file_than_the_one_declared_is_refused(tmp_path: Path) -> None:
    swapped = tmp_path / "model.onnx"
    swapped.write_bytes(b"another model")
    with pytest.raises(ConfigError, match="params say 00"):
        save_adopted(tmp_path / "teacher", str(swapped), "raw_rgb", 1, "00")
    assert not (tmp_path / "teacher").exists()
