"""Nothing that a command started may outlive it, however it ends."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flows import process

# A leader that shrugs SIGTERM off, with a child in a session of its own, as torchrun does with its workers.
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
print(child.pid, flush=True)
time.sleep(60)
"""


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_lines_come_one_by_one_and_the_status_comes_back(tmp_path: Path) -> None:
    lines: list[str] = []
    code = "import sys; sys.stdout.write('one\\n10%\\r20%\\r\\nlast'); sys.exit(3)"
    assert process.run(python(code), tmp_path, lines.append) == 3
    assert lines == ["one", "10%", "20%", "last"]


def test_a_signal_is_a_negative_status(tmp_path: Path) -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert process.run(python(code), tmp_path, print) == -signal.SIGKILL


@pytest.mark.parametrize("how", ["cancelled", "timeout", "interrupt"])
def test_a_stopped_command_leaves_nobody_behind(tmp_path: Path, alive: Callable[[int], bool], how: str) -> None:
    lines: list[str] = []

    def on_line(line: str) -> None:
        lines.append(line)
        if how == "interrupt":
            raise KeyboardInterrupt

    expected = {"cancelled": process.Cancelled, "timeout": process.TimedOut, "interrupt": KeyboardInterrupt}
    with pytest.raises(expected[how]):
        process.run(
            python(STUBBORN),
            tmp_path,
            on_line,
            grace=0.3,
            timeout=2.0 if how == "timeout" else None,
            cancelled=lambda: how == "cancelled" and bool(lines),
        )
    assert not alive(int(lines[0]))


def test_a_command_has_time_to_clean_up(tmp_path: Path) -> None:
    code = (
        "import pathlib, signal, sys, time\n"
        "def clean(*_): time.sleep(0.3); pathlib.Path('cleaned').touch(); sys.exit(1)\n"
        "signal.signal(signal.SIGTERM, clean); print('ready', flush=True); time.sleep(60)\n"
    )
    lines: list[str] = []
    with pytest.raises(process.Cancelled):
        process.run(python(code), tmp_path, lines.append, cancelled=lambda: bool(lines))
    assert (tmp_path / "cleaned").exists()


def test_a_child_that_holds_the_pipe_does_not_hold_the_caller(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True)\n"
        "print('done')\n"
    )
    start = time.monotonic()
    lines: list[str] = []
    assert process.run(python(code), tmp_path, lines.append, grace=0.2) == 0
    assert lines == ["done"]
    assert time.monotonic() - start < 20
