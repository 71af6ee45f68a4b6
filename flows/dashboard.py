"""Evidently's workspace, made from the drift store: the only file that imports Evidently.

A snapshot stands for a window of a camera and holds our own figures; of the newest windows a second one holds
Evidently's own reading of the captures. The snapshot of all cameras together holds each camera's shared figures too: a
line has a gap wherever a snapshot of its panel lacks the figure, so cameras that share a panel must share snapshots.
The workspace may be deleted at any time, and is made anew as a whole; ids are the same then, so bookmarks last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import NAMESPACE_URL, uuid5

import numpy as np
import pandas as pd
import pyarrow as pa
from evidently import DataDefinition, Dataset, Report
from evidently.core.metric_types import SingleValue, SingleValueCalculation, SingleValueMetric
from evidently.core.report import Context, Snapshot
from evidently.metrics import QuantileValue, ValueDrift
from evidently.sdk.models import DashboardModel, DashboardPanelPlot, DashboardTabModel, PanelMetric, ProjectModel
from evidently.sdk.panels import bar_plot_panel, counter_panel, line_plot_panel, text_panel
from evidently.ui.workspace import Workspace

from flows.alerts import Alarm
from flows.captures import CaptureLog
from flows.rows import ALL_CAMERAS
from flows.shown import camera_name, cameras_in_order, farthest
from stages.lib.drift.reference import Reference
from stages.lib.drift.verdict import PLAIN
from stages.lib.folders import new_folder

PROJECT: Final = "face quality"
PROJECT_ID: Final = uuid5(NAMESPACE_URL, PROJECT)
SHOWN: Final = 400
"""Newest windows that are drawn: the workspace is made anew whenever one was measured."""
RAW_WINDOWS: Final = 3
"""Newest windows of which Evidently reads the captures itself: each costs about a second a camera."""
SAMPLE: Final = 500  # captures of a window that it reads
OF_WINDOW: Final = ("captures", "rejected_share", "fnmr_expected", "fnmr_change", "claims_refused", "p_min")
OF_COLUMN: Final = ("psi", "wasserstein", "q05", "q50", "q95")
FARTHEST: Final = "farthest"
BOUND: Final = "bound"
"""Figures of our own making: the multiple of its bound at which the farthest measure lies, and the 1 beside it."""
SHARED: Final = (*OF_WINDOW, "psi", "wasserstein", FARTHEST, BOUND)
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
    measured = rows.to_pandas()
    measured = measured[measured["window"].isin(sorted(set(measured["window"]))[-SHOWN:])]
    table = _with_multiples(measured).sort_values(["window", "camera"], kind="stable")
    windows = sorted(set(table["window"]))
    known = references or {}
    with new_folder(folder) as building:
        workspace = Workspace.create(str(building))
        workspace.add_project(
            ProjectModel(id=PROJECT_ID, name=PROJECT, description="What the cameras see, against what is normal there")
        )
        workspace.save_dashboard(PROJECT_ID, _board(table, cameras_in_order(measured["camera"]), alarms))
        count = 0
        for window, every in table.groupby("window", sort=True):
            start = every["window"].iloc[0].to_pydatetime()
            for camera in (ALL_CAMERAS, *sorted(set(every["camera"]) - {ALL_CAMERAS})):
                own = every["camera"] == camera
                told = every[own | every["metric"].isin(SHARED)] if camera == ALL_CAMERAS else every[own]
                snapshots = [_figures(told, start, camera)]
                if log is not None and camera in known and window in windows[-RAW_WINDOWS:]:
                    snapshots += _reading(every[own], start, camera, log, known[camera])
                for snapshot in snapshots:
                    # `add_run` makes up an id; this is what it does beside that
                    run = uuid5(PROJECT_ID, snapshot.get_name() or "")
                    workspace.state.write_snapshot(PROJECT_ID, run, snapshot.to_snapshot_model())
                count += len(snapshots)
    return count


def _with_multiples(table: pd.DataFrame) -> pd.DataFrame:
    """The rows and, as rows of their own, `FARTHEST` of each camera and `BOUND` of each window of all cameras."""
    times = farthest(table).rename("value").reset_index().assign(metric=FARTHEST)
    bounds = table[["window"]].drop_duplicates().assign(camera=ALL_CAMERAS, metric=BOUND, value=1.0)
    return pd.concat([table, times.assign(column=""), bounds.assign(column="")], ignore_index=True)


def _figures(own: pd.DataFrame, window: datetime, camera: str) -> Snapshot:
    """Our own figures, as they are: a dataset of one row."""
    told = own[own["value"].notna()]
    of_window = (*OF_WINDOW, FARTHEST, BOUND)
    told = told[told["metric"].isin(OF_COLUMN).where(told["column"] != "", told["metric"].isin(of_window))]
    names = list(zip(told["camera"].map(camera_name), told["column"], told["metric"], strict=True))
    row = pd.DataFrame([{_heading(*name): value for name, value in zip(names, told["value"], strict=True)}])
    metrics = [WatchedFigure(camera=of, column=column, figure=figure) for of, column, figure in names]
    return _snapshot(metrics, row, None, own, window, camera)


def _reading(
    own: pd.DataFrame, window: datetime, camera: str, log: CaptureLog, reference: Reference
) -> Iterator[Snapshot]:
    """Evidently's own reading of a camera's captures: none where too few have any measure.

    Its drift is told of columns that were judged, by our bounds: with its own limits it would contradict the verdict.
    """
    raw = _captures(log, window, float(own["hours"].iloc[0]), camera, tuple(reference.columns))
    normal = pd.DataFrame(reference.columns)
    # Evidently leaves out what is missing, column by column, but wants something to be left
    there = [name for name in raw if min(raw[name].notna().sum(), np.isfinite(normal[name]).sum()) > 1]
    judged = own[(own["metric"] == "psi") & own["bound"].notna() & own["column"].isin(there)]
    metrics: list[ValueDrift | QuantileValue] = [
        # Evidently calls the limit itself drift, and we only what is beyond it
        ValueDrift(column=column, method="psi", threshold=float(np.nextafter(bound, np.inf)))
        for column, bound in zip(judged["column"], judged["bound"], strict=True)
    ]
    metrics += [QuantileValue(column=name, quantile=0.05) for name in there if name == "quality"]
    if metrics:
        yield _snapshot(metrics, raw[there], normal[there], own, window, camera, ", captures")


def _snapshot(
    metrics: Sequence[WatchedFigure | ValueDrift | QuantileValue],
    current: pd.DataFrame,
    reference: pd.DataFrame | None,
    own: pd.DataFrame,
    window: datetime,
    camera: str,
    what: str = "",
) -> Snapshot:
    definition = DataDefinition(numerical_columns=list(current.columns))
    data = Dataset.from_pandas(current, data_definition=definition)
    against = None if reference is None else Dataset.from_pandas(reference, data_definition=definition)
    about = {"camera": camera_name(camera), "model": str(own["model"].dropna().iloc[0])}
    name = f"{camera_name(camera)}, {window:%Y-%m-%d %H:%M}{what}"
    return Report(list(metrics), include_tests=False).run(data, against, timestamp=window, metadata=about, name=name)


def _captures(log: CaptureLog, window: datetime, hours: float, camera: str, columns: Sequence[str]) -> pd.DataFrame:
    """A window's captures: those with the lowest ids, which are hashes, so a fair sample."""
    end = window + timedelta(hours=hours)
    batches = list(log.scan(window, end, ["capture_id", "rejected", *columns], camera))
    if not batches:
        return pd.DataFrame(columns=list(columns), dtype=np.float64)
    faces = pa.Table.from_batches(batches).to_pandas()
    faces = faces[faces["rejected"].isna()].sort_values("capture_id").head(SAMPLE)
    return faces[list(columns)].astype(np.float64)


