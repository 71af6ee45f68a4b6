"""Either kind of teacher leaves a folder, and one unit template of every clean face."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.lib.codec import decode
from stages.lib.errors import ConfigError
from stages.lib.models.teacher import open_teacher, save_adopted
from stages.lib.runtime import Runtime
from stages.lib.table import Table
from stages.params import Params, load
from stages.teach import run

Make = Callable[..., Any]


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
    table = run(params.teach, aligned.path, tmp_path / "teacher", tmp_path / "templates", runtime)
    assert_templates(table, aligned, tmp_path / "teacher")


def test_a_teacher_is_trained(
    params: Params, face_rows: Make, make_table: Make, runtime: Runtime, tmp_path: Path
) -> None:
    small = {"backbone": "test_efficientnet", "output_stride": 32, "embedding": 8, "epochs": 2, "batch": 3}
    train = params.teach.train.model_copy(update=small)
    aligned = make_table(face_rows(), shards=2)
    settings = params.teach.model_copy(update={"mode": "train", "train": train})
    table = run(settings, aligned.path, tmp_path / "teacher", tmp_path / "templates", runtime)
    assert_templates(table, aligned, tmp_path / "teacher")


def test_another_file_than_the_one_declared_is_refused(tmp_path: Path) -> None:
    swapped = tmp_path / "model.onnx"
    swapped.write_bytes(b"another model")
    with pytest.raises(ConfigError, match="params say 00"):
        save_adopted(tmp_path / "teacher", str(swapped), "raw_rgb", 1, "00")
    assert not (tmp_path / "teacher").exists()
