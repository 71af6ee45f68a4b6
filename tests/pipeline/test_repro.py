"""The real `dvc.yaml` in small: a failed gate stops the graph, and what is done is not done again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from stages.lib.sources import Record, open_source
from stages.params import PATH, read_yaml

PEOPLE, EACH = 4, 3


class Project:
    """A copy of the project over a few photographs, with DVC and no Git."""

    def __init__(self, root: Path) -> None:
        self.root = root
        shutil.copytree("stages", root / "stages", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("dvc.yaml", ".dvcignore", PATH.name):
            shutil.copy(name, root / name)
        (root / ".dvc").mkdir()
        (root / ".dvc" / "config").write_text("[core]\n    no_scm = true\n    analytics = false\n")

    def set(self, section: str, **values: Any) -> None:
        params = read_yaml(self.root / PATH.name)
        params[section].update(values)
        YAML(typ="safe", pure=True).dump(params, self.root / PATH.name)

    def repro(self, *targets: str) -> subprocess.CompletedProcess[str]:
        here = str(Path(sys.executable).parent)  # whose `python` the commands of dvc.yaml mean
        environment = {**os.environ, "PATH": here + os.pathsep + os.environ["PATH"], "STAGES_THREADS": "1"}
        command = [sys.executable, "-m", "dvc", "repro", *targets]
        return subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    orl = open_source("orl", None)
    for person in range(PEOPLE):
        for record in orl.read(10 * person, 10 * person + EACH):
            assert isinstance(record, Record)
            photograph = tmp_path / "data/source" / record.name
            photograph.parent.mkdir(parents=True, exist_ok=True)
            photograph.write_bytes(record.image)
    project.set("ingest", source="folder", path="data/source")
    project.set("validate", min_rows=PEOPLE * EACH, min_subjects=PEOPLE + 1)
    return project


def test_a_failed_gate_stops_the_graph_and_done_work_stays_done(project: Project) -> None:
    failed = project.repro("align")
    assert failed.returncode != 0
    assert "GateFailed: data/faces failed enough people" in failed.stderr
    assert (project.root / "data/faces/table.json").is_file()
    assert (project.root / "data/gates/faces/report.html").is_file()
    assert not (project.root / "data/gates/faces/token.json").exists()
    assert not (project.root / "data/aligned").exists()
    assert "Running stage 'align'" not in failed.stdout

    project.set("validate", min_subjects=PEOPLE)
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
