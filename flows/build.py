"""Bring a revision up to date: one Prefect task per DVC stage, walked along DVC's own graph.

DVC decides what is stale and keeps every result; Prefect decides when and where, retries what may pass a
second time, and keeps the logs. `dvc repro` at the shell does the same work.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

from filelock import FileLock, Timeout
from prefect import Task, flow, get_run_logger, task
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.futures import PrefectFuture, as_completed

from flows import dvc
from stages.lib.errors import TransientError

REPORT = Path("data/reports/report/report.html")
LOCK = Path(".dvc/tmp/build.lock")
HEADLINE = re.compile(r"[.:](clean_all|degraded_mean)\.(eer|fnmr@1e-2|rank1)(_low|_high|_verdict)?$")
MOST_ROWS = 200  # of metrics that have no headline

Submit = Callable[[dvc.Node, list[PrefectFuture[str]]], PrefectFuture[str]]


class BuildFailed(Exception):
    """Some stages did not finish; the message names them, and those that were not tried for that reason.

    Attributes:
        code: exit code of the first stage that failed (see `flows.dvc.StageFailed`).
    """

    def __init__(self, message: str, code: int) -> None:
        self.code = code
        super().__init__(message, code)

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True)
class Done:
    """How one stage ended: `ran`, `restored`, `current`, `failed`, or `blocked` by a failure upstream."""

    stage: str
    outcome: str
    seconds: float
    error: Exception | None = None


@flow(name="build")
def build(
    stages: list[str] | None = None,
    force: bool = False,
    jobs: int = 1,
    retries: int = 2,
    retry_delay_seconds: float = 30.0,
    push: bool = False,
    repo: str = ".",
) -> dict[str, str]:
    """Bring the pipeline, or some stages of it, up to date.

    A stage that ends with the transient exit code (75) or by a signal is run again; one with a bad config
    (2) or a failed gate (3) is not. What waits for a failed stage is not run; its siblings are. Two keys in
    a stage's `meta` of dvc.yaml are read: `timeout` (seconds) and `retries`.

    Args:
        stages: stages to bring up to date with all that they wait for; none means all. `distill` names
            every `distill@...`.
        force: run the named stages (all, if none is named) even if nothing changed.
        jobs: stages at work at the same time.
        retries: how often a transient failure is tried again.
        retry_delay_seconds: pause before each new try.
        push: send data and run cache to the DVC remote at the end.
        repo: folder of the DVC repository.

    Returns:
        Stage -> `ran`, `restored` (from DVC's run cache) or `current`.

    Raises:
        BuildFailed: at least one stage did not finish.
        ConfigError: `stages` names a stage that does not exist.
    """
    root = Path(repo).resolve()
    graph = dvc.graph(root)
    named = graph.named(stages or graph.names)
    stop = Event()

    def submit(node: dvc.Node, upstream: list[PrefectFuture[str]]) -> PrefectFuture[str]:
        forced = force and node.name in named
        step = stage_task(node, root, forced, retries, retry_delay_seconds, stop)
        return step.submit(wait_for=upstream, return_state=False)

    with _alone(root):
        try:
            done = walk(graph.upto(named), submit, jobs)
        except BaseException:  # Ctrl-C, a cancelled run: no stage may go on in its thread
            stop.set()
            raise
        publish(root, done)
        _raise_on_failure(done)
        if push:
            push_task(str(root))
    return {one.stage: one.outcome for one in done}


def stage_task(node: dvc.Node, root: Path, force: bool, retries: int, delay: float, stop: Event) -> Task[[], str]:
    """Make the Prefect task of a stage. Without Prefect's cache: DVC has one, and two would disagree."""

    @task(
        name=node.name,
        task_run_name=node.name,
        cache_policy=NO_CACHE,
        retries=int(node.meta.get("retries", retries)),
        retry_delay_seconds=delay,
        retry_condition_fn=worth_retrying,
    )
    def bring_up_to_date() -> str:
        logger = get_run_logger()
        if not force and not dvc.is_stale(root, node.name):
            logger.info("%s is up to date", node.name)
            return "current"
        return dvc.reproduce(
            root,
            node.name,
            lambda line: logger.info("%s", line),
            force=force,
            timeout=node.meta.get("timeout"),
            cancelled=stop.is_set,
        )

    return bring_up_to_date


@task(name="push", cache_policy=NO_CACHE, retries=2, retry_delay_seconds=30)
def push_task(repo: str) -> str:
    """Send data and run cache to the DVC remote."""
    return f"{dvc.push(Path(repo))} files pushed"


def worth_retrying(_: Task[..., Any], __: TaskRun, state: State[Any]) -> bool:
    """Tell Prefect whether a failed stage may pass when run again."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, dvc.StageFailed) and error.transient


def walk(graph: dvc.Graph, submit: Submit, jobs: int) -> list[Done]:
    """Submit each stage when all its upstream stages have ended, at most `jobs` at a time.

    A stage below a failed one is submitted as well: Prefect does not run it and shows why. Submitting
    everything at once would let stages that wait take the places of stages that can run.
    """
    futures: dict[str, PrefectFuture[str]] = {}
    started: dict[str, float] = {}
    done: dict[str, Done] = {}
    while len(done) < len(graph.nodes):
        for node in graph.nodes:
            free = len(futures) - len(done) < jobs
            if free and node.name not in futures and all(up in done for up in node.upstream):
                started[node.name] = time.monotonic()
                futures[node.name] = submit(node, [futures[up] for up in node.upstream])
        running = {future: name for name, future in futures.items() if name not in done}
        ended = next(as_completed(list(running)))
        ended.wait()  # its state is set just after it counts as completed
        name = running[ended]
        done[name] = _judge(name, ended, time.monotonic() - started[name])
    return [done[name] for name in graph.names]


def _judge(stage: str, future: PrefectFuture[str], seconds: float) -> Done:
    state = future.state
    if state.is_completed():
        return Done(stage, future.result(), seconds)
    if state.is_pending():
        return Done(stage, "blocked", 0.0)
    error = state.result(raise_on_failure=False)
    return Done(stage, "failed", seconds, error if isinstance(error, Exception) else None)


def publish(root: Path, done: list[Done]) -> None:
    """Leave what people look for on the flow run's page: what ran, the metrics, and where the report is."""
    create_markdown_artifact(_summary(done), key="build-summary", description="What this build did")
    if rows := headline(dvc.metrics_diff(root)):
        create_table_artifact(rows, key="metrics", description="Tracked metrics against the last commit")
    if (root / REPORT).is_file():
        create_link_artifact((root / REPORT).as_uri(), link_text=str(REPORT), key="report")


def headline(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Pick what a person wants of a thousand metrics.

    That is each model's clean faces and its mean over the grid, and by how much students differ from their
    controls there. Metrics of another shape are all kept, up to `MOST_ROWS`.
    """
    return [row for row in rows if HEADLINE.search(row["metric"])] or rows[:MOST_ROWS]


def _summary(done: list[Done]) -> str:
    rows = [f"| {one.stage} | {one.outcome} | {one.seconds:.1f} |" for one in done]
    errors = [f"\n{one.error}\n\n```\n{_tail(one.error)}\n```" for one in done if one.error]
    return "\n".join(["| stage | outcome | seconds |", "|-|-|-:|", *rows, *errors])


def _tail(error: Exception) -> str:
    return "\n".join(error.tail) if isinstance(error, dvc.StageFailed) else repr(error)


def _raise_on_failure(done: list[Done]) -> None:
    failed = [one for one in done if one.outcome == "failed"]
    if not failed:
        return
    codes = [one.error.code if isinstance(one.error, dvc.StageFailed) else 1 for one in failed]
    causes = ", ".join(f"{one.stage} (exit code {code})" for one, code in zip(failed, codes, strict=True))
    blocked = [one.stage for one in done if one.outcome == "blocked"]
    consequence = f"; not run because of that: {', '.join(blocked)}" if blocked else ""
    raise BuildFailed(causes + consequence, codes[0])


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """One build per working tree: the concurrency limit of a deployment does not see a build at the shell."""
    lock = FileLock(root / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        message = f"another build of {root} is at work; wait for it, or stop it"
        raise BuildFailed(message, TransientError.exit_code) from None
    try:
        yield
    finally:
        lock.release()
