"""Hold each finished window of captures against what is normal there, and raise alarms with their price.

`watch` does the work and knows nothing of Prefect; the flow around it says over which channels alarms are sent, and
shows what came out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from flows.alerts import Alarm, AlarmBook, Failed, Send
from flows.baselines import References
from flows.captures import CaptureLog, window_of
from flows.channels import to_event, to_log, to_webhook
from flows.drift_store import DriftStore
from flows.episodes import RECENT, alarms_of
from flows.home import Home
from flows.judge import Judge
from flows.rows import Row
from flows.settings import WatchSettings

NEWEST: Final = 30  # windows in the artifact


@flow(name="monitor")
def monitor(now: datetime | None = None, events: bool = True) -> list[str]:
    """Measure every finished window, raise alarms, send them, and show them.

    Args:
        now: the time; none: this one.
        events: send alarms as Prefect events too, which the deployment `retrain` waits for.

    Returns:
        The sentences of the new alarms.

    Raises:
        ConfigError: the settings are wrong; or see `watch`.
        TransientError: see `watch`.
    """
    home, logger = Home.from_environment(), get_run_logger()
    settings = WatchSettings.of(home)
    channels = {"log": to_log(logger)}
    if events:
        channels["event"] = to_event()
    if settings.webhook:
        channels["webhook"] = to_webhook(settings.webhook)
    new = watch(
        settings.captures(home),
        home,
        settings,
        now or datetime.now(UTC),
        channels=channels,
        failed=lambda alarm, channel, error: logger.warning("%s: alarm %s: %s", channel, alarm.id, error),
    )
    create_markdown_artifact(
        summary(home, settings), key="monitor-summary", description="Alarms, and the newest windows"
    )
    if is_stale(home):  # most hours end no window
        from flows.show import show_page, show_workspace  # torch and Evidently: not for those who only watch

        try:
            logger.info("%s; %s", show_page(home, settings), show_workspace(home, settings))
        except Exception:  # whatever a picture fails of, the alarms are out; the next run draws it again
            logger.exception("the page or the dashboard could not be made")
    return [alarm.words for alarm in new]


def watch(
    log: CaptureLog,
    home: Home,
    settings: WatchSettings,
    now: datetime,
    profile: Path | None = None,
    channels: Mapping[str, Send] | None = None,
    failed: Failed = lambda alarm, channel, error: None,
) -> list[Alarm]:
    """Measure every finished window that is new or has got more captures, and raise the alarms that follow.

    Only one watch of a home is at work; another one waits, so no alarm is sent twice. Killed at any point, the next
    one goes on, and the drift store becomes the same to the byte.

    Args:
        log: of captures.
        home: whose drift store and alarms are written.
        settings: how production is watched.
        now: the time.
        profile: folder that tells what the model's quality costs; none: that of the model in production.
        channels: name -> how alarms are sent there.
        failed: called with the alarm, the channel and the error where an alarm did not arrive; it stays owed.

    Returns:
        The alarms that are new.

    Raises:
        ConfigError: the profile is missing, or a file of the home is damaged.
        TransientError: another watch did not finish in an hour, or the log does not answer.
    """
    store, book = DriftStore(home.drift), AlarmBook(home.alerts)
    with store.alone():
        judge = Judge(home, settings, References(home, profile or home.reference, settings.columns, settings.hours))
        for window, cameras in _due(log, store, settings, now):
            judge.measure(log, store, window, cameras)
        new = book.record(alarms_of(store, settings, judge.fmr(), now), channels or {})
        book.send(channels or {}, failed)
    return new


def _due(
    log: CaptureLog, store: DriftStore, settings: WatchSettings, now: datetime
) -> Iterator[tuple[datetime, list[str]]]:
    """Windows that are to be measured, in order, each with the cameras that were at work up to it."""
    span = log.span()
    if span is None:
        return
    end = window_of(now - timedelta(minutes=settings.settle_minutes), settings.hours)
    by_window: dict[datetime, dict[str, int]] = {}
    for (window, camera), count in sorted(log.counts(window_of(span[0], settings.hours), end, settings.hours).items()):
        by_window.setdefault(window, {})[camera] = count
    measured = store.windows(settings.hours)
    last: dict[str, datetime] = {}
    for window, counts in by_window.items():
        last |= dict.fromkeys(counts, window)
        if measured.get(window) != counts:
            yield window, sorted(camera for camera, seen in last.items() if window - seen < RECENT)


def is_stale(home: Home) -> bool:
    """Whether something was measured, or said of an alarm, after the page and the workspace were made."""
    made = [path.stat().st_mtime if path.exists() else 0.0 for path in (home.page, home.workspace)]
    told = [path.stat().st_mtime for path in (*home.drift.glob("*h.parquet"), *home.alerts.glob("*.json"))]
    return max(told, default=0.0) > min(made)


def summary(home: Home, settings: WatchSettings) -> str:
    """Markdown: the alarms that are on, and a table of the newest windows."""
    alarms, store = AlarmBook(home.alerts).alarms(), DriftStore(home.drift)
    on = [f"- {alarm.words} (`{alarm.id}`)" for alarm in alarms if alarm.ended is None]
    newest = sorted(store.windows(settings.hours))[-NEWEST:]
    rows = store.read(start=newest[0], hours=settings.hours).to_pylist() if newest else []
    lines: dict[tuple[datetime, str], dict[str, Row]] = {}
    for row in rows:
        if not row["column"]:
            lines.setdefault((row["window"], row["camera"]), {})[row["metric"]] = row
    table = [_line(window, camera, lines[window, camera]) for window, camera in sorted(lines, reverse=True)]
    head = "| window | camera | captures | faces | p | bound | FNMR change |\n|-|-|-:|-:|-:|-:|-:|"
    return "\n".join(["## Alarms", "", *(on or ["none"]), "", "## Windows", "", head, *table])


def _line(window: datetime, camera: str, told: Mapping[str, Row]) -> str:
    row = told["captures"]
    judged, price = told.get("p_min"), told.get("fnmr_change")
    p = (
        f"{judged['value']:.3g}{' **breach**' if judged['breach'] else ''} | {judged['bound']:.3g}"
        if judged
        else "not judged |"
    )
    change = f"{100 * price['value']:+.1f}" if price else ""
    name = camera.replace("|", "\\|")
    return f"| {window:%Y-%m-%d %H:%M} | {name} | {row['captures']} | {row['faces']} | {p} | {change} |"
