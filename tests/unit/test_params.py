"""`params.yaml` is read strictly: what is wrong is refused by its dotted name."""

from __future__ import annotations

import datetime
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML

from stages.lib.degrade import OPERATORS
from stages.lib.errors import ConfigError
from stages.lib.explained import explain, written
from stages.lib.geometry.template import ARCFACE_TEMPLATE
from stages.lib.quality.covariates import covariates
from stages.params import COVARIATES, MOVERS, PATH, SEVERITIES, Params, load, read_yaml

Edit = Callable[[str, Any], Path]
GONE = object()


@pytest.fixture
def edit(tmp_path: Path) -> Edit:
    """Write the committed params with one key changed, added or taken away."""

    def write(key: str, value: Any) -> Path:
        document = read_yaml(PATH)
        *parents, last = key.split(".")
        section = document
        for parent in parents:
            section = section[parent]
        section[last] = value
        if value is GONE:
            del section[last]
        path = tmp_path / "params.yaml"
        YAML(typ="safe", pure=True).dump(document, path)
        return path

    return write


def test_the_committed_file_is_valid_and_frozen() -> None:
    params = load()
    assert isinstance(params.distill.lr, float)
    with pytest.raises(ValueError, match="frozen"):
        params.distill.lr = 1.0  # type: ignore[misc]


@pytest.mark.parametrize("text", ["1e-4", "1E-4", "0.0001"])
def test_every_way_to_write_a_float_is_one(tmp_path: Path, text: str) -> None:
    line = next(line for line in PATH.read_text().splitlines() if line.strip().startswith("lr:"))
    path = tmp_path / "params.yaml"
    path.write_text(PATH.read_text().replace(line, f"{line.partition('lr:')[0]}lr: {text}"))
    params = load(path)
    assert 1e-4 in (params.distill.lr, params.teach.train.lr)


