"""Every seed is trained once, a killed run goes on, and equal inputs give equal weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file

from stages import distill, synthesize
from stages.lib.classes import Label
from stages.lib.codec import encode_png
from stages.lib.errors import ConfigError
from stages.lib.models.checkpoint import WEIGHTS, load_model, read_spec
from stages.lib.models.student import build_encoder
from stages.lib.runtime import Runtime
from stages.lib.training.people import Inputs
from stages.params import (
    Distill,
    Identity,
    Objectives,
    Occlusion,
    Segmentation,
    Selective,
    Student,
    Synthesize,
    Template,
    load,
)

Make = Callable[..., Any]
DIM = 8
IDENTITY = Identity(weight=1.0, head="elastic_arc", scale=32.0, margin=0.3, sigma=0.05)
JPEG = {"jpeg": 1.0}


@pytest.fixture
def student() -> Student:
    objectives = Objectives(identity=IDENTITY, template=Template(weight=3.0))
    return Student(backbone="test_efficientnet", output_stride=32, embedding=DIM, controls=(), objectives=objectives)


@pytest.fixture
def params() -> Distill:
    return load().distill.model_copy(update={"seeds": (1, 2), "epochs": 2, "batch": 3})


@pytest.fixture
def inputs(face_rows: Make, make_table: Make, runtime: Runtime, tmp_path: Path) -> Inputs:
    rows = face_rows()
    aligned = make_table(rows, "aligned")
    wanted = Synthesize(seed=1, grid={"jpeg": (1,)}, grid_faces=1, variants=1, probabilities=JPEG)
    random = np.random.default_rng(0).normal(size=(rows.num_rows, DIM))
    unit = (random / np.linalg.norm(random, axis=1, keepdims=True)).astype(np.float32)
    vectors = pa.FixedSizeListArray.from_arrays(unit.ravel(), DIM)
    licence = pa.array(["big: no trade"] * len(rows))
    templates = pa.table({"face_id": rows["face_id"], "template": vectors, "licence": licence})
    variants = synthesize.run("variants", wanted, aligned.path, tmp_path / "variants", runtime)
    return Inputs(aligned, variants, make_table(templates, "templates"), JPEG)


def test_seeds_side_by_side_give_the_weights_of_one_after_another(
    student: Student, params: Distill, inputs: Inputs, runtime: Runtime, tmp_path: Path
) -> None:
    for name, threads in (("row", 1), ("beside", 2)):
        distill.run("student", student, params, inputs, tmp_path / name, replace(runtime, threads=threads))
    for file in ("seed-1/" + WEIGHTS, "seed-2/" + WEIGHTS, "history.csv"):
        assert (tmp_path / "row" / file).read_bytes() == (tmp_path / "beside" / file).read_bytes()


def test_what_parses_faces_stays_behind(
    student: Student, params: Distill, inputs: Inputs, make_table: Make, runtime: Runtime, tmp_path: Path
) -> None:
    rows = inputs.aligned.read(inputs.aligned.columns)
    assert rows["segmentation"].null_count == len(rows)
    objectives = student.objectives.model_copy(update={"segmentation": Segmentation(weight=1.0, stride=4, balance=0.5)})
    parsing = student.model_copy(update={"objectives": objectives})
    with pytest.raises(ConfigError, match="no training face has a segmentation"):
        distill.run("parsing", parsing, params, inputs, tmp_path / "none", runtime)

    parse = encode_png(np.full((112, 112), Label.SKIN, np.uint8))
    column = pa.array([parse] * len(rows), pa.binary())
    table = rows.set_column(rows.column_names.index("segmentation"), "segmentation", column)
    # the test people stand for those of another source, whom the decoder is measured on before it is left behind
    splits = [split.replace("test", "transfer") for split in table["split"].to_pylist()]
    table = table.set_column(table.column_names.index("split"), "split", pa.array(splits))
    parsed = replace(inputs, aligned=make_table(table, "parsed"))
    distill.run("parsing", parsing, params, parsed, tmp_path / "parsing", runtime)
    measured = read_spec(tmp_path / "parsing" / "seed-1").metrics
    assert {"miou_val", "miou_made"} < measured.keys()
    assert all(0.0 <= measured[name] <= 1.0 for name in ("miou_val", "miou_made"))
    shipped = load_file(tmp_path / "parsing" / "seed-1" / WEIGHTS)
    assert shipped.keys() == build_encoder(student.backbone, DIM, student.output_stride).state_dict().keys()


def test_a_teachers_licence_goes_with_those_who_learnt_from_it(
    student: Student, params: Distill, inputs: Inputs, runtime: Runtime, tmp_path: Path
) -> None:
    taught = student.objectives.model_copy(update={"template": Template(weight=1.0)})
    alone = student.objectives.model_copy(update={"template": None})
    one = params.model_copy(update={"seeds": (1,), "epochs": 1})
    for objectives, licence in ((taught, "big: no trade"), (alone, "")):
        learns = student.model_copy(update={"objectives": objectives})
        distill.run("student", learns, one, inputs, tmp_path / "student", runtime)
        assert read_spec(tmp_path / "student" / "seed-1").licence == licence


def test_a_killed_run_trains_no_seed_twice(
    student: Student,
    params: Distill,
    inputs: Inputs,
    runtime: Runtime,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    distill.run("whole", student, params, inputs, tmp_path / "whole", runtime)
    saved: list[str] = []

    def die_at_the_second(folder: Path, *args: Any) -> Any:
        saved.append(folder.name)
        if len(saved) == 2:
            raise KeyboardInterrupt
        return save_model(folder, *args)

    save_model = distill.save_model
    monkeypatch.setattr(distill, "save_model", die_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        distill.run("cut", student, params, inputs, tmp_path / "cut", runtime)
    assert not (tmp_path / "cut").exists()  # an interrupted run never looks finished
    monkeypatch.setattr("stages.lib.training.loop._step", pytest.fail)  # both seeds had finished their steps
    distill.run("cut", student, params, inputs, tmp_path / "cut", runtime)

    for seed in params.seeds:
        whole, cut = (tmp_path / name / f"seed-{seed}" for name in ("whole", "cut"))
        assert (whole / WEIGHTS).read_bytes() == (cut / WEIGHTS).read_bytes()
        assert load_model(cut)[0].architecture.embedding == DIM
        assert set(read_spec(cut).metrics) == {"val_eer", "val_template"}
    assert read_spec(cut).weights_sha256 != read_spec(tmp_path / "cut" / "seed-1").weights_sha256
    one, two, mean = (pd.read_csv(tmp_path / "cut" / name / "history.csv") for name in ("seed-1", "seed-2", ""))
    assert mean["epoch"].tolist() == one["epoch"].tolist() == [1, 2]
    np.testing.assert_allclose(mean["loss_total"], (one["loss_total"] + two["loss_total"]) / 2, rtol=1e-5)
    assert mean.equals(pd.read_csv(tmp_path / "whole" / "history.csv"))
    assert not any(path.is_file() for path in (runtime.scratch / "distill").rglob("*"))


def test_what_is_chosen_stays_beside_the_student_and_what_is_covered_ships(
    student: Student, params: Distill, inputs: Inputs, runtime: Runtime, tmp_path: Path
) -> None:
    selective = Selective(weight=1.0, keep="graph", keep_ratio=0.5, gamma=1.0, beta=0.1)
    objectives = Objectives(identity=IDENTITY, selective=selective, occlusion=Occlusion(weight=1.0))
    hardy = student.model_copy(update={"objectives": objectives})
    distill.run("hardy", hardy, params, inputs, tmp_path / "hardy", runtime)
    folder = tmp_path / "hardy" / "seed-1"
    chosen = pq.read_table(folder / "selection.parquet")
    trained = inputs.aligned.read(["face_id"], ds.field("split") == "train")
    assert chosen["face_id"].to_pylist() == trained["face_id"].to_pylist()
    encoder, spec = load_model(folder)
    assert encoder.architecture.occlusion
    assert spec.objectives == ("identity", "selective", "occlusion")


def test_faces_may_be_degraded_anew_at_every_step(
    student: Student, params: Distill, inputs: Inputs, runtime: Runtime, tmp_path: Path
) -> None:
    anew = params.model_copy(update={"fresh": True, "degraded": 1.0})
    weights = {}
    for name, operators in {"jpeg": JPEG, "again": JPEG, "none": {"jpeg": 0.0}}.items():
        given = replace(inputs, operators=operators)
        distill.run("student", student, anew, given, tmp_path / name, runtime)
        weights[name] = (tmp_path / name / "seed-1" / WEIGHTS).read_bytes()
    assert weights["jpeg"] == weights["again"]
    assert weights["jpeg"] != weights["none"]
