"""The only file that talks to DVC: its graph, what is stale, and bringing one stage up to date.

Questions are answered in process (hundredths of a second), and what must run is run by the `dvc` command
in a session of its own, because only a whole session can be stopped with all its children.
"""

from __future__ import annotations

import os
import re
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from dvc.lock import LockError
from dvc.repo import Repo
from dvc.scm import RevError, resolve_rev

from flows import process
from stages.lib.errors import ConfigError, TransientError

PIPELINE = "dvc.yaml"
TIMED_OUT = 124  # as the `timeout` command reports it
TAIL_LINES = 40
RESTORED = re.compile(r"^Stage '.+' is cached - skipping run, checking out outputs", re.MULTILINE)
UNCHANGED = re.compile(r"^Stage '.+' didn't change, skipping", re.MULTILINE)
BUSY = re.compile(r"is busy, it is being blocked by|Unable to acquire lock")


class StageFailed(Exception):
    """A stage did not finish.

    Attributes:
        stage: its name.
        code: its own exit code: 2 bad config, 3 gate failed, 75 transient, 124 out of time, negative for
            a signal, 255 where DVC itself gave up.
        tail: the last lines of its output.
    """

    def __init__(self, stage: str, code: int, tail: Iterable[str] = ()) -> None:
        self.stage, self.code, self.tail = stage, code, tuple(tail)
        super().__init__(stage, code, self.tail)

    def __str__(self) -> str:
        ended = f"was ended by signal {-self.code}" if self.code < 0 else f"ended with exit code {self.code}"
        return f"stage {self.stage!r} {ended}"

    def __repr__(self) -> str:
        return f"StageFailed({self.stage!r}, {self.code})"

    @property
    def transient(self) -> bool:
        """Whether the same command may pass when run again."""
        return self.code == TransientError.exit_code or self.code < 0


