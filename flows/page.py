"""The watch as one HTML file, for people without a server: everything inside, nothing from the net, no face in it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import matplotlib.dates as mdates
import numpy as np
import pandas as pd
import pyarrow as pa
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure

from flows.alerts import Alarm
from flows.rows import ALL_CAMERAS
from flows.settings import WatchSettings
from flows.shown import camera_name, cameras_in_order, farthest, multiples
from stages.lib.drift.verdict import PLAIN
from stages.lib.folders import new_file
from stages.lib.report.page import Picture
from stages.lib.report.style import Theme

STEPS: Final = (0.0, 0.5, 1.0, 1.5, 2.5, 4.0)
"""Multiples of a bound at which a heat map changes its colour; beyond 1 a window breaches."""
SHADES: Final = {
    "light": ("#eef3f7", "#cfe0ec", "#fbd9b5", "#f3a25f", "#d9641b", "#8f3300"),
    "dark": ("#222b33", "#2c4152", "#6b4a22", "#a4641c", "#e07b28", "#ffb27d"),
}
CELLS: Final = 400
"""Of a row of a heat map: more would be narrower than two pixels, and a breach lost between them."""
NOT_JUDGED: Final = -1.0
"""Stands in a heat map where a window has no multiple of a bound; NaN: there was no window."""

Cells = np.ndarray[Any, np.dtype[np.float64]]


def write_page(rows: pa.Table, alarms: Sequence[Alarm], path: Path, settings: WatchSettings) -> None:
    """Write the page, at once and whole.

    Args:
        rows: of the drift store, at least those of one window.
        alarms: all of them.
        path: of the file.
        settings: that the windows were judged with.

    Raises:
        ValueError: there is no row.
    """
    if not rows.num_rows:
        raise ValueError("no window was measured yet, so there is nothing to show")
    table = rows.to_pandas()
    cameras = cameras_in_order(table["camera"])
    grid = _grid(table)
    on = {alarm.camera for alarm in alarms if alarm.ended is None}
    template = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    ).get_template("watch.html.j2")
    days = f"{table['window'].min():%Y-%m-%d} to {table['window'].max():%Y-%m-%d}"
    page = template.render(
        span=f"{days}, {len(cameras) - (ALL_CAMERAS in cameras)} cameras",
        settings=settings,
        lasting=[alarm for alarm in alarms if alarm.ended is None],
        alarms=sorted(alarms, key=lambda alarm: alarm.raised, reverse=True),
        cameras=[_state(table[table["camera"] == camera], camera in on) for camera in cameras],
        overview=Picture.drawn(
            "windows",
            "How far each window lies from its baseline, in multiples of the bound of its farthest measure: beyond 1 "
            f"it breaches. {_legend(grid)} Bars below a row: an alarm was on.",
            partial(_overview, _farthest_cells(table, cameras, grid), grid, cameras, alarms),
        ),
        details=[
            (camera_name(camera), list(_pictures(table[table["camera"] == camera], camera, grid))) for camera in cameras
        ],
        name_of=camera_name,
        day=lambda time: f"{time:%Y-%m-%d}",
    )
    with new_file(path) as building:
        building.write_text(page)


def _state(own: pd.DataFrame, alarmed: bool) -> dict[str, Any]:
    """A camera's newest window, in words."""
    window = own["window"].max()
    newest = own[own["window"] == window].set_index(["column", "metric"])

    def told(column: str, metric: str) -> pd.Series | None:
        if (column, metric) not in newest.index:
            return None
        row = newest.loc[(column, metric)]
        return row if pd.notna(row["value"]) else None

    expected, change, quality = told("", "fnmr_expected"), told("", "fnmr_change"), told("quality", "q50")
    rejected, refused, verdict = told("", "rejected_share"), told("", "claims_refused"), told("", "p_min")
    state = "alarm" if alarmed else "not judged" if verdict is None else "breach" if verdict["breach"] else "quiet"
    return {
        "name": camera_name(str(newest["camera"].iloc[0])),
        "window": f"{window:%Y-%m-%d %H:%M}",
        "captures": int(newest["captures"].iloc[0]),
        "rejected": "" if rejected is None else f"{100 * rejected['value']:.1f} %",
        "quality": "" if quality is None else f"{quality['value']:.2f}",
        "refused": "" if refused is None else f"{100 * refused['value']:.1f} %",
        "refused_span": "" if refused is None else f"{100 * refused['low']:.1f} to {100 * refused['high']:.1f}",
        "expected": "" if expected is None else f"{100 * expected['value']:.1f} %",
        "expected_span": "" if expected is None else f"{100 * expected['low']:.1f} to {100 * expected['high']:.1f}",
        "change": "" if change is None else f"{100 * change['value']:+.1f}",
        "change_span": "" if change is None else f"{100 * change['low']:+.1f} to {100 * change['high']:+.1f}",
        "state": state,
    }