# key, value, what the error must name and say
INVALID: dict[str, tuple[str, Any, str]] = {
    "unknown key": ("align.max_residuals", 3.0, r"align\.max_residuals: Extra inputs"),
    "unknown section": ("synthesise", {}, "synthesise: Extra inputs"),
    "lost key": ("distill.lr", GONE, r"distill\.lr: Field required"),
    "lost section": ("validate", GONE, "validate: Field required"),
    "number as text": ("distill.lr", "1e-3", r"distill\.lr: .*valid number"),
    "fraction for a count": ("distill.epochs", 1.5, r"distill\.epochs: .*integer"),
    "yes for a count": ("distill.epochs", True, r"distill\.epochs: .*integer"),
    "share above one": ("ingest.test_fraction", 1.1, r"ingest\.test_fraction: .*less than or equal to 1"),
    "endless rate": ("distill.lr", float("inf"), r"distill\.lr: .*finite"),
    "no rate": ("distill.lr", float("nan"), r"distill\.lr"),
    "unknown operator": ("synthesize.grid.rain", [1], r"synthesize\.grid\.rain"),
    "no operator": ("synthesize.grid", {}, r"synthesize\.grid: .*at least 1"),
    "no severity": ("synthesize.grid.blur", [], r"synthesize\.grid\.blur: .*at least 1"),
    "severity zero": ("synthesize.grid.blur", [0], r"synthesize\.grid\.blur\.0: .*greater than or equal to 1"),
    "severity too hard": ("synthesize.grid.mask", [4, 1], r"synthesize\.grid: .*mask has severities 1 to 3, not 4"),
    "severity twice": ("synthesize.grid.blur", [2, 1, 2], r"synthesize\.grid: .*blur names a severity twice"),
    "unknown covariate": ("validate.ranges.q_smile", [0.0, 1.0], r"validate\.ranges\.q_smile"),
    "one bound": ("validate.ranges.q_yaw", [0.0], r"validate\.ranges\.q_yaw"),
    "bounds upside down": ("validate.ranges.q_yaw", [9.0, -9.0], r"validate\.ranges: .*q_yaw runs from 9 down to -9"),
    "endless bound": ("validate.ranges.q_yaw", [0.0, float("inf")], r"validate\.ranges\.q_yaw.*finite"),
    "mostly none": ("validate.ranges.q_yaw", [0.0, 1.0, 0.0], r"validate\.ranges\.q_yaw\.2: .*greater than 0"),
    "mostly above one": ("validate.ranges.q_yaw", [0.0, 1.0, 1.1], r"q_yaw\.2: .*less than or equal to 1"),
    "four bounds": ("validate.ranges.q_yaw", [0.0, 1.0, 1.0, 1.0], r"validate\.ranges\.q_yaw"),
    "no FMR": ("evaluate.fmr_targets", [], r"evaluate\.fmr_targets: .*at least 1"),
    "degraded faces for the teacher": ("teach.train.degraded", 0.5, r"teach\.train\.degraded: Extra inputs"),
    "unknown source": ("ingest.source", "celeba", r"ingest\.source: .*'orl'"),
    "main source again": ("ingest.source", "orl", r"names orl, which is the main source already"),
    "no seed": ("distill.seeds", [], r"distill\.seeds"),
    "negative seed": ("distill.seeds", [1, -1], r"distill\.seeds\.1: .*greater than or equal to 0"),
    "seed twice": ("distill.seeds", [1, 1], r"distill\.seeds: .*twice"),
    "batch of one": ("distill.batch", 1, r"distill\.batch"),
    "unknown control": ("students.unified.controls", ["nobody"], r"unified\.controls names no student: 'nobody'"),
    "control twice": ("students.unified.controls", ["control", "control"], r"unified\.controls: .*named twice"),
    "both faces of nothing": ("evaluate.both", ["rain"], r"evaluate\.both\.0"),
    "own control": ("students.unified.controls", ["unified"], r"unified\.controls names the student itself"),
    "other backbone": ("students.control.backbone", "resnet10t", r"unified\.controls: 'control' has another backbone;"),
    "other stride": ("students.unified.output_stride", 32, r"another output_stride;"),
    "other length": ("students.control.embedding", 64, r"another embedding;"),
    "no objective": ("students.control.objectives.identity.weight", 0.0, r"control\.objectives: .*tells people apart"),
    "late objective": ("students.control.objectives.identity.start", 0.5, r"control\.objectives: .*tells people apart"),
    "unknown objective": ("students.control.objectives.magic", {"weight": 1.0}, r"objectives\.magic: Extra inputs"),
    "form B without its templates": (
        "students.unified.objectives.consistency.form",
        "B",
        r"students\.unified: consistency of form B .*teach\.variants",
    ),
    "another model's quality without its templates": (
        "students.unified.objectives.quality.technique",
        "teacher_pair",
        r"students\.unified: quality by teacher_pair .*teach\.variants",
    ),
    "steadiness of what nothing shakes": (
        "students.unified.objectives.quality.technique",
        "ser_fiq",
        r"students\.unified: ser_fiq .*set dropout",
    ),
    "other dropout": ("students.control.dropout", 0.1, r"another dropout;"),
    "a term that never begins": ("students.unified.objectives.template.start", 1.0, r"template: .*end after"),
    "a term that never rises": ("students.unified.objectives.template.ramp", 1.5, r"template\.ramp: .*less than or"),
    "unknown int8 student": ("evaluate.int8", ["nobody"], r"evaluate\.int8 names no student"),
    "unknown shipped student": ("reference.student", "nobody", r"reference\.student names no student: 'nobody'"),
    "no student": ("students", {}, "students"),
}


