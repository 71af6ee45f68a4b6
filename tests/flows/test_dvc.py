"""The graph is DVC's, exit codes are the stage's own, and a stopped stage is finished by the next run."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from flows import dvc, process
from stages.lib.errors import ConfigError
from tests.flows.conftest import Toy

FAILED = "ERROR: failed to reproduce 'left': failed to run: python stage.py left, exited with {}"


def test_graph_is_what_deps_and_outs_say(toy: Toy) -> None:
    declared = YAML(typ="safe").load((toy.root / "dvc.yaml").read_text())["stages"]
    makers = {out: name for name, stage in declared.items() for out in stage.get("outs", [])}
    edges = {(makers[dep], name) for name in declared for dep in declared[name]["deps"] if dep in makers}
    graph = dvc.graph(toy.root)
    assert graph.edges == edges
    assert all(graph.names.index(up) < graph.names.index(down) for up, down in edges)
    assert graph.upto(["right"]).names == ("ingest", "right")
    assert {node.name: node.meta.get("timeout") for node in graph.nodes}["right"] == 60


def test_one_name_stands_for_all_its_variants(toy: Toy) -> None:
    (toy.root / "dvc.yaml").write_text("stages: {distill: {foreach: [tiny, small], do: {cmd: echo hi}}}")
    graph = dvc.graph(toy.root)
    assert graph.named(["distill"]) == ("distill@tiny", "distill@small")
    assert graph.named(["distill@small"]) == ("distill@small",)
    with pytest.raises(ConfigError, match=r"no stage 'align'.*distill@tiny"):
        graph.named(["align"])


@given(st.sampled_from([1, 2, 3, 75, 127, 128, 255, -9, -15]), st.text(alphabet="ab:,\n", max_size=40))
def test_exit_code_is_the_stages_own(code: int, noise: str) -> None:
    assert dvc.exit_code("left", 255, f"{noise}\n{FAILED.format(code)}") == code


@pytest.mark.parametrize(
    ("ended", "output", "code"),
    [
        (255, FAILED.format(137), -9),  # a shell in between reports 128 + signal
        (255, "seed 2:  65%|###   | 140/217" + FAILED.format(-9), -9),  # a killed progress bar ends no line
        (255, FAILED.format(3).replace("left", "right"), 255),
        (255, "a log line: exited with 3\nERROR: output 'left' does not exist", 255),
        (255, "ERROR: 'left' is busy, it is being blocked by:\n  (PID 7): dvc repro", 75),
        (-9, "Running stage 'left':", -9),
    ],
)
def test_exit_code_where_dvc_says_something_else(ended: int, output: str, code: int) -> None:
    assert dvc.exit_code("left", ended, output) == code


def test_a_failed_stage_tells_its_code_and_last_lines(toy: Toy) -> None:
    toy.plan("ingest", "2")
    with pytest.raises(dvc.StageFailed) as failure:
        dvc.reproduce(toy.root, "ingest", print)
    assert (failure.value.stage, failure.value.code, failure.value.transient) == ("ingest", 2, False)
    assert failure.value.tail[-1].endswith("exited with 2")
    assert dvc.is_stale(toy.root, "ingest")


def test_a_killed_stage_leaves_no_orphan_and_the_next_run_finishes_it(toy: Toy, alive: Callable[[int], bool]) -> None:
    toy.plan("ingest", "hang")

    def kill_dvc() -> None:
        while not toy.hanging():
            time.sleep(0.05)
        os.kill(psutil.Process(toy.hanging()[0]).ppid(), signal.SIGKILL)

    killer = threading.Thread(target=kill_dvc)
    killer.start()
    with pytest.raises(dvc.StageFailed) as failure:
        dvc.reproduce(toy.root, "ingest", print)
    killer.join()
    assert failure.value.code == -signal.SIGKILL
    assert failure.value.transient
    assert not any(alive(pid) for pid in toy.hanging())

    assert dvc.reproduce(toy.root, "ingest", print) == "ran"
    assert not dvc.is_stale(toy.root, "ingest")
    assert dvc.reproduce(toy.root, "ingest", print) == "current"
    (toy.root / "ingest").unlink()
    assert dvc.is_stale(toy.root, "ingest")
    assert dvc.reproduce(toy.root, "ingest", print) == "restored"


def test_a_cancelled_stage_leaves_no_orphan(toy: Toy, alive: Callable[[int], bool]) -> None:
    toy.plan("ingest", "hang")
    with pytest.raises(process.Cancelled):
        dvc.reproduce(toy.root, "ingest", print, cancelled=lambda: bool(toy.hanging()))
    assert not any(alive(pid) for pid in toy.hanging())
    assert dvc.is_stale(toy.root, "ingest")


def test_out_of_time_is_a_failure_that_is_not_tried_again(toy: Toy) -> None:
    toy.plan("ingest", "hang")
    with pytest.raises(dvc.StageFailed) as failure:
        dvc.reproduce(toy.root, "ingest", print, timeout=4.0)
    assert failure.value.code == dvc.TIMED_OUT
    assert not failure.value.transient


def test_metrics_against_the_last_commit(toy: Toy) -> None:
    assert dvc.metrics(toy.root) == {}
    (toy.root / "join").write_text('{"size": 5, "band": {"low": 0.5}}')
    assert dvc.metrics_diff(toy.root) == [
        {"metric": "join:size", "value": 5, "HEAD": 1, "change": 4},
        {"metric": "join:band.low", "value": 0.5, "HEAD": None, "change": None},
    ]
    assert dvc.metrics(toy.root, "no-such-revision") == {}
    assert Path(toy.root / "dvc.lock").exists() is False
