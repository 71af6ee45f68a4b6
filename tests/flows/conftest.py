"""A toy DVC repository with four stages, whose failures are written down beforehand in `<stage>.todo`."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from dvc.repo import Repo
from prefect.testing.utilities import prefect_test_harness

import flows as flows  # switches the telemetry off before DVC and Prefect are imported

PIPELINE = """
stages:
  ingest:
    cmd: python stage.py ingest seed.txt
    deps: [seed.txt]
    outs: [ingest]
  left:
    cmd: python stage.py left ingest
    deps: [ingest]
    params: [left]
    outs: [left]
  right:
    cmd: python stage.py right ingest
    deps: [ingest]
    outs: [right]
    meta: {timeout: 60}
  join:
    cmd: python stage.py join left right
    deps: [left, right]
    metrics: [{join: {cache: false}}]
"""

# One word of the todo file is used up by each run: an exit code, `hang`, or `meet` (wait for the sibling).
STAGE = """
import json, os, pathlib, subprocess, sys, time
name, *sources = sys.argv[1:]
pathlib.Path("ran.log").open("a").write(name + "\\n")
todo = pathlib.Path(name + ".todo")
word, *later = (todo.read_text().split() if todo.exists() else []) or ["0"]
todo.write_text(" ".join(later))
if word == "hang":
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"], start_new_session=True)
    pathlib.Path("hang.tmp").write_text(f"{os.getpid()} {child.pid}")
    os.rename("hang.tmp", "hanging")
    time.sleep(120)
elif word == "meet":
    pathlib.Path(name + ".here").touch()
    end = time.monotonic() + 30
    while len(list(pathlib.Path().glob("*.here"))) < 2:
        assert time.monotonic() < end, "the sibling never came"
        time.sleep(0.05)
elif int(word):
    sys.exit(int(word))
text = "".join(pathlib.Path(source).read_text() for source in sources)
pathlib.Path(name).write_text(json.dumps({"size": len(text)}))
"""


@dataclass(frozen=True)
class Toy:
    """The toy repository, and what can be seen of it from outside."""

    root: Path

    def plan(self, stage: str, words: str) -> None:
        """Write down how the next runs of a stage end."""
        (self.root / f"{stage}.todo").write_text(words)

    def ran(self) -> list[str]:
        """The stages that ran since the last time this was asked, in order."""
        log = self.root / "ran.log"
        names = log.read_text().split() if log.exists() else []
        log.unlink(missing_ok=True)
        return names

    def hanging(self) -> list[int]:
        """Process ids of a stage that hangs and of the child that it put in another session."""
        path = self.root / "hanging"
        return [int(pid) for pid in path.read_text().split()] if path.exists() else []


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy repository as committed, to be copied."""
    root = tmp_path_factory.mktemp("template")
    (root / "dvc.yaml").write_text(PIPELINE)
    (root / "stage.py").write_text(STAGE)
    (root / "params.yaml").write_text("left: 1\n")
    (root / "seed.txt").write_text("seed")
    (root / "join").write_text('{"size": 1}')
    git = ["git", "-c", "user.name=toy", "-c", "user.email=toy@example.com"]
    subprocess.run([*git, "init", "-q", str(root)], check=True)
    Repo.init(str(root)).close()
    with (root / ".dvc/config").open("a") as config:
        config.write("[core]\n    analytics = false\n    check_update = false\n")
    subprocess.run([*git, "add", "-A"], cwd=root, check=True)
    subprocess.run([*git, "commit", "-q", "-m", "toy"], cwd=root, check=True)
    (root / "join").unlink()
    return root


@pytest.fixture
def toy(template: Path, tmp_path: Path) -> Toy:
    """A fresh copy of the toy repository."""
    return Toy(Path(shutil.copytree(template, tmp_path / "toy")))


@pytest.fixture(scope="session")
def server() -> Iterator[None]:
    """One Prefect test server for all tests: it takes half a minute to start."""
    os.environ.pop("PREFECT_API_URL", None)
    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture
def alive() -> Callable[[int], bool]:
    """Whether a process still runs, given a moment to vanish; a zombie does not run."""

    def answer(pid: int) -> bool:
        for _ in range(20):
            try:
                if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                    return False
            except psutil.NoSuchProcess:
                return False
            time.sleep(0.05)
        return True

    return answer
