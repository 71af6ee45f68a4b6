"""Hold each finished window of captures against what is normal there, and raise alarms with their price.

`watch` does the work and knows nothing of Prefect; the flow around it shows what came out, and sends the alarms.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from scipy import stats

from flows.alerts import Alarm, AlarmBook, Cause, Price, alarm_id, sentence, to_event, to_log, to_webhook
from flows.baselines import References
from flows.baselines import accept_baseline as accept_baseline
from flows.captures import CaptureLog, open_log, window_of
from flows.drift_store import DriftStore
from flows.home import Home
from flows.rows import ALL_CAMERAS, DRIFT, SAID
from flows.settings import WatchSettings
from flows.window import Window, read_windows
from stages.lib.drift.calibration import Bounds, calibrate, design_effect
from stages.lib.drift.reference import Reference
from stages.lib.drift.statistics import measure, measure_embeddings
from stages.lib.drift.verdict import Finding, alpha_for, causes, episodes
from stages.lib.fingerprint import fingerprint
from stages.lib.metrics.bootstrap import Estimate

REFERENCE: Final = Path("data/reference")
QUANTILES: Final = {"q05": 0.05, "q50": 0.5, "q95": 0.95}
RECENT: Final = timedelta(days=30)  # a camera that took nothing for so long is no stream any more
REJECTS: Final = 0.1  # of alpha, for the rejected share; the measures have the rest
NEWEST: Final = 30  # windows in the artifact
CLAIMED: Final = "match_score"
BOUNDS_OF: Final = "1"  # raise it when `calibrate` changes, and bounds are made again

Row = dict[str, Any]


def watch(
    log: CaptureLog, home: Home, settings: WatchSettings, now: datetime, reference_folder: Path = REFERENCE
) -> list[Alarm]:
    """Measure every finished window that is new or has got more captures, and take up the alarms that follow.

    Only one watch of a home is at work; another one waits. Killed at any point, the next one goes on, and the drift
    store becomes the same to the byte. What is owed to the channels is sent by `deliver`.

    Args:
        log: of captures.
        home: whose drift store and alarms are written.
        settings: how production is watched.
        now: the time.
        reference_folder: the shipped profile.

    Returns:
        The alarms that are new.

    Raises:
        ConfigError: the profile is missing, or a file of the home is damaged.
        TransientError: another watch did not finish in an hour, or the log does not answer.
    """
    store, book = DriftStore(home.drift), AlarmBook(home.alerts)
    with store.alone():
        references = References(home, reference_folder, settings.columns, settings.hours)
        monitor_ = _Monitor(home, settings, references)
        for window, cameras in _due(log, store, settings, now):
            monitor_.measure(log, store, window, cameras)
        channels = ("log", "event", *(("webhook",) if settings.webhook else ()))
        return book.record(alarms_of(store, settings, monitor_.fmr()), channels)


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


@dataclass(frozen=True)
class _Against:
    """Captures, and what they are held against.

    Attributes:
        camera: or `*`.
        parts: windows of the cameras: one, or all that belong together.
        references: of each of them.
        reference: of all of them.
        each: faces that are drawn of each part.
        columns: that both sides have from the same model.
    """

    camera: str
    parts: tuple[Window, ...]
    references: tuple[Reference, ...]
    reference: Reference
    each: int
    columns: tuple[str, ...]

    @property
    def faces(self) -> int:
        return self.each * len(self.parts)


class _Monitor:
    """Measures windows, and keeps what they have in common."""

    def __init__(self, home: Home, settings: WatchSettings, references: References) -> None:
        self._home, self._settings, self._references = home, settings, references
        self._profile = references.profile()
        self._prices = references.bands()
        self._bounds: dict[str, Bounds] = {}

    def fmr(self) -> str | None:
        """At which misses are priced."""
        told = self._profile.bands.get("fmr")
        return None if told is None else str(told)

    def measure(self, log: CaptureLog, store: DriftStore, window: datetime, cameras: Sequence[str]) -> None:
        """Measure one window of all cameras, and write it."""
        settings = self._settings
        end = window + timedelta(hours=settings.hours)
        captured = read_windows(log, window, end, [*settings.columns, CLAIMED], embeddings=settings.keep_embeddings)
        streams = len(cameras) + (len(cameras) > 1)
        alpha = alpha_for(settings.false_alarms_per_month, settings.hours, streams, settings.k, settings.n)
        rows: list[Row] = []
        for camera, own in captured.items():
            rows += self._rows(window, [own], self._alone(own), camera, alpha)
        if len(cameras) > 1:
            everyone = list(captured.values())
            rows += self._rows(window, everyone, self._together(everyone), ALL_CAMERAS, alpha)
        counts = {camera: own.captures for camera, own in captured.items()}
        store.write(window, settings.hours, pa.Table.from_pylist(rows, schema=DRIFT), counts)

    def _alone(self, own: Window) -> _Against:
        reference = self._references.of(own.camera)
        return self._against(own.camera, [own], [reference], reference)

    def _together(self, everyone: Sequence[Window]) -> _Against:
        """All cameras that have enough faces; those with a baseline, where two have one."""
        there = [own for own in everyone if own.faces >= self._settings.fewest] or list(everyone)
        known = [own for own in there if self._references.accepted(own.camera)]
        parts = known if len(known) > 1 else there
        whole = self._references.together([own.camera for own in parts])
        return self._against(ALL_CAMERAS, parts, [self._references.of(own.camera) for own in parts], whole)

    def _against(
        self, camera: str, parts: Sequence[Window], references: Sequence[Reference], whole: Reference
    ) -> _Against:
        models = {model for own in parts for model in own.models}
        same = models == {whole.model}
        columns = tuple(
            name
            for name in whole.columns
            if (same or name not in SAID) and all(2 * len(own.told(name)) > own.faces for own in parts)
        )
        drawn = self._size(min(self._settings.sample, len(parts) * min(own.faces for own in parts)))
        each = -(-drawn // len(parts)) if drawn < len(parts) else drawn // len(parts)
        return _Against(camera, tuple(parts), tuple(references), whole, each, columns)

    def _size(self, faces: int) -> int:
        """The sample for so many faces: of a few sizes, for each needs its own bounds; 0: too few."""
        sizes = [self._settings.fewest]
        while sizes[-1] * math.sqrt(2) < self._settings.sample:
            sizes.append(math.ceil(sizes[-1] * math.sqrt(2)))
        return max((size for size in (*sizes, self._settings.sample) if size <= faces), default=0)

    def _rows(
        self, window: datetime, captured: Sequence[Window], against: _Against, camera: str, alpha: float
    ) -> list[Row]:
        """All rows of a stream."""
        settings, reference = self._settings, against.reference
        captures, faces = sum(own.captures for own in captured), sum(own.faces for own in captured)
        about = {
            "window": window,
            "hours": float(settings.hours),
            "camera": camera,
            "captures": captures,
            "faces": faces,
            "reference": reference.content_id,
            "model": "+".join(sorted({model for own in captured for model in own.models})),
        }
        judged, chances = [], []
        # the shipped profile is of other people and no camera: figures are held against it, and no alarm is raised
        known = all(self._references.accepted(own.camera) for own in against.parts)
        if known and against.each and against.columns:
            drifts, p = self._judge(window, against, alpha * (1 - REJECTS))
            judged += drifts
            chances.append(p / (1 - REJECTS))
        share, p_share = _rejects(captured, reference, alpha * REJECTS, settings.fewest)
        if p_share is not None:
            chances.append(p_share / REJECTS)
        if chances:
            p_min = min(1.0, *chances)
            judged.append({"column": "", "metric": "p_min", "value": p_min, "bound": alpha, "breach": p_min <= alpha})
        told = [
            {"column": "", "metric": "captures", "value": float(captures)},
            *share,
            *_levels(captured, reference, settings.columns),
            *self._price(against),
            *self._claims(captured),
        ]
        return [{**about, "breach": False, **row} for row in (*told, *judged)]

    def _judge(self, window: datetime, against: _Against, alpha: float) -> tuple[list[Row], float]:
        """Distances of an equal-size sample, with their bounds, and the chance of one so far off."""
        lot = f"{self._settings.seed} {window.isoformat()}"
        picked = [own.drawn(f"{lot} {own.camera}", against.each) for own in against.parts]
        sample = {
            name: np.concatenate([own.columns[name][rows] for own, rows in zip(against.parts, picked, strict=True)])
            for name in against.columns
        }
        normal = against.reference.faces()
        measured = measure(sample, normal) | _embedded(against, picked, normal)
        judged, p = self._bounds_of(normal, against.faces).judge(measured, alpha)
        rows = [
            {
                "column": column,
                "metric": metric,
                "value": one.value,
                "bound": one.bound,
                "p": one.p,
                "breach": one.breach,
            }
            for (column, metric), one in judged.items()
        ]
        return rows, p

    def _bounds_of(self, reference: Reference, faces: int) -> Bounds:
        """Bounds are a function of what is hashed here: made once, and kept beside the drift store."""
        settings = self._settings
        key = fingerprint(BOUNDS_OF, reference.content_id, faces, settings.resamples, settings.seed)
        if key not in self._bounds:
            path = self._home.drift / "bounds" / f"{key}.npz"
            if not path.is_file():
                calibrate(reference, faces, settings.resamples, settings.seed).save(path)
            self._bounds[key] = Bounds.load(path)
        return self._bounds[key]

    def _price(self, against: _Against) -> list[Row]:
        """FNMR to be expected of all faces of the window, and its change; nothing where no band speaks of them.

        Each camera's reference counts as often as its faces do.
        """
        column = str(self._profile.bands.get("technique", ""))
        models = {model for own in against.parts for model in own.models}
        if self._prices is None or models != {self._profile.model}:
            return []
        if not all(column in own.columns and len(own.told(column)) for own in against.parts):
            return []
        quality = [own.told(column) for own in against.parts]
        found = [_estimate("fnmr_expected", self._prices.expected(np.concatenate(quality)))]
        before = [_as_many(r, column, len(own)) for r, own in zip(against.references, quality, strict=True)]
        normal = [values for values in before if values is not None]
        if len(normal) == len(quality) and all(r.model == self._profile.model for r in against.references):
            change = self._prices.change(np.concatenate(quality), np.concatenate(normal))
            found.append(_estimate("fnmr_change", change))
        return found

    def _claims(self, captured: Sequence[Window]) -> list[Row]:
        """Share of the claims that the threshold turns down: what the price foretells, as far as people are honest.

        Impostors are among them, so FNMR is at most that. The interval is Jeffreys'.
        """
        threshold = self._profile.bands.get("threshold")
        models = {model for own in captured for model in own.models}
        scores = np.concatenate([own.told(CLAIMED) for own in captured])
        if threshold is None or models != {self._profile.model} or not len(scores):
            return []
        refused, total = int((scores < float(threshold)).sum()), len(scores)
        low, high = stats.beta.ppf([0.025, 0.975], refused + 0.5, total - refused + 0.5)
        return [{"column": "", "metric": "claims_refused", "value": refused / total, "low": low, "high": high}]


def _embedded(
    against: _Against, picked: Sequence[NDArray[np.int64]], normal: Reference
) -> dict[tuple[str, str], float]:
    """Distances of the embeddings of a camera's sample, where both sides have those of the same model."""
    own = against.parts[0]
    if normal.embeddings is None or own.embeddings is None or own.models != (normal.model,):
        return {}
    theirs = own.embeddings[picked[0]]
    same = theirs.shape[1] == normal.embeddings.shape[1] and bool(np.isfinite(theirs).all())
    return measure_embeddings(theirs, normal.embeddings) if same else {}


