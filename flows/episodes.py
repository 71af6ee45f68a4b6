"""The alarms that a drift store tells of: runs of breaching windows, with their causes and their price."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from flows.alerts import Alarm, Cause, Price, alarm_id, sentence
from flows.drift_store import DriftStore
from flows.rows import ALL_CAMERAS, QUANTILES, RULE, Row
from flows.settings import WatchSettings
from stages.lib.drift.verdict import Finding, causes, episodes

RECENT: Final = timedelta(days=30)
"""A camera that took nothing for so long is no stream any more, and an alarm of which nothing was judged is over."""


def alarms_of(store: DriftStore, settings: WatchSettings, fmr: str | None, now: datetime) -> list[Alarm]:
    """All alarms that a drift store tells of, in order of time.

    All cameras together raise one only while no camera is in alarm: else it is the same story.
    """
    by_camera = _verdicts(store, settings)
    together = by_camera.pop(ALL_CAMERAS, [])
    found: list[Alarm] = []
    for camera in sorted(by_camera):
        found += _alarms(store, settings, fmr, camera, by_camera[camera], now)
    for alarm in _alarms(store, settings, fmr, ALL_CAMERAS, together, now):
        if not any(one.raised <= alarm.raised and (one.ended is None or alarm.raised < one.ended) for one in found):
            found.append(alarm)
    return sorted(found, key=lambda alarm: (alarm.raised, alarm.camera))


def _verdicts(store: DriftStore, settings: WatchSettings) -> dict[str, list[Row]]:
    """Camera -> the verdicts on its windows in order of time, with the rule of each."""
    told: dict[tuple[datetime, str], dict[str, Row]] = {}
    for row in store.read(hours=settings.hours, metrics=["p_min", *RULE]).to_pylist():
        told.setdefault((row["window"], row["camera"]), {})[row["metric"]] = row
    by_camera: dict[str, list[Row]] = {}
    for (_, camera), rows in sorted(told.items()):
        # windows that an older version judged do not say by which rule
        rule = tuple(int(rows[name]["value"]) if name in rows else getattr(settings, name) for name in RULE)
        by_camera.setdefault(camera, []).append({**rows["p_min"], "rule": rule})
    return by_camera


def _alarms(
    store: DriftStore, settings: WatchSettings, fmr: str | None, camera: str, verdicts: Sequence[Row], now: datetime
) -> Iterator[Alarm]:
    for stretch in _stretches(verdicts):
        last = stretch[-1]["window"] + RECENT
        for episode in episodes([row["breach"] for row in stretch], [row["rule"] for row in stretch]):
            ended = last if last <= now else None
            if episode.ended is not None:
                ended = stretch[episode.ended]["window"]
            seen = stretch[episode.since : episode.raised + 1]
            yield _alarm(store, settings, fmr, camera, [row["window"] for row in seen if row["breach"]], ended)


def _stretches(verdicts: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """The verdicts on a camera, cut where it was away: what returns is judged as what is new."""
    start = 0
    for at in range(1, len(verdicts) + 1):
        if at == len(verdicts) or verdicts[at]["window"] - verdicts[at - 1]["window"] >= RECENT:
            yield verdicts[start:at]
            start = at


def _alarm(
    store: DriftStore,
    settings: WatchSettings,
    fmr: str | None,
    camera: str,
    breaching: Sequence[datetime],
    ended: datetime | None,
) -> Alarm:
    since, raised = breaching[0], breaching[-1]
    rows = store.read(since, raised + timedelta(hours=settings.hours), settings.hours, camera=camera).to_pylist()
    by_window = [[row for row in rows if row["window"] == window] for window in breaching]
    found = tuple(_cause(finding) for finding in causes(map(_findings, by_window)))
    price = next((_priced(row) for row in by_window[-1] if row["metric"] == "fnmr_change"), None)
    return Alarm(
        id=alarm_id(camera, since),
        camera=camera,
        since=since.astimezone(UTC),
        raised=raised.astimezone(UTC),
        causes=found,
        fnmr_change=price,
        model=by_window[-1][0]["model"],
        ended=None if ended is None else ended.astimezone(UTC),
        words=sentence(camera, found, since, settings.hours, price, fmr),
    )


def _findings(rows: Sequence[Row]) -> list[Finding]:
    """What is beyond its bound in a window of a camera."""
    level = {(row["column"], row["metric"]): row["value"] for row in rows}

    def quantiles(column: str, prefix: str) -> tuple[float, float, float]:
        low, middle, high = (level.get((column, prefix + name), math.nan) for name in QUANTILES)
        return low, middle, high

    found = []
    for row in rows:
        if row["breach"] and row["metric"] != "p_min":
            now, before = quantiles(row["column"], ""), quantiles(row["column"], "reference_")
            if row["metric"] == "rejected_share":
                now, before = (row["value"],) * 3, (level["", "reference_rejected_share"],) * 3
            column = row["column"] or "rejected"
            found.append(Finding(column, row["metric"], row["value"], row["bound"], row["p"], now, before))
    return found


def _cause(finding: Finding) -> Cause:
    return Cause(
        column=finding.column,
        metric=finding.metric,
        value=finding.value,
        reference_value=None if math.isnan(finding.reference[1]) else finding.reference[1],
        bound=finding.bound,
        p=finding.p,
        words=finding.words,
    )


def _priced(row: Mapping[str, Any]) -> Price:
    return Price(value=row["value"], low=row["low"], high=row["high"])
