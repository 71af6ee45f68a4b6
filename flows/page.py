"""The watch as one HTML file, for people without a server: everything inside, nothing from the net, no face in it."""

from __future__ import annotations

from collections.abc import Sequence
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
from stages.lib.drift.verdict import PLAIN
from stages.lib.folders import new_file
from stages.lib.report.page import Picture
from stages.lib.report.style import Theme

ALL_NAME: Final = "all cameras"
STATISTICS: Final = ("psi", "wasserstein", "tail_low", "tail_high")
STEPS: Final = (0.0, 0.5, 1.0, 1.5, 2.5, 4.0)
"""Multiples of a bound at which a heat map changes its colour; beyond 1 a window breaches."""
SHADES: Final = {
    "light": ("#eef3f7", "#cfe0ec", "#fbd9b5", "#f3a25f", "#d9641b", "#8f3300"),
    "dark": ("#222b33", "#2c4152", "#6b4a22", "#a4641c", "#e07b28", "#ffb27d"),
}


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
    cameras = sorted(set(table["camera"]), key=lambda name: (name == ALL_CAMERAS, name))
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
            "How far each window lies from its baseline, in multiples of the bound of its farthest measure: from 1 on "
            "it breaches. Hatched: not judged; empty: no captures. Bars below a row: an alarm was on.",
            partial(_overview, table, cameras, alarms),
        ),
        details=[(_name(camera), _pictures(table[table["camera"] == camera], camera)) for camera in cameras],
        name_of=_name,
        day=lambda time: f"{time:%Y-%m-%d}",
    )
    with new_file(path) as building:
        building.write_text(page)


def _name(camera: str) -> str:
    return ALL_NAME if camera == ALL_CAMERAS else camera


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
        "name": _name(str(newest["camera"].iloc[0])),
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


def _pictures(own: pd.DataFrame, camera: str) -> list[Picture]:
    """Of one camera: which measures drift, and what it sees and costs over time."""
    name = _name(camera)
    return [
        Picture.drawn(
            f"measures-{camera}",
            f"Measures of {name} in multiples of their bounds, the farthest of four statistics each.",
            partial(_measures, own),
        ),
        Picture.drawn(
            f"course-{camera}",
            f"Quality of {name} (median, 5 and 95 % quantiles), expected change of FNMR with its 95 % interval, and "
            "captures, those without a usable face dark.",
            partial(_course, own),
        ),
    ]


def _times(own: pd.DataFrame) -> pd.DataFrame:
    """Statistics of measures in multiples of their bounds: a row a measure, a column a window."""
    judged = own[own["metric"].isin(STATISTICS) & own["bound"].notna()]
    times = judged.assign(times=judged["value"] / judged["bound"].clip(lower=1e-9))
    return times.pivot_table(index="column", columns="window", values="times", aggfunc="max")


def _windows(table: pd.DataFrame) -> pd.DatetimeIndex:
    """Every window from the first to the last, those without a capture too."""
    return pd.date_range(table["window"].min(), table["window"].max(), freq=pd.Timedelta(hours=table["hours"].iloc[0]))


def _overview(table: pd.DataFrame, cameras: Sequence[str], alarms: Sequence[Alarm], theme: Theme) -> Figure:
    windows = _windows(table)
    values, there = np.full((len(cameras), len(windows)), np.nan), np.zeros((len(cameras), len(windows)), np.bool_)
    for row, camera in enumerate(cameras):
        mine = table[table["camera"] == camera]
        there[row] = windows.isin(mine["window"].unique())
        own = _times(mine)
        if len(own):
            values[row, windows.get_indexer(own.columns)] = own.max().to_numpy()
    figure = Figure(figsize=(9.5, 0.9 + 0.45 * len(cameras)))
    axes = figure.subplots()
    _heat(figure, axes, values, there, windows, [_name(camera) for camera in cameras], theme)
    for alarm in alarms:
        if alarm.camera in cameras:
            start = windows.searchsorted(pd.Timestamp(alarm.since))
            end = windows.searchsorted(pd.Timestamp(alarm.ended)) if alarm.ended else len(windows)
            low = cameras.index(alarm.camera) + 0.44
            axes.plot([start - 0.5, end - 0.5], [low, low], color=theme.ink, linewidth=2.5, solid_capstyle="butt")
    return figure