def _estimate(metric: str, told: Estimate) -> Row:
    return {"column": "", "metric": metric, "value": told.value, "low": told.low, "high": told.high}


def _as_many(reference: Reference, column: str, count: int) -> NDArray[np.float64] | None:
    """(count,) values spread as a reference's are; none: it does not tell them."""
    if column not in reference.columns:
        return None
    values = np.sort(reference.columns[column])
    values = values[np.isfinite(values)]
    return values[((np.arange(count) + 0.5) / count * len(values)).astype(np.int64)]


def _levels(captured: Sequence[Window], reference: Reference, columns: Iterable[str]) -> Iterator[Row]:
    """Quantiles of all faces of the window, and those of the reference."""
    shares = list(QUANTILES.values())
    for column in columns:
        normal = reference.columns.get(column)
        sides = {
            "": np.concatenate([own.told(column) for own in captured]),
            "reference_": normal[np.isfinite(normal)] if normal is not None else np.empty(0),
        }
        for prefix, values in sides.items():
            if len(values):
                levels = np.quantile(values.astype(np.float64), shares, method="inverted_cdf")
                for name, level in zip(QUANTILES, levels, strict=True):
                    yield {"column": column, "metric": prefix + name, "value": float(level)}


def _rejects(
    captured: Sequence[Window], reference: Reference, alpha: float, fewest: int
) -> tuple[list[Row], float | None]:
    """Share of captures without a face, with its bound and the chance of so many where the reference knows its own.

    The bound is a beta-binomial one: the reference's share is an estimate as well. Both sides count less where
    rejected captures come in bad days (their design effect). Of several cameras there is none: their traffic would
    turn it.
    """
    total = sum(own.captures for own in captured)
    gone = total - sum(own.faces for own in captured)
    low, high = stats.beta.ppf([0.025, 0.975], gone + 0.5, total - gone + 0.5)
    row: Row = {"column": "", "metric": "rejected_share", "value": gone / total, "low": low, "high": high}
    if reference.rejected is None or total < fewest or len(captured) > 1:
        return [row], None
    normal = float(reference.rejected.mean())
    effect = _clustering(reference, total)
    seen, own = len(reference) / effect, max(1, round(total / effect))
    chance = stats.betabinom(own, normal * seen + 0.5, (1 - normal) * seen + 0.5)
    p = float(chance.sf(math.ceil(gone / effect) - 1))
    row |= {"bound": float(chance.isf(alpha)) / own, "p": p, "breach": p <= alpha}
    return [row, {"column": "", "metric": "reference_rejected_share", "value": normal}], p


