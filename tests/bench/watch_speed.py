"""Seconds and memory of the watch over a long capture log, beside Evidently's own report on the same raw rows.

python -m tests.bench.watch_speed compare --reference data/reference

Rows are drawn from those of the reference profile, with a little noise: 60 days of 4 cameras, the first 14 of which
are accepted as normal. Every window of a camera is then measured, judged and stored by `flows.monitor.watch`, in a
process of its own. Evidently is given the raw rows of a window and of the camera's 14 days, as it wants them, and
computes PSI alone of the same columns; the rows are in memory before its clock starts. Times are of the wall clock and,
in brackets, of all cores together; the ratio is of the latter. Memory is that of the process before and at its peak.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table as Grid

import stages as stages  # sets the thread policy before torch starts its own
from flows.baselines import accept_baseline
from flows.captures import ParquetLog
from flows.home import Home
from flows.monitor import watch
from flows.rows import CAPTURES, MEASURES
from flows.settings import WatchSettings

FIRST: Final = datetime(2026, 3, 2, tzinfo=UTC)
DAYS: Final = 60
BASELINE: Final = 14
CAMERAS: Final = ("gate", "lobby", "dock", "lift")
TENTH: Final = 10  # of the windows are given to Evidently, and its time is scaled up

app = typer.Typer(add_completion=False)


def day_of_rows(faces: pd.DataFrame, day: int, count: int, model: str) -> pa.Table:
    """CAPTURES of one day: faces drawn from those of a profile, with a hundredth of their spread as noise."""
    random = np.random.default_rng([1, day])
    drawn = faces.iloc[random.integers(len(faces), size=count)]
    noisy = drawn + 0.01 * faces.std().to_numpy() * random.standard_normal(drawn.shape)
    columns = {name: pa.array(noisy[name], pa.float32()) for name in noisy}
    micros = np.sort(random.integers(86_400_000_000, size=count))
    start = int((FIRST + timedelta(days=day)).timestamp()) * 1_000_000
    about = {
        "capture_id": pa.array([random.bytes(16).hex() for _ in range(count)], pa.string()),
        "time": pa.array(start + micros, pa.timestamp("us", "UTC")),
        "camera": pa.array(np.array(CAMERAS)[random.integers(len(CAMERAS), size=count)], pa.string()),
        "model": pa.array([model] * count, pa.string()),
        **columns,
    }
    absent = {name: pa.nulls(count, CAPTURES.field(name).type) for name in CAPTURES.names if name not in about}
    return pa.table({**about, **absent}).select(CAPTURES.names).cast(CAPTURES)


def fill(home: Home, rows: int, reference: Path) -> None:
    """A home with so many captures."""
    version = json.loads((reference / "profile.json").read_text())["model"]
    faces = pq.read_table(reference / "faces.parquet").to_pandas()
    faces = faces[[name for name in MEASURES if name in faces]]
    log = ParquetLog(home.captures)
    for day in range(DAYS):
        log.append(day_of_rows(faces, day, rows // DAYS, version))


@app.command()
def ours(root: Path, reference: Path) -> None:
    """Accept baselines and watch a filled home; prints seconds and memory as JSON."""
    home, settings = Home(root), WatchSettings()
    log = ParquetLog(home.captures)
    before = peak_mb()
    started = clocks()
    for camera in CAMERAS:
        accept_baseline(log, home, camera, FIRST, FIRST + timedelta(days=BASELINE))
    accepted = clocks()
    watch(log, home, settings, FIRST + timedelta(days=DAYS + 2), reference)
    done = clocks()
    times = {"accept": (accepted - started).tolist(), "watch": (done - accepted).tolist()}
    print(json.dumps({**times, "before": before, "peak": peak_mb()}))


@app.command()
def evidently(root: Path) -> None:
    """Give every tenth window of a filled home to Evidently; prints seconds of all, scaled, and memory as JSON."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift

    before = peak_mb()
    rows = ParquetLog(Home(root).captures).scan(FIRST, FIRST + timedelta(days=DAYS))
    whole = pa.Table.from_batches(rows).to_pandas()
    day = (whole["time"] - pd.Timestamp(FIRST)).dt.days
    columns = [name for name in MEASURES if whole[name].notna().any()]
    about = DataDefinition(numerical_columns=columns)
    windows = [(camera, number) for camera in CAMERAS for number in range(DAYS)]
    seconds = np.zeros(2)
    for camera, number in windows[::TENTH]:
        own = whole["camera"] == camera
        current, reference = (whole.loc[own & of, columns] for of in (day == number, day < BASELINE))
        started = clocks()
        report = Report([ValueDrift(column=column, method="psi") for column in columns])
        sides = [Dataset.from_pandas(side, data_definition=about) for side in (current, reference)]
        report.run(*sides).dict()
        seconds += clocks() - started
    print(json.dumps({"watch": (seconds * TENTH).tolist(), "before": before, "peak": peak_mb()}))


def clocks() -> NDArray[np.float64]:
    """Seconds of wall time and of all cores together; a busy neighbour lengthens the first."""
    return np.array([time.perf_counter(), time.process_time()])


def peak_mb() -> float:
    """Most memory that this process has had, MB; what `getrusage` says would be the parent's as well."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def _both(seconds: list[float]) -> str:
    return f"{seconds[0]:.1f} ({seconds[1]:.1f})"


def alone(command: str, *arguments: str) -> dict[str, Any]:
    """Run a command of this file in a process of its own, and read what it prints last."""
    line = [sys.executable, "-m", "tests.bench.watch_speed", command, *arguments]
    done = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@app.command()
def compare(
    reference: Annotated[Path, typer.Option(help="profile of a shipped student")] = Path("data/reference"),
    rows: Annotated[list[int] | None, typer.Option(help="captures in the log; may be repeated")] = None,
) -> None:
    """Print a row for each size of the log."""
    from tests.bench.degrade_speed import machine  # brings torch, which must not count as memory of the others

    grid = Grid(title=f"{DAYS * len(CAMERAS)} windows of {len(CAMERAS)} cameras; {machine('cpu')}")
    for heading in ("captures", "accept, s", "watch, s", "peak, MB", "Evidently PSI, s", "peak, MB", "ratio"):
        grid.add_column(heading, justify="right")
    for count in rows or [100_000, 1_000_000]:
        with TemporaryDirectory() as folder:
            fill(Home(Path(folder)), count, reference)
            own, theirs = alone("ours", folder, str(reference)), alone("evidently", folder)
        grid.add_row(
            f"{count:,}",
            _both(own["accept"]),
            _both(own["watch"]),
            f"{own['before']:.0f} to {own['peak']:.0f}",
            _both(theirs["watch"]),
            f"{theirs['before']:.0f} to {theirs['peak']:.0f}",
            f"{theirs['watch'][1] / own['watch'][1]:.1f}",
        )
    Console(width=130).print(grid)


if __name__ == "__main__":
    app()