def _measures(own: pd.DataFrame, theme: Theme) -> Figure:
    times = _times(own)
    windows = _windows(own)
    order = [column for column in PLAIN if column in times.index]
    values = np.full((max(1, len(order)), len(windows)), np.nan)
    for row, column in enumerate(order):
        values[row, windows.get_indexer(times.columns)] = times.loc[column].to_numpy()
    there = np.tile(windows.isin(own["window"].unique()), (len(values), 1))
    names = [PLAIN[column] for column in order] or ["not judged"]
    figure = Figure(figsize=(9.5, 0.9 + 0.24 * len(values)))
    _heat(figure, figure.subplots(), values, there, windows, names, theme)
    return figure


def _heat(
    figure: Figure,
    axes: Axes,
    values: np.ndarray[Any, np.dtype[np.float64]],
    there: np.ndarray[Any, np.dtype[np.bool_]],
    windows: pd.DatetimeIndex,
    names: Sequence[str],
    theme: Theme,
) -> None:
    """(R, W) multiples of bounds as coloured cells; NaN is hatched: a grey could not be told from the quiet shades.

    Where there was no window nothing is drawn: time runs on.
    """
    colours = ListedColormap(SHADES[theme.name]).with_extremes(bad=(0, 0, 0, 0))
    axes.patch.set(hatch="//////", edgecolor=theme.soft)
    norm = BoundaryNorm([*STEPS, 1e9], len(SHADES[theme.name]))
    shown = axes.imshow(np.ma.masked_invalid(values), aspect="auto", cmap=colours, norm=norm, interpolation="nearest")
    nothing = np.ma.masked_array(np.zeros(there.shape), there)
    axes.imshow(nothing, aspect="auto", cmap=ListedColormap([theme.ground]), interpolation="nearest")
    axes.set_yticks(range(len(names)), names)
    step = max(1, len(windows) // 8)
    axes.set_xticks(range(0, len(windows), step), [f"{windows[i]:%d %b}" for i in range(0, len(windows), step)])
    axes.grid(visible=False)
    axes.set_ylim(len(names) - 0.5, -0.5)
    bar = figure.colorbar(shown, ax=axes, ticks=STEPS, pad=0.01, aspect=12)
    bar.ax.set_yticklabels([f"{step:g}x" for step in STEPS])
    bar.outline.set_visible(False)


def _course(own: pd.DataFrame, theme: Theme) -> Figure:
    figure = Figure(figsize=(9.5, 4.6))
    quality, price, volume = figure.subplots(3, 1, sharex=True, height_ratios=(2, 2, 1))
    colour = theme.palette[0]
    windows = _windows(own)  # lines end where there is none
    bands = own[own["column"] == "quality"].pivot_table(index="window", columns="metric", values="value")
    bands = bands.reindex(windows)
    if {"q05", "q50", "q95"} <= set(bands):
        quality.fill_between(bands.index, bands["q05"], bands["q95"], color=colour, alpha=0.25, linewidth=0)
        quality.plot(bands.index, bands["q50"], color=colour, linewidth=1.6)
    quality.set_title("quality")
    change = own[(own["metric"] == "fnmr_change") & own["value"].notna()].set_index("window").reindex(windows)
    low, value, high = (100 * change[name].to_numpy(float) for name in ("low", "value", "high"))
    price.fill_between(change.index, low, high, color=theme.palette[1], alpha=0.25, linewidth=0)
    price.plot(change.index, value, color=theme.palette[1], linewidth=1.6)
    price.axhline(0, color=theme.soft, linewidth=0.8)
    price.set_title("expected change of FNMR, points")
    counted = own[own["metric"] == "captures"].set_index("window").sort_index()
    hours = float(own["hours"].iloc[0])
    rejected = (counted["captures"] - counted["faces"]).to_numpy(float)
    volume.bar(counted.index, counted["captures"].to_numpy(float), width=0.8 * hours / 24, color=theme.line)
    volume.bar(counted.index, rejected, width=0.8 * hours / 24, color=theme.soft)
    volume.set_title("captures")
    volume.xaxis.set_major_formatter(mdates.DateFormatter("%d %b"))
    return figure