def _clustering(reference: Reference, captures: int) -> float:
    """By how much bad days enlarge the variance of the rejected share."""
    if reference.window is None or reference.rejected is None:
        return 1.0
    scores = reference.rejected.astype(np.float64)[:, None]
    return float(design_effect(scores, reference.window, captures, np.ones((1, 1)))[0, 0])


def alarms_of(store: DriftStore, settings: WatchSettings, fmr: str | None) -> list[Alarm]:
    """All alarms that a drift store tells of, in order of time.

    All cameras together raise one only while no camera is in alarm: else it is the same story.
    """
    verdicts = store.read(hours=settings.hours, metric="p_min").sort_by([("window", "ascending")]).to_pylist()
    by_camera: dict[str, list[Row]] = {}
    for row in verdicts:
        by_camera.setdefault(row["camera"], []).append(row)
    together = by_camera.pop(ALL_CAMERAS, [])
    found = [
        alarm for camera in sorted(by_camera) for alarm in _alarms(store, settings, fmr, camera, by_camera[camera])
    ]
    for alarm in _alarms(store, settings, fmr, ALL_CAMERAS, together):
        if not any(one.raised <= alarm.raised and (one.ended is None or alarm.raised < one.ended) for one in found):
            found.append(alarm)
    return sorted(found, key=lambda alarm: (alarm.raised, alarm.camera))