@dataclass(frozen=True)
class Node:
    """A stage of `dvc.yaml`: its name, the stages it waits for, and its `meta` (no part of its identity)."""

    name: str
    upstream: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Graph:
    """The stages of `dvc.yaml`, upstream first."""

    nodes: tuple[Node, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Stage names, upstream first."""
        return tuple(node.name for node in self.nodes)

    @property
    def edges(self) -> frozenset[tuple[str, str]]:
        """Pairs (upstream, downstream)."""
        return frozenset((up, node.name) for node in self.nodes for up in node.upstream)

    def named(self, wanted: Iterable[str]) -> tuple[str, ...]:
        """Expand what a person asked for: `distill` names `distill@small` and `distill@tiny` as well.

        Raises:
            ConfigError: no stage has that name.
        """
        found: set[str] = set()
        for want in wanted:
            matches = {name for name in self.names if name == want or name.startswith(f"{want}@")}
            if not matches:
                raise ConfigError(f"no stage {want!r} in {PIPELINE}: it has {', '.join(self.names)}")
            found |= matches
        return tuple(name for name in self.names if name in found)

    def upto(self, names: Iterable[str]) -> Graph:
        """The named stages and all that they wait for."""
        wanted = set(names)
        for node in reversed(self.nodes):
            if node.name in wanted:
                wanted.update(node.upstream)
        return Graph(tuple(node for node in self.nodes if node.name in wanted))


def graph(root: Path) -> Graph:
    """Read the stages and edges of `dvc.yaml` as DVC sees them."""
    with _open(root) as repo:
        found = {stage.name: stage for stage in repo.index.stages if stage.path_in_repo == PIPELINE}
        edges = {(up.name, down.name) for down, up in repo.index.graph.edges if up.path_in_repo == PIPELINE}
    upstream = {name: tuple(up for up in found if (up, name) in edges) for name in found}
    order = TopologicalSorter(upstream).static_order()
    return Graph(tuple(Node(name, upstream[name], found[name].meta or {}) for name in order))


def status(root: Path) -> dict[str, Any]:
    """What DVC reports as changed, by stage; empty when everything is up to date."""
    with _open(root) as repo:
        return {address.rpartition(":")[2]: changes for address, changes in repo.status().items()}


def is_stale(root: Path, stage: str) -> bool:
    """Whether DVC would run the stage, or restore it from its run cache.

    Raises:
        StageFailed: with the transient code, if another DVC process is at work on the stage.
    """
    try:
        with _open(root) as repo:
            return bool(repo.status([f"{root / PIPELINE}:{stage}"]))
    except LockError as error:
        raise StageFailed(stage, TransientError.exit_code, [str(error)]) from error


def reproduce(
    root: Path,
    stage: str,
    on_line: Callable[[str], None],
    *,
    force: bool = False,
    timeout: float | None = None,
    cancelled: Callable[[], bool] = process.never,
) -> str:
    """Bring one stage up to date, with everything that it starts in a session of its own.

    `--single-item`, because the flow walks the graph: without it, siblings at work at the same time fail
    on each other's locks. `--wait-for-lock` covers the moments in which DVC reads and writes `dvc.lock`.

    Args:
        root: the repository.
        stage: a name from `graph`.
        on_line: called with each line of output.
        force: run it even if nothing changed.
        timeout: seconds; none means no limit.
        cancelled: true stops the stage.

    Returns:
        `ran`, `restored` (from the run cache) or `current` (someone else was faster).

    Raises:
        StageFailed: the stage, or DVC, ended with an error or ran out of time.
        flows.process.Cancelled: on request.
    """
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item", stage]
    tail: deque[str] = deque(maxlen=TAIL_LINES)

    def keep(line: str) -> None:
        tail.append(line)
        on_line(line)

    try:
        ended = process.run(
            [*command, "--force"] if force else command,
            root,
            keep,
            environment=_environment(),
            timeout=timeout,
            cancelled=cancelled,
        )
    except process.TimedOut as error:
        raise StageFailed(stage, TIMED_OUT, [*tail, str(error)]) from error
    output = "\n".join(tail)
    if ended != 0:
        raise StageFailed(stage, exit_code(stage, ended, output), tail)
    if RESTORED.search(output):
        return "restored"
    return "current" if UNCHANGED.search(output) else "ran"


def exit_code(stage: str, ended: int, output: str) -> int:
    """Find the stage's own exit code: DVC ends with 255 whatever the stage ended with.

    DVC says it in the last line of its output, `ERROR: failed to reproduce 'STAGE': failed to run: CMD,
    exited with N`, and that line is parsed. A file that the stage writes would say it as well, but not when
    a signal ends the stage, which is when it matters; and then it would have to be told the path.

    Args:
        stage: its name.
        ended: exit status of the `dvc` process.
        output: the last lines that it wrote.

    Returns:
        The stage's code, negative for a signal (also where the shell reports 128 + signal); 75 if another
        DVC process holds the stage; else the status of `dvc` itself.
    """
    # anywhere in a line: a progress bar that was killed leaves no line end behind it
    last = rf"ERROR: failed to reproduce '{re.escape(stage)}': failed to run: .*, exited with (-?\d+)$"
    if said := re.search(last, output, re.MULTILINE | re.DOTALL):
        code = int(said[1])
        return 128 - code if 128 < code < 160 else code
    return TransientError.exit_code if ended > 0 and BUSY.search(output) else ended


def metrics(root: Path, revision: str | None = None) -> dict[str, Any]:
    """Flat metrics (`file:a.b` -> value) of the working tree, or of a revision; empty if there is none."""
    with _open(root) as repo:
        try:
            commit = resolve_rev(repo.scm, revision) if revision else ""
        except RevError:
            return {}
        shown: dict[str, Any] = repo.metrics.show(revs=[commit] if commit else None)
    files = shown.get(commit, {}).get("data", {})
    return {f"{path}:{key}": value for path, content in files.items() for key, value in _flat(content.get("data", {}))}


def metrics_diff(root: Path, revision: str = "HEAD") -> list[dict[str, Any]]:
    """One row per metric of the working tree: its value, that of the revision, and the change."""
    before, after = metrics(root, revision), metrics(root)
    return [
        {"metric": name, "value": new, revision: before.get(name), "change": _change(before.get(name), new)}
        for name, new in after.items()
    ]


def push(root: Path) -> int:
    """Send data and run cache to the default remote; returns how many files went."""
    with _open(root) as repo:
        return int(repo.push(run_cache=True))


def add(root: Path, path: str) -> None:
    """Track a folder of the working tree by a `.dvc` file beside it; once it is tracked, nothing happens."""
    with _open(root) as repo:
        repo.add(str(root / path))


def share_cache(root: Path, clone: Path) -> None:
    """Let a clone keep its results where this repository does, so that only what is stale there runs."""
    with _open(root) as repo, _open(clone) as other, other.config.edit("local") as config:
        config["cache"]["dir"] = repo.cache.local_cache_dir


@contextmanager
def _open(root: Path) -> Iterator[Repo]:
    with Repo(str(root), _wait_for_lock=True) as repo:
        yield repo


def _environment() -> dict[str, str]:
    """Stages say `python`: let it be this one, and let their output come as it is written."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {"PATH": path, "PYTHONUNBUFFERED": "1"}


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _change(before: Any, after: Any) -> float | None:
    numbers = isinstance(before, (int, float)) and isinstance(after, (int, float))
    return after - before if numbers else None
