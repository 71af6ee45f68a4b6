"""What the watch finds in simulated days: planted drifts, how late and at what price, and how often it cries wolf.

python -m tests.bench.watch_detection --model data/exported/unified --reference data/reference
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import typer
from rich.console import Console
from rich.table import Table as Grid
from scipy.stats import chi2

import stages as stages  # sets the thread policy before torch starts its own
from flows.alerts import Alarm
from flows.baselines import accept_baseline
from flows.captures import ParquetLog
from flows.drift_store import DriftStore
from flows.home import Home
from flows.monitor import watch
from flows.page import write_page
from flows.rows import ALL_CAMERAS
from flows.settings import WatchSettings
from flows.simulation.camera import people_seen
from flows.simulation.days import simulate
from flows.simulation.scenario import BASELINE, Planted, Scenario, quiet, standard
from flows.simulation.site import Site, people_of, site_table
from stages.lib.deploy.session import SHIPPED, FaceModel
from stages.lib.metrics.bootstrap import Estimate, bootstrap_mean, interval, subject_weights
from stages.lib.metrics.verification import target_name
from stages.lib.runtime import Runtime
from tests.bench.degrade_speed import machine

FMR = 1e-2  # that the model is run at
REPLICATES = 1000
MONTH = 30.0
SETTLED = timedelta(days=2)  # after the last day, so that its window is over


@dataclass(frozen=True)
class Watched:
    """A scenario, what its cameras took, and what the watch made of it.

    Attributes:
        scenario: what happened.
        rows: CAPTURES with `day` (int) and `person` (row in the site's names) besides.
        drift: rows of the drift store.
        alarms: in order of time.
    """

    scenario: Scenario
    rows: pa.Table
    drift: pa.Table
    alarms: list[Alarm]

    def day(self, window: datetime) -> int:
        """Number of the day that a window of 24 hours is."""
        return (window - self.scenario.first).days


def run(
    site: Site, scenario: Scenario, exported: Path, reference: Path, settings: WatchSettings, runtime: Runtime
) -> Watched:
    """Simulate, accept each camera's first days as normal, and watch all the rest in one go."""
    with TemporaryDirectory() as folder:
        home = Home(Path(folder))
        log, kept = ParquetLog(home.captures), []
        names = {name: number for number, name in enumerate(people_of(site).names)}
        for day, rows in enumerate(simulate(site, scenario, exported / SHIPPED, runtime)):
            log.append(rows)
            people = [names[who] for camera in scenario.cameras for who in people_seen(site, scenario, camera, day)]
            kept.append(
                rows.append_column("day", pa.array([day] * rows.num_rows)).append_column("person", pa.array(people))
            )
        for camera in scenario.cameras:
            accept_baseline(log, home, camera, scenario.first, scenario.midnight(BASELINE))
        alarms = watch(log, home, settings, scenario.midnight(scenario.days) + SETTLED, reference)
        drift = DriftStore(home.drift).read()
    return Watched(scenario, pa.concat_tables(kept), drift, sorted(alarms, key=lambda alarm: alarm.raised))


def raised_by(watched: Watched, planted: Planted) -> Alarm | None:
    """The first alarm of the camera while the drift lasts."""
    days = range(planted.start, planted.start + (planted.days or watched.scenario.days))
    own = [alarm for alarm in watched.alarms if alarm.camera == planted.camera and watched.day(alarm.raised) in days]
    return own[0] if own else None


def measured(watched: Watched, planted: Planted, threshold: float, people: int) -> Estimate:
    """FNMR of the camera while the drift is at its full, less that of its baseline; people are resampled."""
    rows = watched.rows.filter(
        pc.and_(pc.equal(watched.rows["camera"], planted.camera), pc.is_null(watched.rows["rejected"]))
    )
    day, person = rows["day"].to_numpy(), rows["person"].to_numpy()
    missed = rows["match_score"].to_numpy() < threshold
    sides = [np.flatnonzero(np.isin(day, days)) for days in (full_days(watched.scenario, planted), range(BASELINE))]
    weights = subject_weights(people, REPLICATES, 1)
    drawn = [bootstrap_mean(missed[side], person[side], weights) for side in sides]
    value = float(missed[sides[0]].mean() - missed[sides[1]].mean())
    return Estimate(value, *interval(drawn[0] - drawn[1]))


def expected(watched: Watched, planted: Planted) -> Estimate | None:
    """What the windows of those days said that it would cost, on average; none where they said nothing."""
    windows = [watched.scenario.midnight(day) for day in full_days(watched.scenario, planted)]
    told = [
        row
        for row in watched.drift.to_pylist()
        if row["metric"] == "fnmr_change" and row["camera"] == planted.camera and row["window"] in windows
    ]
    values = np.array([[row["value"], row["low"], row["high"]] for row in told if row["value"] is not None])
    return Estimate(*values.mean(axis=0).tolist()) if len(values) else None


def full_days(scenario: Scenario, planted: Planted) -> range:
    """Days on which a drift is at its full."""
    last = scenario.days if planted.days is None else min(scenario.days, planted.start + planted.days)
    return range(planted.start + max(0, planted.ramp - 1), last)


def quiet_windows(watched: Watched) -> Iterator[tuple[bool, datetime]]:
    """Each judged window of a camera after the baseline on which nothing is planted: whether it breached, and when."""
    for row in watched.drift.to_pylist():
        day, judged = watched.day(row["window"]), row["metric"] == "p_min" and row["camera"] != ALL_CAMERAS
        if judged and day >= BASELINE and not watched.scenario.planted_on(row["camera"], day):
            yield row["breach"], row["window"]


def false_alarms(watched: Watched) -> list[Alarm]:
    """Alarms after the baseline when nothing was planted: on the camera, or anywhere if they speak of all cameras."""
    found = []
    for alarm in watched.alarms:
        cameras = watched.scenario.cameras if alarm.camera == ALL_CAMERAS else (alarm.camera,)
        day = watched.day(alarm.raised)
        if day >= BASELINE and not any(watched.scenario.planted_on(camera, day) for camera in cameras):
            found.append(alarm)
    return found


def drifts(watched: Watched, threshold: float, people: int) -> Grid:
    """A row for each planted drift."""
    grid = Grid(title=f"planted drifts, seed {watched.scenario.seed}; FNMR at cosine {threshold:.3f}")
    for heading in (
        "drift",
        "camera",
        "alarm names",
        "right",
        "planted day",
        "breach",
        "alarm",
        "delay",
        "expected FNMR change",
        "measured",
        "error",
    ):
        grid.add_column(heading)
    for planted in watched.scenario.planted:
        alarm = raised_by(watched, planted)
        told, true = expected(watched, planted), measured(watched, planted, threshold, people)
        named = [cause.column for cause in alarm.causes] if alarm else []
        grid.add_row(
            planted.name,
            planted.camera,
            ", ".join(named[:3]) or "no alarm",
            _yes(bool(named) and named[0] in planted.columns),
            str(planted.start),
            str(watched.day(alarm.since)) if alarm else "-",
            str(watched.day(alarm.raised)) if alarm else "-",
            str(watched.day(alarm.raised) - planted.start + 1) if alarm else "-",
            _estimate(told),
            _estimate(true),
            f"{told.value - true.value:+.3f}" if told else "-",
        )
    return grid


def rate(runs: list[Watched], settings: WatchSettings) -> str:
    """How often quiet windows breach and raise alarms, beside what was chosen."""
    windows = [breach for watched in runs for breach, _ in quiet_windows(watched)]
    alarms = [alarm for watched in runs for alarm in false_alarms(watched)]
    cameras = len(runs[0].scenario.cameras)
    months = len(windows) / cameras * settings.hours / 24 / MONTH
    low, high = poisson_interval(len(alarms))
    named = "; ".join(f"{a.camera} {a.causes[0].column} {a.raised:%d %b}" for a in alarms) or "none"
    return (
        f"{len(windows)} quiet windows of {cameras} cameras: {sum(windows)} breach, {len(alarms)} alarms ({named}), "
        f"{len(alarms) / months:.2f} in 30 days of all cameras, 95 % interval {low / months:.2f} to "
        f"{high / months:.2f}; chosen: {settings.false_alarms_per_month:g}"
    )


def poisson_interval(count: int) -> tuple[float, float]:
    """Exact 95 % interval of a Poisson mean (Garwood, Biometrika 28, 1936)."""
    low = float(chi2.ppf(0.025, 2 * count) / 2) if count else 0.0
    return low, float(chi2.ppf(0.975, 2 * count + 2) / 2)


def _estimate(estimate: Estimate | None) -> str:
    return "-" if estimate is None else f"{estimate.value:+.3f} ({estimate.low:+.3f} to {estimate.high:+.3f})"


def _yes(value: bool) -> str:
    return "yes" if value else "NO"


def main(
    model: Annotated[Path, typer.Option(help="folder of a shipped student")] = Path("data/exported/unified"),
    reference: Annotated[Path, typer.Option(help="its reference profile")] = Path("data/reference"),
    table: Annotated[Path | None, typer.Option(help="aligned faces whose test people are seen; none: new ones")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="runs with the standard drifts")] = 1,
    quiet_seeds: Annotated[int, typer.Option(min=1, help="quiet runs")] = 2,
    per_day: Annotated[int, typer.Option(min=60, help="captures of a camera and day; fewer are not judged")] = 120,
    page: Annotated[Path | None, typer.Option(help="where the HTML page of the first run goes")] = None,
) -> None:
    """Print a table of the planted drifts for each seed, and the rate of false alarms over all runs."""
    runtime, settings = Runtime.from_environment(), WatchSettings()
    site = Site(table or site_table(Home.from_environment(), runtime).path)
    scenarios = [standard(per_day, seed) for seed in range(1, seeds + 1)]
    scenarios += [quiet(per_day, seed) for seed in range(101, 101 + quiet_seeds)]
    runs = [run(site, scenario, model, reference, settings, runtime) for scenario in scenarios]
    if page is not None:
        write_page(runs[0].drift, runs[0].alarms, page, settings)
    threshold = FaceModel(model / SHIPPED).contract.thresholds[target_name(FMR)].cosine
    console = Console(width=180)
    console.print(machine("cpu"))
    for watched in runs[:seeds]:
        console.print(drifts(watched, threshold, len(people_of(site).names)))
    console.print(rate(runs, settings))


if __name__ == "__main__":
    typer.run(main)