def _pictures(own: pd.DataFrame, camera: str, grid: pd.DatetimeIndex) -> Iterator[Picture]:
    """Of one camera: which measures drift, and what it sees and costs over time."""
    name = camera_name(camera)
    names, cells = _measure_cells(own, grid)
    yield Picture.drawn(
        f"measures-{camera}",
        f"Measures of {name} in multiples of their bounds, the farthest statistic of each. {_legend(grid)}",
        partial(_measures, cells, grid, names),
    )
    yield Picture.drawn(
        f"course-{camera}",
        f"Quality of {name} (median, 5 and 95 % quantiles), expected change of FNMR with its 95 % interval, and "
        "captures, those without a usable face dark. Blank: no window.",
        partial(_course, own, grid),
    )


def _grid(table: pd.DataFrame) -> pd.DatetimeIndex:
    """Where each window begins and ends, from the first to the last, also those in which nobody captured anything."""
    length = pd.Timedelta(hours=float(table["hours"].iloc[0]))
    return pd.date_range(table["window"].min(), table["window"].max() + length, freq=length)


def _folded(grid: pd.DatetimeIndex) -> int:
    """How many windows in a row share a cell of a heat map."""
    return math.ceil((len(grid) - 1) / CELLS)


def _legend(grid: pd.DatetimeIndex) -> str:
    fold = _folded(grid)
    return f"Hatched: not judged; blank: no window.{f' A cell is the farthest of {fold} windows.' if fold > 1 else ''}"


def _blank(own: pd.DataFrame, grid: pd.DatetimeIndex) -> Cells:
    """(W,) of a camera of which nothing is judged yet."""
    return np.where(grid[:-1].isin(own["window"]), NOT_JUDGED, np.nan)


def _farthest_cells(table: pd.DataFrame, cameras: Sequence[str], grid: pd.DatetimeIndex) -> Cells:
    """(R, W) of cameras."""
    cells = np.stack([_blank(table[table["camera"] == camera], grid) for camera in cameras])
    times = farthest(table)
    rows = pd.Index(cameras).get_indexer(times.index.get_level_values("camera"))
    cells[rows, grid.get_indexer(times.index.get_level_values("window"))] = times.to_numpy()
    return cells


def _measure_cells(own: pd.DataFrame, grid: pd.DatetimeIndex) -> tuple[list[str], Cells]:
    """Measures of a camera in words, and (R, W) of them; one row where none was judged."""
    judged = multiples(own)
    # the rejected share is a figure of the window, and has no column of captures
    judged = judged.assign(column=judged["column"].where(judged["column"] != "", "rejected"))
    times = judged.groupby(["column", "window"])["times"].max()
    known = set(times.index.get_level_values("column"))
    columns = [column for column in PLAIN if column in known]
    cells = np.tile(_blank(own, grid), (max(1, len(columns)), 1))
    for row, column in enumerate(columns):
        cells[row, grid.get_indexer(times[column].index)] = times[column].to_numpy()
    return [PLAIN[column] for column in columns] or ["not judged"], cells


def _overview(
    cells: Cells, grid: pd.DatetimeIndex, cameras: Sequence[str], alarms: Sequence[Alarm], theme: Theme
) -> Figure:
    figure = Figure(figsize=(9.5, 0.9 + 0.45 * len(cameras)))
    axes = figure.subplots()
    _heat(figure, axes, cells, grid, [camera_name(camera) for camera in cameras], theme)
    for alarm in alarms:
        if alarm.camera in cameras:
            span = [_day(pd.Timestamp(alarm.since)), _day(pd.Timestamp(alarm.ended) if alarm.ended else grid[-1])]
            low = cameras.index(alarm.camera) + 0.44
            axes.plot(span, [low, low], color=theme.ink, linewidth=2.5, solid_capstyle="butt", scalex=False)
    return figure