def _board(table: pd.DataFrame, cameras: Sequence[str], alarms: Sequence[Alarm]) -> DashboardModel:
    tabs: dict[str, list[DashboardPanelPlot]] = {}
    for tab, panel in _panels(table, cameras, alarms):
        tabs.setdefault(tab, []).append(panel)
    return DashboardModel(
        tabs=[
            DashboardTabModel(id=uuid5(PROJECT_ID, tab), title=tab, panels=[panel.id for panel in panels])
            for tab, panels in tabs.items()
        ],
        panels=[panel for panels in tabs.values() for panel in panels],
    )


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
        title = f"{camera_name(camera)}: expected FNMR of the newest window"
        yield (
            "Now",
            counter_panel(title=title, values=[_of("", "fnmr_expected", camera, "share of mated pairs")], size="half"),
        )
    each = [camera for camera in cameras if camera != ALL_CAMERAS]
    yield "Cost", _lines("Expected FNMR", [_of("", "fnmr_expected", camera, camera_name(camera)) for camera in each])
    yield "Cost", _lines("Its change", [_of("", "fnmr_change", camera, camera_name(camera)) for camera in each])
    yield (
        "Cost",
        _lines("Claims turned down", [_of("", "claims_refused", camera, camera_name(camera)) for camera in each]),
    )
    for camera in each:
        quantiles = [_of("quality", figure, camera, figure, camera) for figure in ("q05", "q50", "q95")]
        yield "Quality", _lines(f"{camera_name(camera)}: quality, quantiles", quantiles, "half")
    multiples = [_of("", FARTHEST, camera, camera_name(camera)) for camera in cameras]
    multiples.append(_of("", BOUND, ALL_CAMERAS, "bound"))
    yield "Drift", _lines("Farthest measure, in multiples of its bound", multiples)
    for column in (name for name in PLAIN if name in set(table["column"])):
        for figure in ("psi", "wasserstein"):
            values = [_of(column, figure, camera, camera_name(camera)) for camera in each]
            yield "Drift", _lines(f"{PLAIN[column]}: {figure}", values, "half")
    counted = [_of("", "captures", camera, camera_name(camera)) for camera in each]
    yield "Volume", bar_plot_panel(title="Captures", values=counted, size="full", stacked=True)
    yield "Volume", _lines("Share without a usable face", [_of("", "rejected_share", c, camera_name(c)) for c in each])


def _lines(title: str, values: list[PanelMetric], size: str = "full") -> DashboardPanelPlot:
    return line_plot_panel(title=title, values=values, size=size)


def _of(column: str, figure: str, camera: str, legend: str, snapshots: str = ALL_CAMERAS) -> PanelMetric:
    """A camera's line, read from the snapshots of all cameras or of one."""
    labels = {"camera": camera_name(camera), "column": column, "figure": figure}
    about = {"camera": camera_name(snapshots)}
    return PanelMetric(metric=WatchedFigure.__name__, metric_labels=labels, metadata=about, legend=legend)


def _heading(camera: str, column: str, figure: str) -> str:
    """Of a figure in a dataset; no column of captures is called so."""
    return f"{camera}/{column}/{figure}"
