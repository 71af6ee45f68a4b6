"""Channels that alarms are sent over: a log, a webhook, and the event that starts a retraining."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from logging import Logger, LoggerAdapter
from typing import Final
from uuid import NAMESPACE_URL, uuid5

import httpx

from flows.alerts import Alarm, Send
from stages.lib.errors import TransientError

WEBHOOK_SECONDS: Final = 10.0


def to_log(logger: Logger | LoggerAdapter) -> Send:
    """A channel: a warning in a log."""
    return lambda alarm: logger.warning("%s (alarm %s)", alarm.words, alarm.id)


def to_webhook(url: str) -> Send:
    """A channel: a POST of the alarm as JSON; `text` holds the sentence, as chat servers want it.

    The header `Idempotency-Key` holds the alarm's id.
    """

    def send(alarm: Alarm) -> None:
        body = {"text": alarm.words, "alarm": json.loads(alarm.model_dump_json())}
        try:
            answer = httpx.post(url, json=body, headers={"Idempotency-Key": alarm.id}, timeout=WEBHOOK_SECONDS)
            answer.raise_for_status()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise TransientError(
                f"the webhook did not take it: {type(error).__name__}"
            ) from error  # no URL: it is a secret

    return send


def to_event() -> Send:
    """A channel: the Prefect event that `retrain` waits for; an alarm that is over asks for nothing any more.

    It is posted, and not left to Prefect's own queue, which says nothing of an event that it loses. A server that lives
    as long as one run forgets what it hears: without a lasting one the event stays owed.
    """
    from prefect.client.orchestration import get_client
    from prefect.settings import get_current_settings

    def send(alarm: Alarm) -> None:
        if alarm.ended is not None:
            return
        if get_current_settings().api.url is None:
            raise TransientError("no server listens: it is sent by the next run that has one")
        event = {
            "id": str(uuid5(NAMESPACE_URL, f"face-quality.alarm.{alarm.id}")),  # sent again, it is the same event
            "occurred": datetime.now(UTC).isoformat(),
            "event": "face-quality.drift.detected",
            "resource": {"prefect.resource.id": f"face-quality.camera.{alarm.camera}"},
            "payload": {
                "id": alarm.id,
                "camera": alarm.camera,
                "column": alarm.causes[0].column if alarm.causes else None,
                "since": alarm.since.isoformat(),
                "fnmr_change": alarm.fnmr_change.value if alarm.fnmr_change else None,
                "words": alarm.words,
            },
        }
        try:
            with get_client(sync_client=True) as client:
                client.request("POST", "/events", json=[event])
        except (httpx.HTTPError, RuntimeError) as error:  # the latter: no server answers
            raise TransientError(f"Prefect's server did not take it: {type(error).__name__}") from error

    return send