def _measures(cells: Cells, grid: pd.DatetimeIndex, names: Sequence[str], theme: Theme) -> Figure:
    figure = Figure(figsize=(9.5, 0.9 + 0.24 * len(cells)))
    _heat(figure, figure.subplots(), cells, grid, names, theme)
    return figure


def _heat(figure: Figure, axes: Axes, cells: Cells, grid: pd.DatetimeIndex, names: Sequence[str], theme: Theme) -> None:
    """(R, W) multiples of bounds as coloured cells; those not judged are hatched: a grey would look quiet."""
    fold = _folded(grid)
    padded = np.pad(cells, ((0, 0), (0, -cells.shape[1] % fold)), constant_values=np.nan)
    shown = np.fmax.reduce(padded.reshape(len(cells), -1, fold), axis=2)
    colours = ListedColormap(SHADES[theme.name]).with_extremes(bad=theme.ground, under=(0, 0, 0, 0))
    axes.patch.set(hatch="//////", edgecolor=theme.soft)
    end = _day(grid[0] + padded.shape[1] * (grid[1] - grid[0]))
    image = axes.imshow(
        np.ma.masked_invalid(shown),
        aspect="auto",
        cmap=colours,
        norm=BoundaryNorm([*STEPS, 1e9], len(SHADES[theme.name])),
        interpolation="nearest",
        extent=(_day(grid[0]), end, len(names) - 0.5, -0.5),
    )
    axes.set_xlim(_day(grid[0]), _day(grid[-1]))
    axes.set_yticks(range(len(names)), names)
    _dated(axes)
    axes.grid(visible=False)
    bar = figure.colorbar(image, ax=axes, ticks=STEPS, pad=0.01, aspect=12)
    bar.ax.set_yticklabels([f"{step:g}x" for step in STEPS])
    bar.outline.set_visible(False)


def _day(time: pd.Timestamp) -> float:
    """As matplotlib counts days."""
    return float(mdates.date2num(time.to_pydatetime()))


def _dated(axes: Axes) -> None:
    """Dates below, as many as there is room for."""
    locator = mdates.AutoDateLocator(minticks=3, maxticks=9)
    axes.xaxis.set_major_locator(locator)
    formats = ["%Y", "%b %Y", "%d %b", "%H:%M", "%H:%M", "%S"]
    starts = ["", "%Y", "%d %b", "%d %b", "%H:%M", "%H:%M"]  # where a year, a month, a day begins
    axes.xaxis.set_major_formatter(
        mdates.ConciseDateFormatter(locator, formats=formats, zero_formats=starts, show_offset=False)
    )


def _course(own: pd.DataFrame, grid: pd.DatetimeIndex, theme: Theme) -> Figure:
    """Each window over the time that it lasts, so that one that is missing leaves a gap."""
    figure = Figure(figsize=(9.5, 4.6))
    quality, price, volume = figure.subplots(3, 1, sharex=True, height_ratios=(2, 2, 1))
    edges = mdates.date2num(grid.to_pydatetime())

    def band(axes: Axes, low: Cells, middle: Cells, high: Cells, colour: str) -> None:
        axes.stairs(high, edges, baseline=low, fill=True, color=colour, alpha=0.25)
        axes.stairs(middle, edges, baseline=None, color=colour, linewidth=1.4)

    def told(column: str, metric: str, name: str = "value") -> Cells:
        rows = own[(own["column"] == column) & (own["metric"] == metric)].set_index("window")
        return rows[name].reindex(grid[:-1]).to_numpy(np.float64)

    low, middle, high = (told("quality", metric) for metric in ("q05", "q50", "q95"))
    band(quality, low, middle, high, theme.palette[0])
    quality.set_title("quality")
    low, middle, high = (100 * told("", "fnmr_change", name) for name in ("low", "value", "high"))
    band(price, low, middle, high, theme.palette[1])
    price.axhline(0, color=theme.soft, linewidth=0.8)
    price.set_title("expected change of FNMR, points")
    captures, faces = (told("", "captures", name) for name in ("captures", "faces"))
    volume.stairs(captures, edges, fill=True, color=theme.line)
    volume.stairs(captures - faces, edges, fill=True, color=theme.soft)
    volume.set_title("captures")
    volume.set_xlim(edges[0], edges[-1])
    _dated(volume)
    return figure
