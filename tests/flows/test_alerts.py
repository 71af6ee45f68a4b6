"""Alarms: one file each whatever comes late, sent to each channel until it arrived, and said in one sentence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import prefect
import pytest
from prefect.events import Event
from prefect.events.schemas.deployment_triggers import DeploymentEventTrigger
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from flows.alerts import Alarm, AlarmBook, Price, alarm_id, sentence
from flows.channels import to_event, to_webhook
from flows.deployments import read
from stages.lib.errors import ConfigError, TransientError
from tests.flows.watched import FIRST, alarm

CHANNELS = ("log", "webhook")


@dataclass
class Chat:
    """A server on this machine, of a chat or Prefect's: what it was told, and what it answers."""

    port: int
    status: int = 200
    told: list[tuple[str | None, Any]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/secret"


@pytest.fixture
def chat() -> Iterator[Chat]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(404 if "csrf" in self.path else 200)  # as a Prefect server says that it wants no token,
            self.end_headers()
            self.wfile.write(json.dumps(prefect.__version__).encode())  # and which version it is

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            heard.told.append((self.headers["Idempotency-Key"], body))
            self.send_response(heard.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    heard = Chat(server.server_port)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield heard
    server.shutdown()
    server.server_close()
    thread.join()


def at(since: int, raised: int, ended: int | None = None, camera: str = "gate") -> Alarm:
    """An alarm told by days."""
    start = FIRST + timedelta(days=since)
    update = {
        "id": alarm_id(camera, start),
        "camera": camera,
        "since": start,
        "raised": FIRST + timedelta(days=raised),
        "ended": None if ended is None else FIRST + timedelta(days=ended),
    }
    return alarm().model_copy(update=update)


def test_an_alarm_is_new_once(tmp_path: Path) -> None:
    book = AlarmBook(tmp_path / "alerts")
    gate, lobby = at(1, 2), at(1, 2, camera="../lobby")
    assert book.record([gate], CHANNELS) == [gate]
    assert book.record([gate, lobby], CHANNELS) == [lobby]
    assert book.record([gate, lobby], CHANNELS) == []
    assert sorted(one.id for one in book.alarms()) == sorted([gate.id, lobby.id])
    assert {path.stem for path in book.folder.iterdir()} == {gate.id, lobby.id}
    assert json.loads((book.folder / f"{gate.id}.json").read_text())["causes"][0]["column"] == "q_sharpness"


def test_what_comes_late_moves_an_alarm_and_makes_no_second_one(tmp_path: Path) -> None:
    book = AlarmBook(tmp_path)
    first = at(3, 4)
    book.record([first], CHANNELS)
    for found in ([at(2, 3)], [at(4, 6)], [first]):  # since, or raised, is another day than it was
        assert book.record(found, CHANNELS) == []
        assert book.alarms() == [first]
    book.record([at(2, 3, ended=8)], CHANNELS)
    assert book.alarms() == [at(3, 4, ended=8)]
    later = at(9, 10)
    assert book.record([at(2, 3, ended=8), later], CHANNELS) == [later]


def test_an_alarm_that_late_captures_take_back_is_ended(tmp_path: Path) -> None:
    book = AlarmBook(tmp_path)
    book.record([at(1, 2)], CHANNELS)
    assert book.record([], CHANNELS) == []
    assert book.alarms() == [at(1, 2, ended=2)]


def test_a_webhook_that_is_down_is_told_at_the_next_run_and_then_no_more(tmp_path: Path, chat: Chat) -> None:
    book, log, failures = AlarmBook(tmp_path), [], []
    channels = {"log": log.append, "webhook": to_webhook(chat.url)}

    def send() -> None:
        book.send(channels, lambda one, channel, error: failures.append((one.id, channel, str(error))))

    book.record([at(1, 2)], CHANNELS)
    chat.status = 503
    send()
    assert [one.id for one in log] == [at(1, 2).id]
    assert [(one, channel) for one, channel, _ in failures] == [(at(1, 2).id, "webhook")]
    assert "secret" not in failures[0][2]
    chat.status, chat.told[:] = 200, []
    for _ in range(2):
        send()
    ((key, body),) = chat.told
    assert key == at(1, 2).id and body["text"] == at(1, 2).words and body["alarm"]["camera"] == "gate"
    assert "owed" not in body["alarm"]
    assert len(log) == 1 and len(failures) == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x", "no url", "ftp://127.0.0.1/x", "http://[::1/x"])
def test_a_webhook_that_cannot_be_reached_is_a_transient_error(url: str) -> None:
    with pytest.raises(TransientError, match="the webhook did not take it"):
        to_webhook(url)(alarm())


def test_the_trigger_listens_to_what_an_alarm_sends(chat: Chat) -> None:
    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{chat.port}/api"}):
        to_event()(alarm().model_copy(update={"ended": alarm().raised}))
        assert not chat.told  # what is over asks for nothing
        to_event()(alarm())
        to_event()(alarm())
    (first,), (again,) = (body for _, body in chat.told)
    assert first["id"] == again["id"]
    event = Event.model_validate(first)
    (trigger,) = next(one for one in read(Path("flows/prefect.yaml")) if one.name == "retrain").triggers
    assert isinstance(trigger, DeploymentEventTrigger)
    assert event.event in trigger.expect and trigger.match.matches(event.resource)
    assert event.payload["id"] == alarm().id


def test_an_event_that_does_not_arrive_is_a_transient_error(chat: Chat) -> None:
    with temporary_settings(restore_defaults={PREFECT_API_URL}), pytest.raises(TransientError, match="no server"):
        to_event()(alarm())
    chat.status = 500
    for port in (chat.port, 1):
        with (
            temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{port}/api", PREFECT_CLIENT_MAX_RETRIES: 0}),
            pytest.raises(TransientError, match="did not take it"),
        ):
            to_event()(alarm())


def test_a_channel_that_is_not_there_stays_owed(tmp_path: Path) -> None:
    book, log = AlarmBook(tmp_path), []
    book.record([at(1, 2)], CHANNELS)
    for _ in range(2):
        book.send({"log": log.append}, lambda *_: pytest.fail("nothing was down"))
    assert len(log) == 1
    later = []
    book.send({"webhook": later.append}, lambda *_: pytest.fail("nothing was down"))
    assert later == [at(1, 2)]


def test_the_sentence_says_which_camera_what_since_when_and_what_it_costs() -> None:
    causes, since = alarm().causes, datetime(2026, 11, 3, 8, tzinfo=UTC)
    price = Price(value=0.041, low=0.02, high=0.063)
    assert sentence("gate-2", causes, since, 24, price, "1e-2") == (
        "camera gate-2: sharpness fell from 6.1 to 4.2 (median) since 2026-11-03; "
        "expected FNMR +4.1 points (+2.0 to +6.3) at FMR 1 %"
    )
    assert sentence("*", causes, since, 8, None, None) == (
        "all cameras together: sharpness fell from 6.1 to 4.2 (median) since 2026-11-03 08:00 UTC; "
        "what it costs cannot be told"
    )


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"x\.json holds no alarm"):
        AlarmBook(tmp_path).alarms()
