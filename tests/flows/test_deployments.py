"""`prefect.yaml` says what runs when, and an alarm starts a retraining with its own id."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from prefect.events import Event
from prefect.events.schemas.deployment_triggers import DeploymentEventTrigger
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.channels import to_event
from flows.deployments import read
from stages.lib.errors import TransientError
from tests.flows.watched import alarm

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


def test_the_trigger_listens_to_what_an_alarm_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[dict[str, object]] = []
    monkeypatch.setattr("prefect.events.emit_event", lambda **event: sent.append(event))
    with (
        temporary_settings(restore_defaults={PREFECT_API_URL}),
        pytest.raises(TransientError, match="no server listens"),
    ):
        to_event()(alarm())
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:4200/api"}):
        to_event()(alarm().model_copy(update={"ended": alarm().raised}))
        assert not sent  # what is over asks for nothing
        to_event()(alarm())
    (event,) = sent
    (trigger,) = next(one for one in read(DEPLOYMENTS) if one.name == "retrain").triggers
    assert isinstance(trigger, DeploymentEventTrigger)
    assert event["event"] in trigger.expect
    resource = event["resource"]
    assert isinstance(resource, dict) and trigger.match.matches(Event(**event, occurred=datetime.now(UTC)).resource)
    payload = event["payload"]
    assert isinstance(payload, dict) and payload["id"] == alarm().id