@pytest.mark.parametrize(("key", "value", "message"), INVALID.values(), ids=INVALID)
def test_invalid_params_are_refused_by_name(edit: Edit, key: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        load(edit(key, value))
    assert refused.value.exit_code == 2


def test_a_fault_between_keys_does_not_print_the_file(edit: Edit) -> None:
    with pytest.raises(ConfigError) as refused:
        load(edit("students.unified.controls", ["nobody"]))
    assert str(refused.value).splitlines()[1:] == ["  params: students.unified.controls names no student: 'nobody'"]
    with pytest.raises(ConfigError, match=r"align\.max_residual: .*\(found -1\)"):
        load(edit("align.max_residual", -1))


def test_what_is_written_under_a_key_is_shown() -> None:
    values = {"a": {"rate": 1e-3, "none": None, "name": "cohort", "seeds": [1, 2]}, "b": [{"c": 1}]}
    keys = ("a.rate", "a.none", "a.name", "a.seeds", "a.other", "a.name.x", "b[].c")
    assert [written(key, values) for key in keys] == ["0.001", "", "cohort", "[1, 2]", "", "", ""]


def test_every_difference_to_the_control_is_named(edit: Edit) -> None:
    control = read_yaml(PATH)["students"]["control"]
    with pytest.raises(ConfigError, match="another backbone and embedding; make them equal"):
        load(edit("students.control", {**control, "backbone": "resnet10t", "embedding": 64}))


def test_an_objective_that_is_not_given_or_weighs_nothing_takes_no_part(edit: Edit) -> None:
    key = "students.unified.objectives.segmentation"
    whole = load().students["unified"].objectives
    light = load(edit(f"{key}.weight", 0.0)).students["unified"].objectives
    none = load(edit(key, GONE)).students["unified"].objectives
    assert whole.active() == {name: term.model_dump() for name, term in whole if term is not None}
    assert light.active() == none.active() == {n: s for n, s in whole.active().items() if n != "segmentation"}


def test_a_range_holds_for_all_faces_or_for_most(edit: Edit) -> None:
    ranges = load(edit("validate.ranges", {"q_yaw": [-40, 40.0], "q_roll": [0.0, 0.0, 0.5]})).validate_.ranges
    assert ranges == {"q_yaw": (-40.0, 40.0, 1.0), "q_roll": (0.0, 0.0, 0.5)}


def test_the_tables_written_here_are_those_of_the_library() -> None:
    assert {name: len(operator.levels) for name, operator in OPERATORS.items()} == SEVERITIES
    assert tuple(name for name, operator in OPERATORS.items() if operator.moves) == MOVERS
    measured = covariates(np.zeros((1, 112, 112, 3), np.uint8), ARCFACE_TEMPLATE[None], [0.0], "cpu")
    assert set(measured) == set(COVARIATES)


def test_reading_params_loads_no_torch() -> None:
    code = "import sys, stages.__main__; raise SystemExit(bool({'torch', 'pandas', 'pyarrow'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("name", ["teacher", "../elsewhere", "a@b", ""])
def test_a_student_keeps_to_a_folder_of_its_own(edit: Edit, name: str) -> None:
    students = read_yaml(PATH)["students"]
    with pytest.raises(ConfigError, match=rf"students\.{name}"):
        load(edit("students", {**students, name: students["control"]}))


@pytest.mark.parametrize("data", [b"", b"a: [", b"\xff\xfe\x00", b"ingest:\n  seed: 1\n  seed: 2\n"])
def test_what_is_not_params_says_where(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "params.yaml").write_bytes(data)
    with pytest.raises(ConfigError, match=r"params\.yaml"):
        load(tmp_path / "params.yaml")
    with pytest.raises(ConfigError, match=r"nothing\.yaml"):
        load(tmp_path / "nothing.yaml")


def test_a_date_is_text(edit: Edit) -> None:
    assert load(edit("ingest.licence", datetime.date(2024, 1, 31))).ingest.licence == "2024-01-31"


def leaves(values: Any, prefix: str = "") -> Iterator[str]:
    if not isinstance(values, Mapping) or not values:
        yield prefix
        return
    for name, value in values.items():
        yield from leaves(value, f"{prefix}.{name}" if prefix else name)


def test_explain_covers_every_key_with_a_meaning() -> None:
    params = read_yaml(PATH)
    explained = {key: meaning for key, _, meaning in explain(Params)}
    assert [key for key, meaning in explained.items() if not meaning] == []
    student = next(iter(params["students"]))
    written = {key.replace(f"students.{student}.", "students.NAME.") for key in leaves(params)}
    written = {key for key in written if not key.startswith("students.") or ".NAME." in key}
    mappings = ("validate.ranges", "synthesize.grid", "synthesize.probabilities")  # their keys are data
    covered = {next((m for m in mappings if key.startswith(f"{m}.")), key) for key in written}
    assert covered - set(explained) - {"evaluate.peers", "evaluate.scorers", "ingest.more"} == set()
    unused = ("evaluate.peers.", "evaluate.scorers.", "ingest.more[].", "students.NAME.objectives.alignment.")
    left_out = unused, (".start", ".ramp", ".dropout")  # what the default has none of, and what has a default
    asked = {key for key in explained if not (key.startswith(left_out[0]) or key.endswith(left_out[1]))}
    assert asked - covered == set()
