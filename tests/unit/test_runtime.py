"""The machine is read from the environment and cannot be set wrong in silence."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from stages.lib.errors import ConfigError, TransientError
from stages.lib.executor import run_jobs
from stages.lib.runtime import Runtime


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"DEVICE": "cpu", "THREADS": "3", "WORKERS": "2", "SCRATCH": "here"}.items():
        monkeypatch.setenv(f"STAGES_{name}", value)
    runtime = Runtime.from_environment()
    assert (runtime.device, runtime.threads, runtime.workers) == ("cpu", 3, 2)
    assert runtime.scratch == Path("here")


@pytest.mark.parametrize(("gpus", "there"), [(0, "cpu"), (2, "cpu, cuda, cuda:0, cuda:1")])
@pytest.mark.parametrize("wanted", ["gpuu", "cuda:2", "meta", "cuda"])
def test_a_device_that_is_not_there_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, wanted: str, gpus: int, there: str
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpus > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    runtime = Runtime(wanted, threads=1, workers=1, scratch=Path("here"))
    if wanted in there.split(", "):
        assert runtime.device == wanted
        return
    with pytest.raises(ConfigError, match=f"^STAGES_DEVICE='{wanted}' is not here; choose from {there}$"):
        _ = runtime.device


@pytest.mark.parametrize("value", ["0", "-1", "two", "", "1.5"])
def test_a_wrong_count_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("STAGES_WORKERS", value)
    with pytest.raises(ConfigError, match="STAGES_WORKERS"):
        Runtime.from_environment()


def test_one_worker_runs_jobs_in_order() -> None:
    done: list[int] = []
    for count, _ in enumerate(run_jobs([lambda n=n: done.append(n) for n in range(3)], workers=1), start=1):
        assert done == list(range(count))
    assert done == [0, 1, 2]


def test_a_worker_that_is_killed_is_worth_another_try() -> None:
    with pytest.raises(TransientError, match="STAGES_WORKERS"):
        list(run_jobs([partial(os._exit, 1)] * 3, workers=2))


def test_the_first_failure_is_told_and_ends_the_other_jobs(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such day"):
        list(run_jobs([partial(outlast, tmp_path / "other"), partial(fail_beside, tmp_path / "other")], workers=2))
    assert_all_is_quiet(tmp_path)


def test_workers_end_with_a_run_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import time; from functools import partial; from pathlib import Path\n"
        "from tests.unit.test_runtime import outlast; from stages.lib.executor import run_jobs\n"
        f"list(run_jobs([partial(outlast, Path({str(tmp_path)!r}) / str(n)) for n in range(2)], workers=2))"
    )
    run = subprocess.Popen([sys.executable, "-c", code])
    try:
        until(lambda: len(list(tmp_path.iterdir())) == 2)
    finally:
        run.kill()
        run.wait()
    assert_all_is_quiet(tmp_path)


def assert_all_is_quiet(folder: Path) -> None:
    time.sleep(1.0)  # for what was under way
    last = [file.stat().st_mtime_ns for file in folder.iterdir()]
    time.sleep(1.0)
    assert last
    assert [file.stat().st_mtime_ns for file in folder.iterdir()] == last


def fail_beside(other: Path) -> None:
    until(other.exists)
    raise ValueError("no such day")


def outlast(sign_of_life: Path) -> None:
    for _ in range(600):
        sign_of_life.touch()
        time.sleep(0.1)


def until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)
