"""Read `prefect.yaml` for `serve`, so that schedules are written once whichever way they are run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect.client.schemas.objects import ConcurrencyLimitConfig
from prefect.deployments.runner import RunnerDeployment
from prefect.events.schemas.deployment_triggers import DeploymentTriggerTypes
from prefect.schedules import Schedule
from pydantic import TypeAdapter
from ruamel.yaml import YAML


def read(path: Path) -> list[RunnerDeployment]:
    """The deployments of a `prefect.yaml`, ready to be served without a work pool.

    Raises:
        KeyError: a deployment has no name or no entrypoint.
        TypeError: a schedule has a key that Prefect does not know.
    """
    declared = YAML(typ="safe").load(path.read_text())["deployments"]
    return [_deployment(one) for one in declared]


def _deployment(declared: dict[str, Any]) -> RunnerDeployment:
    limit = TypeAdapter(int | ConcurrencyLimitConfig | None)
    trigger = TypeAdapter(DeploymentTriggerTypes)
    return RunnerDeployment.from_entrypoint(
        declared["entrypoint"],
        declared["name"],
        description=declared.get("description"),
        parameters=declared.get("parameters"),
        tags=declared.get("tags"),
        concurrency_limit=limit.validate_python(declared.get("concurrency_limit")),
        schedules=[Schedule(**one) for one in declared.get("schedules", [])],
        triggers=[trigger.validate_python(one) for one in declared.get("triggers", [])],
    )
