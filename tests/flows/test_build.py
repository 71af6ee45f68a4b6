"""The build flow, on one Prefect test server: order, skipping, retries, what a failure blocks, schedules."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest
from filelock import FileLock
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterKey,
    DeploymentFilter,
    DeploymentFilterId,
)

from flows.build import LOCK, MOST_ROWS, REPORT, BuildFailed, build, headline
from flows.deployments import read
from tests.flows.conftest import Toy

DEPLOYMENTS = Path(__file__).parents[2] / "flows/prefect.yaml"

pytestmark = pytest.mark.usefixtures("server")


def artifact(key: str) -> str:
    """The newest artifact of that name, as text."""
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])))
    return str(max(found, key=lambda one: str(one.created)).data)


def test_stages_run_in_order_siblings_at_once_and_what_is_current_is_skipped(toy: Toy) -> None:
    toy.plan("left", "meet")
    toy.plan("right", "meet")
    (toy.root / REPORT).parent.mkdir(parents=True)
    (toy.root / REPORT).touch()
    assert set(build(repo=str(toy.root), jobs=2).values()) == {"ran"}
    order = toy.ran()
    assert order[0] == "ingest" and order[-1] == "join" and len(order) == 4
    assert "join:size" in artifact("metrics")
    assert "| join | ran |" in artifact("build-summary")
    assert artifact("report") == f"[{REPORT}]({(toy.root / REPORT).as_uri()})"

    assert set(build(repo=str(toy.root)).values()) == {"current"}
    (toy.root / "params.yaml").write_text("left: 2\n")
    assert build(repo=str(toy.root), stages=["left"]) == {"ingest": "current", "left": "ran"}
    assert build(repo=str(toy.root), stages=["right"], force=True) == {"ingest": "current", "right": "ran"}
    assert toy.ran() == ["left", "right"]


def test_the_metrics_table_holds_what_a_person_wants() -> None:
    figures = ["eer", "eer_low", "eer_verdict", "fnmr@1e-2_high", "rank1", "auc"]
    keys = [f"{cell}.{figure}" for cell in ("clean_all", "clean", "degraded_mean", "blur-2") for figure in figures]
    rows = [{"metric": f"metrics.json:{of}.{key}"} for of in ("teacher", "difference.tiny") for key in keys]
    chosen = {row["metric"].partition(":")[2] for row in headline(rows)}
    cells = {f"{of}.{cell}" for of in ("teacher", "difference.tiny") for cell in ("clean_all", "degraded_mean")}
    assert chosen == {f"{cell}.{figure}" for cell in cells for figure in figures[:-1]}

    strangers = [{"metric": f"other.json:loss.{epoch}"} for epoch in range(MOST_ROWS + 1)]
    assert headline(strangers) == strangers[:MOST_ROWS]


def test_transient_failures_are_retried_and_a_failed_gate_blocks_what_waits_for_it(toy: Toy) -> None:
    toy.plan("left", "75 75")
    toy.plan("right", "3")
    with pytest.raises(BuildFailed, match=r"right \(exit code 3\); not run because of that: join") as failure:
        build(repo=str(toy.root), jobs=2, retries=2, retry_delay_seconds=0.1)
    assert failure.value.code == 3
    assert sorted(toy.ran()) == ["ingest", "left", "left", "left", "right"]
    assert "| left | ran |" in artifact("build-summary")
    assert "| join | blocked |" in artifact("build-summary")


def test_two_builds_of_one_working_tree_do_not_meet(toy: Toy) -> None:
    with FileLock(toy.root / LOCK), pytest.raises(BuildFailed, match="another build") as failure:
        build(repo=str(toy.root))
    assert failure.value.code == 75
    assert toy.ran() == []


def test_the_schedule_of_the_deployment_is_put_into_runs() -> None:
    """The server's own way to insert them; it breaks, unnoticed by runs by hand, on a newer SQLAlchemy."""
    (deployment,) = [one for one in read(DEPLOYMENTS) if one.name == "build"]
    chosen = UUID(str(deployment.apply()))
    with get_client(sync_client=True) as client:
        client.request("POST", "/deployments/{id}/schedule", path_params={"id": chosen}, json={"min_runs": 3})
        only = DeploymentFilter(id=DeploymentFilterId(any_=[chosen]))
        runs = client.read_flow_runs(deployment_filter=only)
        limit = client.read_deployment(chosen).global_concurrency_limit
    weekdays = {run.expected_start_time.weekday() for run in runs if run.expected_start_time}
    assert len(runs) >= 3
    assert {run.state_name for run in runs} == {"Scheduled"}
    assert weekdays == {0}
    assert limit is not None and limit.limit == 1
