"""The command line: every stage is a verb, and what went wrong is told by the exit code."""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from stages import __main__ as cli
from stages.lib.errors import ConfigError, GateFailed, StageError, TransientError
from stages.lib.explained import explain
from stages.params import PATH, Params, load, read_yaml
from stages.profiles import names

Call = Callable[..., tuple[int, str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    """Run the command line in this process; gives the exit code and what was written."""

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["stages", *arguments])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        assert isinstance(stopped.value.code, int)
        out, err = capfd.readouterr()
        return stopped.value.code, out + err

    return run


def test_the_verbs_are_the_stages_and_each_explains_itself() -> None:
    stages = tuple(read_yaml(Path("dvc.yaml"))["stages"])
    assert set(cli.STAGES) == set(stages)
    verbs = {command.callback.__name__: command.callback.__doc__ for command in cli.app.registered_commands}
    assert set(stages) <= set(verbs)
    for verb, meaning in verbs.items():
        shown = CliRunner().invoke(cli.app, [verb, "--help"])
        assert shown.exit_code == 0
        assert meaning.split()[0] in shown.output


@pytest.mark.parametrize(
    ("error", "code"),
    [(StageError, 1), (ConfigError, 2), (GateFailed, 3), (TransientError, 75)],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_errors_of_ours_become_exit_codes(
    error: type[StageError], code: int, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error("what is wrong and what to do")

    monkeypatch.setattr("stages.ingest.run", fail)
    assert call("ingest") == (code, f"{error.__name__}: what is wrong and what to do\n")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "MemoryError: out of memory; try again\n"),
        (torch.OutOfMemoryError("of 80 GB"), "OutOfMemoryError: of 80 GB; try again\n"),
        (OSError(errno.ENOSPC, "no room"), f"OSError: [Errno {errno.ENOSPC}] no room; try again\n"),
    ],
    ids=["host", "accelerator", "disk"],
)
def test_a_machine_without_room_is_worth_another_try(
    error: Exception, said: str, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("stages.ingest.run", fail)
    assert call("ingest") == (75, said)


@pytest.mark.parametrize("error", [ZeroDivisionError, RuntimeError, FileNotFoundError])
def test_an_error_of_the_programmer_is_not_hidden(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("stages.ingest.run", fail)
    monkeypatch.setattr(sys, "argv", ["stages", "ingest"])
    with pytest.raises(error):
        cli.main()


def test_wrong_use_is_code_two(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for verb in ("distill", "export"):
        code, said = call(verb, "nobody")
        assert (code, "no student 'nobody' in params.yaml; there are [" in said) == (2, True)
    assert call("validate", "faeces")[0] == 2
    assert call("synthesise")[0] == 2
    monkeypatch.chdir(tmp_path)
    code, said = call("ingest")
    assert (code, "params.yaml" in said) == (2, True)


def test_params_and_profiles_speak(call: Call) -> None:
    code, said = call("params")
    assert code == 0
    assert "params.yaml is valid" in said
    missing = [key for key, _, _ in explain(Params) if f" {key} " not in said]
    assert missing == []  # no key is cut, however narrow the terminal
    assert "[low, high, mostly]" in " ".join(said.split())
    assert any(line.split()[:2] == ["ingest.source", load().ingest.source] for line in said.splitlines())
    code, said = call("profile")
    assert (code, said) == (0, f"profiles: {', '.join(names())}\n")
    assert call("profile", "huge")[0] == 2


def test_wrong_params_are_told_alone(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / PATH).write_text(PATH.read_text().replace("detector: yunet", "detector: yunett"))
    monkeypatch.chdir(tmp_path)
    code, said = call("params")
    assert code == 2
    assert [line.split(":")[0].strip() for line in said.splitlines()] == ["ConfigError", "align.detector"]


def test_help_explains_the_environment() -> None:
    shown = CliRunner().invoke(cli.app, ["--help"]).output
    names = set(re.findall(r"STAGES_[A-Z]+", Path("stages/lib/runtime.py").read_text()))
    assert names == set(cli.VARIABLES)
    assert [name for name in names if f"{name}: " not in shown] == []


def test_a_fresh_clone_is_told_what_is_there(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / PATH).write_text(PATH.read_text())
    (tmp_path / cli.REPORTS).mkdir(parents=True)
    (tmp_path / cli.REPORTS / "metrics.json").write_text((cli.REPORTS / "metrics.json").read_text())
    monkeypatch.chdir(tmp_path)
    code, said = call("show")
    assert (code, said.startswith("These figures came with the repository")) == (0, True)
    assert "teacher" in said and "report.html" not in said
    code, said = call("evaluate")
    assert (code, "data/models/teacher is missing: `dvc repro`" in said) == (2, True)
