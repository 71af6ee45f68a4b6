"""Evidently's workspace, made from the drift store: the only file that imports Evidently.

A snapshot stands for a window of a camera and holds our own figures; those of the newest windows hold Evidently's own
reading of the captures as well. The snapshot of all cameras together holds each camera's shared figures too: a line
has a gap wherever a snapshot of its panel lacks the figure, so cameras that share a panel must share snapshots.
The workspace may be deleted at any time, and is made anew as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
from evidently import DataDefinition, Dataset, Report
from evidently.core.metric_types import SingleValue, SingleValueCalculation, SingleValueMetric
from evidently.core.report import Context
from evidently.metrics import QuantileValue, ValueDrift
from evidently.sdk.models import DashboardPanelPlot, PanelMetric
from evidently.sdk.panels import bar_plot_panel, counter_panel, line_plot_panel, text_panel
from evidently.ui.workspace import Workspace

from flows.alerts import Alarm
from flows.captures import CaptureLog
from flows.rows import ALL_CAMERAS
from stages.lib.drift.reference import Reference
from stages.lib.drift.verdict import PLAIN
from stages.lib.folders import new_folder

PROJECT: Final = "face quality"
RAW_WINDOWS: Final = 3
"""Newest windows of which Evidently reads the captures itself: each costs about a second a camera."""
SAMPLE: Final = 500  # captures of a window that it reads
OF_WINDOW: Final = ("captures", "rejected_share", "fnmr_expected", "fnmr_change", "claims_refused", "p_min")
OF_COLUMN: Final = ("psi", "wasserstein", "q05", "q50", "q95")
SHARED: Final = (*OF_WINDOW, "psi", "wasserstein")
"""Figures by which cameras are drawn in one panel."""


class WatchedFigure(SingleValueMetric):
    """A figure of the drift store, which a snapshot takes over as it is.

    Attributes:
        camera: its name. A panel tells its lines apart by such labels; metadata only choose its snapshots.
        column: of the captures; empty where the figure speaks of the window.
        figure: its name in the drift store.
    """

    camera: str
    column: str
    figure: str


class WatchedFigureCalculation(SingleValueCalculation[WatchedFigure]):
    """Reads the figure from the one row of the dataset."""

    def calculate(
        self, context: Context, current_data: Dataset, reference_data: Dataset | None
    ) -> tuple[SingleValue, None]:
        """The figure; there is no reference: the drift store has made the comparison."""
        name = _heading(self.metric.camera, self.metric.column, self.metric.figure)
        return self.result(float(current_data.column(name).data.iloc[0])), None

    def display_name(self) -> str:
        """The figure in words."""
        return " ".join(filter(None, [f"{self.metric.camera}:", PLAIN.get(self.metric.column, ""), self.metric.figure]))


def write_workspace(
    rows: pa.Table,
    alarms: Sequence[Alarm],
    folder: Path,
    log: CaptureLog | None = None,
    references: Mapping[str, Reference] | None = None,
) -> int:
    """Make the workspace anew, at once and whole.

    Args:
        rows: of the drift store.
        alarms: all of them.
        folder: of the workspace.
        log: of captures, for Evidently's own reading of the newest windows; None: without it.
        references: of each camera, to read them against.

    Returns:
        How many snapshots it holds.
    """
    table = rows.to_pandas().sort_values(["window", "camera"], kind="stable")
    cameras = sorted(set(table["camera"]), key=lambda name: (name == ALL_CAMERAS, name))
    windows = sorted(set(table["window"]))
    with new_folder(folder) as building:
        workspace = Workspace.create(str(building))
        project = workspace.create_project(PROJECT, "What the cameras see, against what is normal there")
        for tab, panel in _panels(table, cameras, alarms):
            project.dashboard.add_panel(panel, tab=tab)
        project.save()
        count = 0
        for window, every in table.groupby("window", sort=True):
            newest = log is not None and references is not None and window in windows[-RAW_WINDOWS:]
            for camera in (ALL_CAMERAS, *sorted(set(every["camera"]) - {ALL_CAMERAS})):
                own = every["camera"] == camera
                told = every[own | every["metric"].isin(SHARED)] if camera == ALL_CAMERAS else every[own]
                snapshot = _snapshot(told, window.to_pydatetime(), camera, log if newest else None, references or {})
                workspace.add_run(project.id, snapshot, include_data=False)
                count += 1
    return count


def _snapshot(
    own: pd.DataFrame, window: datetime, camera: str, log: CaptureLog | None, references: Mapping[str, Reference]
) -> Any:
    told = own[own["value"].notna()]
    told = told[told["metric"].isin(OF_COLUMN).where(told["column"] != "", told["metric"].isin(OF_WINDOW))]
    names = list(zip(told["camera"].map(_name), told["column"], told["metric"], strict=True))
    values = {_heading(*name): value for name, value in zip(names, told["value"], strict=True)}
    metrics: list[Any] = [WatchedFigure(camera=of, column=column, figure=figure) for of, column, figure in names]
    current, reference = pd.DataFrame([values]), None
    if log is not None and camera in references:
        hours = float(own["hours"].iloc[0])
        raw = _captures(log, window, hours, camera, tuple(references[camera].columns))
        columns = [str(name) for name in raw if raw[name].notna().sum() > 1]
        columns = [name for name in columns if np.isfinite(references[camera].columns[name]).sum() > 1]
        reference = pd.DataFrame(references[camera].columns)[columns]
        # the one row of figures beside the captures: its other rows are empty, and nobody reads them
        current = pd.concat([current, raw[columns].reset_index(drop=True)], axis=1)
        reference = pd.concat([current[list(values)].iloc[:1], reference.reset_index(drop=True)], axis=1)
        bounds = own[own["metric"] == "psi"].set_index("column")["bound"].dropna().to_dict()
        # with our bound: its own is the same for any number of faces, and calls much of what is quiet a drift
        read: list[Any] = [ValueDrift(column=c, method="psi", threshold=bounds[c]) for c in columns if c in bounds]
        read += [QuantileValue(column=name, quantile=0.05) for name in columns if name == "quality"]
        metrics = read + metrics  # its pictures come first: dozens of our counters would hide them
    definition = DataDefinition(numerical_columns=list(current.columns))
    data = Dataset.from_pandas(current, data_definition=definition)
    against = None if reference is None else Dataset.from_pandas(reference, data_definition=definition)
    name = f"{_name(camera)}, {window:%Y-%m-%d %H:%M}"
    about = {"camera": _name(camera), "model": str(own["model"].iloc[0])}
    return Report(metrics, include_tests=False).run(data, against, timestamp=window, metadata=about, name=name)


def _captures(log: CaptureLog, window: datetime, hours: float, camera: str, columns: Sequence[str]) -> pd.DataFrame:
    """A window's captures: those with the lowest ids, which are hashes, so a fair sample."""
    only = None if camera == ALL_CAMERAS else camera
    batches = list(log.scan(window, window + timedelta(hours=hours), ["capture_id", "rejected", *columns], only))
    if not batches:
        return pd.DataFrame(columns=list(columns), dtype=np.float64)
    faces = pa.Table.from_batches(batches).to_pandas()
    faces = faces[faces["rejected"].isna()].sort_values("capture_id").head(SAMPLE)
    return faces[list(columns)].astype(np.float64)


