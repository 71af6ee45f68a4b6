"""Alarms: one JSON file each, with the channels that they are still owed to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydantic import AwareDatetime, ValidationError

from flows.rows import ALL_CAMERAS
from stages.lib.errors import ConfigError, TransientError
from stages.lib.fingerprint import fingerprint
from stages.lib.folders import new_file
from stages.lib.frozen import Frozen

FUTURE: Final = datetime.max.replace(tzinfo=UTC)
MOST_NAMED: Final = 2
"""Causes in the sentence; the alarm holds all."""

Send = Callable[["Alarm"], None]
"""Hand an alarm over. Raises TransientError if it did not arrive."""
Failed = Callable[["Alarm", str, TransientError], None]
"""Told of an alarm that did not arrive, by its channel."""


class Price(Frozen):
    """Change of FNMR to be expected, as a share, with its 95 % interval."""

    value: float
    low: float
    high: float


class Cause(Frozen):
    """What changed.

    Attributes:
        column: of the captures; `rejected` speaks of those without a face.
        metric: by which it is furthest beyond its bound.
        value: of the metric.
        reference_value: the column's median in the reference; embeddings have none.
        bound: that the metric passed.
        p: share of quiet windows that are as far off.
        words: what changed, for a person.
    """

    column: str
    metric: str
    value: float
    reference_value: float | None
    bound: float
    p: float
    words: str


class Alarm(Frozen):
    """A stretch in which a camera differs from its reference by more than chance.

    Attributes:
        id: of the camera and `since`; it stays when later captures move that.
        camera: or `*`: all together, and none alone.
        since: start of the first breaching window.
        raised: start of the window at which they were enough.
        causes: the likeliest first.
        fnmr_change: of the window at which it was raised; none: nothing can be expected of these faces.
        model: that scored them.
        ended: start of the window by which all was quiet, or when none had been judged for long; none: it goes on.
        words: the sentence for people.
    """

    id: str
    camera: str
    since: AwareDatetime
    raised: AwareDatetime
    causes: tuple[Cause, ...]
    fnmr_change: Price | None
    model: str
    ended: AwareDatetime | None = None
    words: str

    def overlaps(self, other: Alarm) -> bool:
        """Whether both speak of the same camera at some time."""
        together = self.since < (other.ended or FUTURE) and other.since < (self.ended or FUTURE)
        return self.id == other.id or (self.camera == other.camera and together)


class Entry(Alarm):
    """An alarm in the book, with the channels that it has not been sent to."""

    owed: tuple[str, ...]

    def alarm(self) -> Alarm:
        """Without the book's own column."""
        return Alarm.model_validate(self.model_dump(exclude={"owed"}))


def alarm_id(camera: str, since: datetime) -> str:
    """Sixteen hex digits."""
    return fingerprint("alarm", camera, since.astimezone(UTC).isoformat())


def sentence(
    camera: str, causes: Iterable[Cause], since: datetime, hours: int, price: Price | None, fmr: str | None
) -> str:
    """Which camera, what changed, since when, and what it is expected to cost."""
    who = "all cameras together" if camera == ALL_CAMERAS else f"camera {camera}"
    what = " and ".join(cause.words for cause in list(causes)[:MOST_NAMED]) or "captures differ"
    when = f"{since.astimezone(UTC):{'%Y-%m-%d' if hours == 24 else '%Y-%m-%d %H:%M UTC'}}"
    if price is None:
        return f"{who}: {what} since {when}; what it costs cannot be told"
    at = f" at FMR {100 * float(fmr):.3g} %" if fmr else ""
    points = [f"{100 * share:+.1f}" for share in (price.value, price.low, price.high)]
    return f"{who}: {what} since {when}; expected FNMR {points[0]} points ({points[1]} to {points[2]}){at}"


@dataclass(frozen=True)
class AlarmBook:
    """All alarms, in files that are replaced whole. One process writes at a time: the one that holds the drift store.

    Attributes:
        folder: it need not exist yet.
    """

    folder: Path

    def alarms(self) -> list[Alarm]:
        """All of them, in order of time."""
        return [entry.alarm() for entry in self._entries()]

    def record(self, found: Iterable[Alarm], channels: Iterable[str]) -> list[Alarm]:
        """Take up the alarms that the drift store tells of now.

        An alarm that overlaps one in the book, of the same camera, is that one: it keeps what was said of it, and only
        its end is taken over. So captures that come late make no second alarm. One that the store no longer tells of
        is ended.

        Args:
            found: all alarms, in order of time.
            channels: that a new one is to be sent to.

        Returns:
            Those that are new.
        """
        known, new = self._entries(), []
        for alarm in found:
            same = next((entry for entry in known if entry.overlaps(alarm)), None)
            if same is None:
                self._write(Entry(**alarm.model_dump(), owed=tuple(channels)))
                new.append(alarm)
            else:
                known.remove(same)
                if same.ended != alarm.ended:
                    self._write(same.model_copy(update={"ended": alarm.ended}))
        for gone in known:
            if gone.ended is None:
                self._write(gone.model_copy(update={"ended": gone.raised}))
        return new

    def send(self, channels: Mapping[str, Send], failed: Failed) -> list[Alarm]:
        """Hand over what is owed to these channels; what does not arrive stays owed, for the next run.

        A run that is killed between both may send an alarm again; its id tells the receiver.

        Args:
            channels: by name.
            failed: called with the alarm, the channel and the error where an alarm did not arrive.

        Returns:
            Alarms of which something was sent.
        """
        sent = []
        for entry in self._entries():
            owed = entry.owed
            for name in [name for name in owed if name in channels]:
                try:
                    channels[name](entry.alarm())
                except TransientError as error:
                    failed(entry.alarm(), name, error)
                else:
                    owed = tuple(other for other in owed if other != name)
                    self._write(entry.model_copy(update={"owed": owed}))
            if owed != entry.owed:
                sent.append(entry.alarm())
        return sent

    def _entries(self) -> list[Entry]:
        entries = [_read(path) for path in sorted(self.folder.glob("*.json"))]
        return sorted(entries, key=lambda entry: (entry.raised, entry.camera))

    def _write(self, entry: Entry) -> None:
        with new_file(self.folder / f"{entry.id}.json") as building:
            building.write_text(entry.model_dump_json(indent=2) + "\n")


def _read(path: Path) -> Entry:
    try:
        return Entry.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ConfigError(f"{path} holds no alarm: {error}; move it away") from error
