"""`prefect.yaml` says what runs when, and an alarm starts a retraining with its own id."""

from __future__ import annotations

from pathlib import Path

from prefect.events.schemas.deployment_triggers import DeploymentEventTrigger

from flows.deployments import read

DEPLOYMENTS = Path("flows/prefect.yaml")


def test_all_that_runs_by_itself_is_declared_once_and_alone() -> None:
    declared = {one.name: one for one in read(DEPLOYMENTS)}
    assert set(declared) == {"build", "score", "monitor", "retrain"}
    assert all(one.concurrency_limit == 1 for one in declared.values())
    assert {name for name, one in declared.items() if one.schedules} == {"build", "score", "monitor"}
    assert declared["score"].parameters == {"remove": True, "forget": True}
    (trigger,) = declared["retrain"].triggers
    assert isinstance(trigger, DeploymentEventTrigger)
    assert trigger.parameters == {"alarm": "{{ event.payload.id }}"}