def _panels(
    table: pd.DataFrame, cameras: Sequence[str], alarms: Sequence[Alarm]
) -> Iterator[tuple[str, DashboardPanelPlot]]:
    """What people see, tab by tab."""
    on = [alarm for alarm in alarms if alarm.ended is None]
    newest = sorted(alarms, key=lambda alarm: alarm.raised, reverse=True)
    yield "Now", text_panel(title=f"{len(on)} alarms are on" if on else "No alarm is on", size="full")
    for alarm in newest[:12]:
        over = f"over since {alarm.ended:%Y-%m-%d}" if alarm.ended else "goes on"
        yield "Now", text_panel(title=f"{alarm.raised:%Y-%m-%d}, {over}", description=alarm.words, size="full")
    for camera in cameras:
        title = f"{_name(camera)}: expected FNMR of the newest window"
        yield (
            "Now",
            counter_panel(title=title, values=[_of("", "fnmr_expected", camera, "share of mated pairs")], size="half"),
        )
    each = [camera for camera in cameras if camera != ALL_CAMERAS]
    yield "Cost", _lines("Expected FNMR", [_of("", "fnmr_expected", camera, _name(camera)) for camera in each])
    yield "Cost", _lines("Its change", [_of("", "fnmr_change", camera, _name(camera)) for camera in each])
    yield "Cost", _lines("Claims turned down", [_of("", "claims_refused", camera, _name(camera)) for camera in each])
    for camera in each:
        quantiles = [_of("quality", figure, camera, figure, camera) for figure in ("q05", "q50", "q95")]
        yield "Quality", _lines(f"{_name(camera)}: quality, quantiles", quantiles, "half")
    for column in (name for name in PLAIN if name in set(table["column"])):
        for figure in ("psi", "wasserstein"):
            values = [_of(column, figure, camera, _name(camera)) for camera in each]
            yield "Drift", _lines(f"{PLAIN[column]}: {figure}", values, "half")
    counted = [_of("", "captures", camera, _name(camera)) for camera in each]
    yield "Volume", bar_plot_panel(title="Captures", values=counted, size="full", stacked=True)
    yield "Volume", _lines("Share without a usable face", [_of("", "rejected_share", c, _name(c)) for c in each])


def _lines(title: str, values: list[PanelMetric], size: str = "full") -> DashboardPanelPlot:
    return line_plot_panel(title=title, values=values, size=size)


def _of(column: str, figure: str, camera: str, legend: str, snapshots: str = ALL_CAMERAS) -> PanelMetric:
    """A camera's line, read from the snapshots of all cameras or of one."""
    labels = {"camera": _name(camera), "column": column, "figure": figure}
    about = {"camera": _name(snapshots)}
    return PanelMetric(metric=WatchedFigure.__name__, metric_labels=labels, metadata=about, legend=legend)


def _heading(camera: str, column: str, figure: str) -> str:
    """Of a figure in a dataset; no column of captures is called so."""
    return f"{camera}/{column}/{figure}"


def _name(camera: str) -> str:
    return "all cameras" if camera == ALL_CAMERAS else camera
