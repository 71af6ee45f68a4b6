"""Run a command so that it can always be stopped: it, its children, and whatever they started."""

from __future__ import annotations

import os
import re
import select
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

FAMILY_VARIABLE = "FLOWS_PROCESS_FAMILY"
POLL_SECONDS = 0.2
PIPE_BYTES = 1 << 20  # more than a pipe holds, so one read empties it
LINE_END = re.compile(rb"[\r\n]+")  # a progress bar ends its lines with a carriage return


class Cancelled(Exception):
    """The command was stopped because the caller asked for it."""


class TimedOut(Exception):
    """The command was stopped because its time was up."""


def never() -> bool:
    """The default of `cancelled`: nobody asks."""
    return False


def run(
    command: Sequence[str],
    cwd: Path,
    on_line: Callable[[str], None],
    *,
    environment: Mapping[str, str] | None = None,
    timeout: float | None = None,
    grace: float = 15.0,
    cancelled: Callable[[], bool] = never,
) -> int:
    """Run a command in its own session and pass on its output (stdout and stderr) line by line.

    However this function ends (normally, by an error, by Ctrl-C), no process of the command outlives it:
    each gets SIGTERM, and what is left after the grace period gets SIGKILL.

    Args:
        command: program and arguments.
        cwd: folder to run in.
        on_line: called in this thread with each line, without its end.
        environment: variables to set over those of this process.
        timeout: seconds that the command may take; none means no limit.
        grace: seconds between SIGTERM and SIGKILL, for a command that cleans up. The stages need none: they
            go on from their last shard or checkpoint.
        cancelled: asked several times a second; true stops the command.

    Returns:
        The exit status of the command, negative if a signal ended it.

    Raises:
        Cancelled: `cancelled` said so.
        TimedOut: the command took longer than `timeout`.
    """
    family = uuid.uuid4().hex
    deadline = time.monotonic() + (timeout if timeout is not None else float("inf"))

    def check() -> None:
        if cancelled():
            raise Cancelled(f"stopped on request: {' '.join(command)}")
        if time.monotonic() > deadline:
            raise TimedOut(f"stopped after {timeout:g} s: {' '.join(command)}")

    check()
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env={**os.environ, **(environment or {}), FAMILY_VARIABLE: family},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    with process:
        try:
            for line in _lines(process, check):
                on_line(line)
        finally:
            _end(process, family, grace)
    return process.returncode


def _lines(process: subprocess.Popen[bytes], check: Callable[[], None]) -> Iterator[str]:
    """Yield lines until the process has ended, even where a child of it still holds the pipe open."""
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    pending = b""
    ended = False
    while not ended:
        ended = process.poll() is not None  # asked before the last read, so that nothing written is lost
        check()
        if not select.select([descriptor], [], [], 0 if ended else POLL_SECONDS)[0]:
            continue
        chunk = os.read(descriptor, PIPE_BYTES)
        if not chunk and not ended:  # the pipe was closed early: select would return at once for ever
            time.sleep(POLL_SECONDS)
        *whole, pending = LINE_END.split(pending + chunk)
        yield from (line.decode(errors="replace") for line in whole if line.strip())
    if pending.strip():
        yield pending.decode(errors="replace")


def _end(process: subprocess.Popen[bytes], family: str, grace: float) -> None:
    deadline = time.monotonic() + grace
    for member in _living(process, family):
        with suppress(psutil.NoSuchProcess):
            member.terminate()
    while (living := _living(process, family)) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS / 4)
    while living:
        for member in living:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        time.sleep(POLL_SECONDS / 4)
        living = _living(process, family)


def _living(process: subprocess.Popen[bytes], family: str) -> list[psutil.Process]:
    """Find the session of the command, and those who left it: torchrun puts each worker in its own.

    Children inherit the family's variable, wherever they go; the session finds those who overwrote theirs.
    """
    process.poll()  # reaps the leader, which else stays a zombie
    return [
        candidate
        for candidate in psutil.process_iter(["environ", "status"])
        if candidate.info["status"] != psutil.STATUS_ZOMBIE
        and ((candidate.info["environ"] or {}).get(FAMILY_VARIABLE) == family or _session(candidate.pid) == process.pid)
    ]


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return None
