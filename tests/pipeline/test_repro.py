"""The real `dvc.yaml` in small: it runs to its end, a failed gate stops it, what is done is not done again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from flows import dvc
from flows.build import REPORT
from stages.lib.deploy.golden import verify_golden
from stages.lib.sources import Record, open_source
from stages.params import PATH, read_yaml


class Project:
    """A copy of the project over a few photographs, with DVC and no Git."""

    def __init__(self, root: Path, bytecode: Path) -> None:
        self.root, self.bytecode = root, bytecode
        shutil.copytree("stages", root / "stages", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("dvc.yaml", ".dvcignore", PATH.name):
            shutil.copy(name, root / name)
        (root / ".dvc").mkdir()
        (root / ".dvc" / "config").write_text("[core]\n    no_scm = true\n    analytics = false\n")

    def set(self, *section: str, **values: Any) -> None:
        params = read_yaml(self.root / PATH.name)
        reduce(getitem, section, params).update(values)
        YAML(typ="safe", pure=True).dump(params, self.root / PATH.name)

    def drop(self, *key: str) -> None:
        params = read_yaml(self.root / PATH.name)
        del reduce(getitem, key[:-1], params)[key[-1]]
        YAML(typ="safe", pure=True).dump(params, self.root / PATH.name)

    def photograph(self, people: int, each: int) -> None:
        """Fill the source with the first photographs of the first people of ORL."""
        orl = open_source("orl", None)
        for person in range(people):
            for record in orl.read(10 * person, 10 * person + each):
                assert isinstance(record, Record)
                photograph = self.root / "data/source" / record.name
                photograph.parent.mkdir(parents=True, exist_ok=True)
                photograph.write_bytes(record.image)
        self.set("ingest", source="folder", path="data/source", val_fraction=0.25, test_fraction=0.25, more=[])
        self.set("validate", min_rows=people, min_subjects=2)

    def repro(self, *targets: str) -> subprocess.CompletedProcess[str]:
        here = str(Path(sys.executable).parent)  # whose `python` the commands of dvc.yaml mean
        environment = {
            **os.environ,
            "PATH": here + os.pathsep + os.environ["PATH"],
            "STAGES_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "",  # were torch compiled by every stage, imports would take minutes
            "PYTHONPYCACHEPREFIX": str(self.bytecode),
        }
        command = [sys.executable, "-m", "dvc", "repro", *targets]
        return subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture
def project(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path, tmp_path_factory.getbasetemp() / "bytecode")


def test_a_failed_gate_stops_the_graph_and_done_work_stays_done(project: Project) -> None:
    project.photograph(people=8, each=3)
    project.set("validate", min_subjects=9)
    failed = project.repro("align")
    assert failed.returncode != 0
    assert "data/faces failed: enough people: 8, at least 9 (validate.min_subjects)" in failed.stderr
    assert (project.root / "data/faces/table.json").is_file()
    assert (project.root / "data/gates/faces/report.html").is_file()
    assert not (project.root / "data/gates/faces/token.json").exists()
    assert not (project.root / "data/aligned").exists()
    assert "Running stage 'align'" not in failed.stdout

    project.set("validate", min_subjects=8)
    passed = project.repro("align")
    assert passed.returncode == 0, passed.stderr
    assert "Stage 'ingest' didn't change, skipping" in passed.stdout
    assert "Running stage 'validate@faces'" in passed.stdout
    assert (project.root / "data/aligned/table.json").is_file()

    again = project.repro("align")
    assert again.returncode == 0
    assert "Running stage" not in again.stdout

    project.set("validate", min_rows=1)  # looser, so it passes still: the gate runs, and nothing after it
    looser = project.repro("align")
    assert looser.returncode == 0
    assert [line for line in looser.stdout.splitlines() if line.startswith("Running")] == [
        "Running stage 'validate@faces':"
    ]
    assert "Stage 'align' didn't change, skipping" in looser.stdout


def test_the_whole_graph_runs_once(project: Project) -> None:
    project.photograph(people=8, each=4)  # two of the people in val and two in test: the fewest to compare
    project.set("synthesize", grid={"jpeg": [2]}, variants=1)
    project.set("distill", seeds=[1], epochs=1, batch=8)
    project.drop("students", "unified", "objectives", "segmentation")  # photographs have none
    project.set("export", parity_faces=8)
    project.set("evaluate", replicates=20)

    first = project.repro()
    assert first.returncode == 0, first.stderr
    ran = [line.split("'")[1] for line in first.stdout.splitlines() if line.startswith("Running stage")]
    assert sorted(ran) == sorted(dvc.graph(Path.cwd()).names)
    shipped = project.root / "data/exported/unified"
    assert verify_golden(shipped / "model.onnx", shipped / "golden.npz").cosine.min() > 0.9999
    project.set("synthesize", grid={"jpeg": [3]})  # another grid: nothing is learned anew
    regraded = project.repro()
    assert regraded.returncode == 0, regraded.stderr
    ran = [line.split("'")[1] for line in regraded.stdout.splitlines() if line.startswith("Running stage")]
    assert set(ran) == {"synthesize@grid", "validate@grid", "evaluate", "reference"}
    metrics = json.loads((project.root / "data/reports/metrics.json").read_text())
    assert "jpeg-3" in metrics["unified"]
    assert {"teacher", "unified", "unified_int8", "control"} <= set(metrics)
    assert set(metrics["difference"]) == {"unified", "unified_int8"}
    assert (project.root / REPORT).is_file()
    assert (project.root / "data/reference/profile.json").is_file()

    again = project.repro()
    assert again.returncode == 0, again.stderr
    assert "Running stage" not in again.stdout
