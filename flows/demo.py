"""The whole loop in one go: a model ships, a camera drifts, an alarm is raised and priced, a challenger is judged.

People, cameras and days are computed (`flows.simulation`); builds, scores, alarms and judgements are those of the
flows. The first release is a pilot made in a hurry, three epochs of clean faces, so that there is much to learn from
the first alarm; the operator asks for training of full length then. The second alarm asks for a challenger as well, and
whether that one is better is for the protocol to say.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from pydantic import JsonValue

from flows.alerts import Alarm, AlarmBook
from flows.baselines import accept_baseline
from flows.build import build
from flows.captures import ParquetLog
from flows.gallery import write_gallery
from flows.home import ALIGNED, EXPORTED, GRID, REFERENCE, VARIABLE, Home
from flows.monitor import monitor
from flows.releases import Origin, Release, Releases
from flows.retrain import Attempt, prepare, retrain
from flows.score import score
from flows.settings import WatchSettings
from flows.show import show_page, show_workspace
from flows.simulation.days import release as release_captures
from flows.simulation.days import score_day, write_day
from flows.simulation.scenario import BASELINE, Effect, Planted, Scenario
from flows.simulation.site import Site, gallery_of, site_table
from stages.lib.deploy.session import SHIPPED, FaceModel
from stages.lib.errors import ConfigError
from stages.lib.runtime import Runtime
from stages.params import load

FMR: Final = 1e-2
PILOT: Final[dict[str, JsonValue]] = {"distill.degraded": 0.0, "distill.seeds": [1], "distill.epochs": 3}
FIRST, PROMOTED, SECOND, LAST = BASELINE + 2, BASELINE + 6, BASELINE + 14, BASELINE + 18
"""Days: the first drift begins, another model scores, the second drift begins, and the day after the last one."""
RELEASED_PEOPLE: Final = 20
SCENARIO: Final = Scenario(
    cameras=("gate", "lobby"),
    planted=(
        Planted("out of focus", "gate", (Effect("blur", 3),), ("q_sharpness",), start=FIRST),
        Planted("masks", "lobby", (Effect("mask", 2),), ("occlusion",), start=SECOND, share=0.7),
    ),
    days=LAST,
)

Say = Callable[[str], None]


@dataclass(frozen=True)
class _Stage:
    """Where the play is played."""

    home: Home
    root: Path
    runtime: Runtime
    say: Say


def play(root: Path, say: Say) -> None:
    """Play the loop; what was done before is not done again.

    Args:
        root: the DVC repository, after `dvc repro`.
        say: takes a line for people.

    Raises:
        ConfigError: the pipeline is not built, or a drift raised no alarm.
    """
    home = Home((Home.from_environment().root / "demo").resolve())
    os.environ[VARIABLE] = str(home.root)  # the flows below are those of production: they ask the environment
    stage = _Stage(home, root, Runtime.from_environment(), say)
    champion = _pilot(stage)
    site = Site(site_table(home, stage.runtime).path)
    say(f"release {champion.number} ships: {champion.version}, cosine {champion.threshold:.3f} for FMR 1 %")

    _live(stage, site, range(PROMOTED))
    _accept(stage, SCENARIO.cameras, 0, BASELINE)
    alarm = _alarm(stage, "gate", PROMOTED)
    aligned, _ = Releases(home).protocol()
    drifted = range(FIRST, PROMOTED)
    count = release_captures(site, SCENARIO, "gate", drifted, RELEASED_PEOPLE, aligned, home.released)
    say(f"an operator labels and releases {count} captures of {RELEASED_PEOPLE} people at the gate")
    _challenge(stage, alarm, {"distill.epochs": load(root / "params.yaml").distill.epochs})

    _live(stage, site, range(PROMOTED, SECOND))
    _accept(stage, ("lobby",), PROMOTED, SECOND)  # what the new model says is not comparable with the old one's words
    _live(stage, site, range(SECOND, LAST))
    _challenge(stage, _alarm(stage, "lobby", LAST), {})
    say(show_page(home, WatchSettings.of(home)))
    say(show_workspace(home, WatchSettings.of(home)))


def _pilot(stage: _Stage) -> Release:
    """The first release, built in a clone as every challenger is."""
    releases = Releases(stage.home)
    if champion := releases.champion():
        return champion
    student = load(stage.root / "params.yaml").reference.student
    stage.say(f"building the pilot: {student}, one seed, three epochs, clean faces only")
    now = datetime.now(UTC)
    attempt = Attempt(id="pilot", student=student, alarm=None, changes=PILOT, released=None, started=now)
    clone = prepare(stage.home, stage.root, attempt)
    build(stages=[f"export@{student}", "reference"], repo=str(clone))
    releases.freeze_protocol(clone / ALIGNED, clone / GRID)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=clone, capture_output=True, text=True, check=True)
    origin = Origin(id=attempt.id, student=student, commit=head.stdout.strip(), changes=PILOT)
    release = releases.register(clone / EXPORTED / student, clone / REFERENCE, origin, FMR)
    return releases.promote(release.number)


def _live(stage: _Stage, site: Site, days: range) -> None:
    """Captures of some days, scored by the champion; the last day goes through the inbox as files."""
    champion = Releases(stage.home).champion()
    assert champion is not None, "there is a pilot"
    model, log = champion.folder / SHIPPED, ParquetLog(stage.home.captures)
    there = {window for window, _ in log.counts(SCENARIO.first, SCENARIO.midnight(SCENARIO.days), 24)}
    wanted = [day for day in days[:-1] if SCENARIO.midnight(day) not in there]
    for day in stage.runtime.progress(wanted, "captures", "days"):
        log.append(score_day(site, SCENARIO, model, day, stage.runtime.threads))
    write_day(site, SCENARIO, days[-1], stage.home.inbox)
    served = FaceModel(model)
    write_gallery(gallery_of(site, served), served.contract, stage.home.gallery)
    stage.say(f"day {days[-1]} is in the inbox: {score(remove=True)}")


def _accept(stage: _Stage, cameras: Sequence[str], first: int, end: int) -> None:
    """Take days as what is normal at some cameras."""
    for camera in cameras:
        start, until = SCENARIO.midnight(first), SCENARIO.midnight(end)
        accept_baseline(ParquetLog(stage.home.captures), stage.home, camera, start, until)
    stage.say(f"days {first} to {end - 1} are the baseline of {', '.join(cameras)}")


def _alarm(stage: _Stage, camera: str, day: int) -> Alarm:
    """Watch up to a day, and find the alarm of a camera."""
    monitor(now=SCENARIO.midnight(day) + timedelta(hours=2), events=False)  # `_challenge` answers, and no deployment
    found = [alarm for alarm in AlarmBook(stage.home.alerts).alarms() if alarm.camera == camera]
    if not found:
        raise ConfigError(f"{stage.home.alerts}: no alarm for the {camera}; see {stage.home.page}")
    stage.say(f"ALARM {found[-1].id}: {found[-1].words}")
    return found[-1]


def _challenge(stage: _Stage, alarm: Alarm, changes: dict[str, JsonValue]) -> None:
    """Retrain on an alarm, unless that was done."""
    known = [one for one in Releases(stage.home).all() if one.origin.alarm == alarm.id]
    if not known:
        stage.say("building a challenger: some minutes")
        retrain(alarm=alarm.id, changes=changes, force=True, repo=str(stage.root))
        known = [one for one in Releases(stage.home).all() if one.origin.alarm == alarm.id]
    one = known[0]
    stage.say(f"release {one.number} is {'HELD' if one.held else 'PROMOTED'}: {one.reason}")
