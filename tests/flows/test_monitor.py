"""The monitor, on made captures of two cameras: what is found, what is measured again, and what a kill leaves."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from flows.alerts import Alarm, AlarmBook
from flows.baselines import accept_baseline, baseline_path
from flows.captures import ParquetLog
from flows.drift_store import DriftStore
from flows.home import VARIABLE, Home
from flows.monitor import is_stale, monitor, summary, watch
from flows.rows import CAPTURES, MEASURES
from flows.settings import WatchSettings
from stages.lib.drift.price import learn
from stages.lib.errors import ConfigError, TransientError
from stages.lib.metrics.bootstrap import subject_weights

FIRST = datetime(2026, 3, 2, tzinfo=UTC)
BASELINE, DAYS, PER_DAY = 10, 8, 90
SETTINGS = WatchSettings(sample=80, fewest=40, resamples=300)
CHILD = """
import sys
from datetime import datetime
from pathlib import Path
from flows.captures import ParquetLog
from flows.home import Home
from flows.monitor import watch
from flows.settings import WatchSettings
home = Home(Path(sys.argv[1]))
settings = WatchSettings.model_validate_json(sys.argv[2])
watch(ParquetLog(home.captures), home, settings, datetime.fromisoformat(sys.argv[3]), Path(sys.argv[4]))
"""


def captures(camera: str, day: int, count: int = PER_DAY, blur: float = 0.0, salt: str = "") -> pa.Table:
    """A day of a camera: sharpness falls by `blur` standard deviations, and quality with it."""
    name = f"{camera} {day} {salt}"
    random = np.random.default_rng(int(hashlib.sha256(name.encode()).hexdigest()[:8], 16))
    values = random.normal(size=(count, len(MEASURES)))
    columns = dict(zip(MEASURES, values.T, strict=True))
    columns["q_sharpness"] = 6.0 - blur + columns["q_sharpness"]
    columns["quality"] = 0.5 + 0.1 * columns["quality"] - 0.1 * blur
    seconds = np.sort(random.integers(7 * 3600, 19 * 3600, count))
    rejected = random.random(count) < 0.02
    table = {
        "capture_id": [hashlib.sha256(f"{name} {i}".encode()).hexdigest()[:32] for i in range(count)],
        "time": [FIRST + timedelta(days=day, seconds=int(second)) for second in seconds],
        "camera": [camera] * count,
        "model": ["m-1"] * count,
        "rejected": ["no face found" if gone else None for gone in rejected],
        **{n: pa.array(np.where(rejected, np.nan, v).astype(np.float32), from_pandas=True) for n, v in columns.items()},
        "match_score": pa.array(np.where(rejected, np.nan, 0.5).astype(np.float32), from_pandas=True),
    }
    return pa.table(table, schema=CAPTURES)


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shipped profile: of faces with a low quality 60 % miss, of the others 20 %."""
    folder = tmp_path_factory.mktemp("profile")
    rows = captures("profile", 0, 300).filter(pc.is_null(captures("profile", 0, 300)["rejected"]))
    faces = rows.select(list(MEASURES)).append_column("person", pa.array(np.arange(rows.num_rows) // 4))
    pq.write_table(faces, folder / "faces.parquet")
    run_at = {"fmr": "1e-2", "threshold": 0.4}
    (folder / "profile.json").write_text(json.dumps({"model": "m-1", "run_at": run_at}))
    quality = np.repeat(np.linspace(0.1, 0.9, 200), 20)
    missed = np.tile(np.arange(20), 200) < np.where(quality < 0.45, 12, 4)
    subject = np.tile(np.arange(40), 100)
    learn({"quality": quality}, missed, subject, subject_weights(40, 50, 1)).save(folder / "price.npz")
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Ten quiet days of two cameras as their baselines; then `gate` loses its focus on the fourth day."""
    home = Home(tmp_path / "home")
    log = ParquetLog(home.captures)
    for day in range(BASELINE + DAYS):
        late = day >= BASELINE + 3
        log.append(captures("gate", day, blur=1.2 if late else 0.0))
        log.append(captures("a/b", day))
    for camera in ("gate", "a/b"):
        accept_baseline(log, home, camera, FIRST, FIRST + timedelta(days=BASELINE))
    return home


def at(day: int, hours: int = 2) -> datetime:
    """Two hours into a day."""
    return FIRST + timedelta(days=day, hours=hours)


def contents(home: Home) -> dict[str, bytes]:
    """Every file of the drift store but its locks."""
    return {path.name: path.read_bytes() for path in home.drift.glob("*.parquet")}


def test_the_camera_that_drifts_is_named_with_its_cause_and_price(home: Home, profile: Path) -> None:
    log = ParquetLog(home.captures)
    (alarm,) = watch(log, home, SETTINGS, at(BASELINE + DAYS), profile)
    assert (alarm.camera, alarm.causes[0].column) == ("gate", "q_sharpness")
    assert alarm.since in (FIRST + timedelta(days=BASELINE + 3), FIRST + timedelta(days=BASELINE + 4))
    assert alarm.raised - alarm.since <= timedelta(days=2) and alarm.ended is None
    assert alarm.words.startswith("camera gate: sharpness fell from ") and "at FMR 1 %" in alarm.words
    assert alarm.fnmr_change is not None and 0.05 < alarm.fnmr_change.low < alarm.fnmr_change.value < 0.4
    rows = DriftStore(home.drift).read(start=FIRST + timedelta(days=BASELINE)).to_pylist()
    told = {(row["window"], row["camera"], row["metric"]): row["value"] for row in rows if not row["column"]}
    last = FIRST + timedelta(days=BASELINE + DAYS - 1)
    assert told[last, "gate", "fnmr_expected"] > told[last, "a/b", "fnmr_expected"] + 0.05
    assert told[last, "gate", "claims_refused"] == 0.0  # every score is .5, the threshold .4
    assert (told[last, "gate", "k"], told[last, "gate", "n"]) == (SETTINGS.k, SETTINGS.n)
    assert alarm.words in summary(home, SETTINGS)
    assert watch(log, home, SETTINGS, at(BASELINE + DAYS), profile) == []  # told once


def test_a_window_is_measured_when_it_is_over_and_again_when_captures_come_late(home: Home, profile: Path) -> None:
    log, store = ParquetLog(home.captures), DriftStore(home.drift)
    watch(log, home, SETTINGS, at(2, hours=0), profile)  # the day before ended at this moment
    assert sorted(store.windows(24)) == [FIRST]
    watch(log, home, SETTINGS, at(3), profile)
    before = contents(home)
    assert len(before) == 3
    log.append(captures("gate", 1, count=5, salt="late"))
    watch(log, home, SETTINGS, at(3), profile)
    changed = {name for name, data in contents(home).items() if before[name] != data}
    assert changed == {"2026-03-03T00-24h.parquet"}
    assert store.windows(24)[FIRST + timedelta(days=1)]["gate"] == PER_DAY + 5


def test_a_killed_monitor_leaves_what_an_undisturbed_one_leaves(home: Home, profile: Path, tmp_path: Path) -> None:
    other = Home(tmp_path / "other")
    other.root.mkdir()
    other.captures.symlink_to(home.captures)
    other.baselines.symlink_to(home.baselines)
    now = at(BASELINE + DAYS)
    command = [sys.executable, "-c", CHILD, str(home.root), SETTINGS.model_dump_json(), now.isoformat(), str(profile)]
    for windows in (1, 6):
        child = subprocess.Popen(command)
        while len(contents(home)) < windows and child.poll() is None:
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert len(contents(home)) < BASELINE + DAYS, "it was to be killed in the middle"
    both = [subprocess.Popen(command) for _ in range(2)]  # two at once: one waits
    assert [child.wait() for child in both] == [0, 0]
    watch(ParquetLog(other.captures), other, SETTINGS, now, profile)
    assert contents(home) == contents(other)
    assert AlarmBook(home.alerts).alarms() == AlarmBook(other.alerts).alarms()
    assert len(AlarmBook(home.alerts).alarms()) == 1


def test_what_is_owed_is_sent_once_however_many_monitors_run(home: Home, profile: Path) -> None:
    log, sent, failed = ParquetLog(home.captures), [], []

    def chat(alarm: Alarm) -> None:
        if not failed:
            raise TransientError("down")
        sent.append(alarm.id)

    for _ in range(3):
        owed = {"chat": chat}
        watch(log, home, SETTINGS, at(BASELINE + DAYS), profile, owed, lambda *told: failed.append(told))
    ((alarm, channel, error),) = failed
    assert (sent, channel, str(error)) == ([alarm.id], "chat", "down")


def test_the_flow_reads_the_settings_of_its_home_and_shows_what_is_new(
    home: Home, profile: Path, monkeypatch: pytest.MonkeyPatch, server: None
) -> None:
    monkeypatch.setenv(VARIABLE, str(home.root))
    monkeypatch.setattr("flows.show.show_workspace", lambda home, settings: home.workspace.mkdir(exist_ok=True))  # slow
    home.settings.write_text("sample: 80\nfewest: 40\nresamples: 300\n")
    home.champion.mkdir()
    (home.champion / "reference").symlink_to(profile)
    (words,) = monitor(now=at(BASELINE + DAYS), events=False)
    assert words.startswith("camera gate: sharpness fell") and words in home.page.read_text()
    assert not is_stale(home)
    made = home.page.stat().st_mtime_ns
    assert monitor(now=at(BASELINE + DAYS), events=False) == [] and home.page.stat().st_mtime_ns == made
    home.page.unlink()  # as a kill between the store and the page leaves it
    monitor(now=at(BASELINE + DAYS), events=False)
    assert home.page.is_file()
    home.settings.write_text("hour: 24\n")
    with pytest.raises(ConfigError, match="hour: Extra inputs"):
        WatchSettings.of(home)
    home.settings.write_text("webhook_url: https://chat.example/SECRET\nhours: SECRET\n")
    with pytest.raises(ConfigError, match="webhook_url: Extra inputs") as wrong:
        WatchSettings.of(home)
    assert "SECRET" not in str(wrong.value) and wrong.value.__cause__ is None
    for text in ('webhook: "https://chat.example/SECRET\n', "webhook: SECRET\nwebhook: SECRET\n"):
        home.settings.write_text("hours: 24\n" + text)
        with pytest.raises(ConfigError, match=r"settings\.yaml is not YAML, at line [23]$") as wrong:
            WatchSettings.of(home)
        assert wrong.value.__cause__ is None


def test_few_faces_are_no_verdict(home: Home, profile: Path) -> None:
    log = ParquetLog(home.captures)
    log.append(captures("new", BASELINE + DAYS, count=20, blur=3.0))
    assert all(alarm.camera == "gate" for alarm in watch(log, home, SETTINGS, at(BASELINE + DAYS + 1), profile))
    rows = DriftStore(home.drift).read(camera="new").to_pylist()
    assert {row["metric"] for row in rows} >= {"captures", "fnmr_expected"}
    assert "p_min" not in {row["metric"] for row in rows}


def test_the_alarm_of_a_camera_that_was_taken_away_ends_and_its_return_is_another_one(
    home: Home, profile: Path
) -> None:
    log, book = ParquetLog(home.captures), AlarmBook(home.alerts)
    last = BASELINE + DAYS - 1
    (alarm,) = watch(log, home, SETTINGS, at(last + 1), profile)
    for after, on in ((29, True), (30, False)):  # nothing of any camera comes any more
        assert watch(log, home, SETTINGS, at(last + after), profile) == []
        assert [one.ended is None for one in book.alarms() if one.id == alarm.id] == [on]
    for day in range(last + 40, last + 43):
        log.append(captures("gate", day, blur=1.2))
    (again,) = watch(log, home, SETTINGS, at(last + 43), profile)
    assert (again.camera, again.ended) == ("gate", None) and again.id != alarm.id
    assert [one.ended is None for one in book.alarms()] == [False, True]


def test_what_is_missing_is_named(home: Home, tmp_path: Path) -> None:
    log = ParquetLog(home.captures)
    with pytest.raises(ConfigError, match="run the stage reference"):
        watch(log, home, SETTINGS, at(BASELINE + DAYS), tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="camera dock has no face"):
        accept_baseline(log, home, "dock", FIRST, at(1))
    assert baseline_path(home, "../gate").parent == home.baselines