def _alarms(
    store: DriftStore, settings: WatchSettings, fmr: str | None, camera: str, verdicts: Sequence[Row]
) -> Iterator[Alarm]:
    for episode in episodes([row["breach"] for row in verdicts], settings.k, settings.n):
        breaching = [row["window"] for row in verdicts[episode.since : episode.raised + 1] if row["breach"]]
        since, raised = breaching[0], breaching[-1]
        rows = store.read(since, raised + timedelta(hours=settings.hours), settings.hours, camera=camera).to_pylist()
        by_window = [[row for row in rows if row["window"] == window] for window in breaching]
        found = tuple(_cause(finding) for finding in causes(map(_findings, by_window)))
        price = next((_priced(row) for row in by_window[-1] if row["metric"] == "fnmr_change"), None)
        yield Alarm(
            id=alarm_id(camera, since),
            camera=camera,
            since=since.astimezone(UTC),
            raised=raised.astimezone(UTC),
            causes=found,
            fnmr_change=price,
            model=by_window[-1][0]["model"],
            ended=None if episode.ended is None else verdicts[episode.ended]["window"].astimezone(UTC),
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


@flow(name="monitor")
def monitor(
    settings: WatchSettings | None = None,
    log: str | None = None,
    reference: str | None = None,
    now: datetime | None = None,
) -> list[str]:
    """Measure every finished window, raise alarms, and send them to the log, as events, and to the webhook.

    Args:
        settings: how production is watched.
        log: a folder or the URL of a database; none: the watch's own folder.
        reference: folder of the shipped profile; none: that of the model in production.
        now: the time; none: this one.

    Returns:
        The sentences of the new alarms.

    Raises:
        ConfigError: see `watch`.
        TransientError: see `watch`.
    """
    home, settings = Home.from_environment(), settings or WatchSettings()
    before = DriftStore(home.drift).windows(settings.hours)
    profile = Path(reference) if reference else home.reference
    new = watch(open_log(log or home.captures), home, settings, now or datetime.now(UTC), profile)
    book, logger = AlarmBook(home.alerts), get_run_logger()
    channels = {"log": to_log(logger), "event": to_event()}
    if settings.webhook:
        channels["webhook"] = to_webhook(settings.webhook)
    book.send(channels, lambda alarm, channel, error: logger.warning("%s: alarm %s: %s", channel, alarm.id, error))
    create_markdown_artifact(
        summary(home, settings), key="monitor-summary", description="Alarms, and the newest windows"
    )
    if DriftStore(home.drift).windows(settings.hours) != before:  # most hours end no window
        from flows.show import show_page, show_workspace  # torch and Evidently: not for those who only watch

        logger.info("%s; %s", show_page(home, settings), show_workspace(home, log, settings))
    return [alarm.words for alarm in new]


def summary(home: Home, settings: WatchSettings | None = None) -> str:
    """Markdown: the alarms that are on, and a table of the newest windows."""
    settings = settings or WatchSettings()
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
