"""Evidently's workspace is a function of the drift store: the figures come back, and it can be made again."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from evidently.ui.workspace import Workspace

from flows.captures import ParquetLog
from flows.dashboard import BOUND, FARTHEST, PROJECT, SHARED, write_workspace
from flows.rows import CAPTURES
from stages.lib.drift.reference import Reference
from tests.flows.watched import CAMERAS, FIRST, WINDOWS, alarm, drift_rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace that was made twice, and is found at the same addresses."""
    made = tmp_path_factory.mktemp("watch") / "workspace"
    files = []
    for _ in range(2):
        assert write_workspace(drift_rows(), [alarm()], made) == WINDOWS * len(CAMERAS)
        files.append(sorted(str(path.relative_to(made)) for path in made.rglob("*.json")))
    assert files[0] == files[1]
    return made


def test_a_snapshot_stands_for_a_window_of_a_camera_with_the_store_s_own_figures(folder: Path) -> None:
    workspace = Workspace(str(folder))
    (project,) = workspace.search_project(PROJECT)
    runs = [workspace.get_run(project.id, run) for run in workspace.list_runs(project.id)]
    assert len(runs) == WINDOWS * len(CAMERAS)  # made again, not added to
    stored = {}
    for row in drift_rows().to_pylist():
        camera = "all cameras" if row["camera"] == "*" else row["camera"]
        stored[row["window"].date(), camera, row["column"], row["metric"]] = row
        drifts = row["camera"] == "gate" and row["window"] > FIRST
        stored[row["window"].date(), camera, "", FARTHEST] = {"value": 3.0 if drifts else 0.4}
        stored[row["window"].date(), "all cameras", "", BOUND] = {"value": 1.0}
    seen = set()
    for run in runs:
        assert run is not None
        for result in run.metric_results.values():
            config = result.metric_value_location.metric.params
            assert run.metadata["camera"] in ("all cameras", config["camera"])
            key = (run.timestamp.date(), config["camera"], config["column"], config["figure"])
            np.testing.assert_allclose(result.value, stored[key]["value"])
            seen.add((run.metadata["camera"], *key))
    together = {key for key in stored if key[1] == "all cameras" or key[3] in SHARED}
    assert seen == {(key[1], *key) for key in stored} | {("all cameras", *key) for key in together}


def test_every_line_is_whole_as_each_snapshot_of_its_panel_holds_its_figure(folder: Path) -> None:
    workspace = Workspace(str(folder))
    (project,) = workspace.search_project(PROJECT)
    held = defaultdict(list)  # by the camera that a snapshot is of: the figures of each
    for run in (workspace.get_run(project.id, run) for run in workspace.list_runs(project.id)):
        params = [result.metric_value_location.metric.params for result in run.metric_results.values()]
        held[run.metadata["camera"]].append({(p["camera"], p["column"], p["figure"]) for p in params})
    panels = [panel for panel in project.dashboard.model().panels if panel.values]
    assert max(len(panel.values) for panel in panels) > 1
    for panel in panels:
        (snapshots,) = {value.metadata["camera"] for value in panel.values}
        assert len(held[snapshots]) == WINDOWS
        for value in panel.values:
            wanted = tuple(value.metric_labels[name] for name in ("camera", "column", "figure"))
            assert all(wanted in figures for figures in held[snapshots]), (panel.title, wanted)


def test_panels_tell_alarms_cost_quality_drift_and_volume(folder: Path) -> None:
    workspace = Workspace(str(folder))
    (project,) = workspace.search_project(PROJECT)
    board = project.dashboard.model()
    assert [tab.title for tab in board.tabs] == ["Now", "Cost", "Quality", "Drift", "Volume"]
    assert alarm().words in json.dumps([panel.subtitle for panel in board.panels])
    drawn = {value.metric_labels["column"] for panel in board.panels for value in panel.values}
    assert drawn == {"", "q_sharpness", "quality"}


def test_evidently_reads_the_newest_captures_by_our_bounds_each_column_without_its_own_gaps(tmp_path: Path) -> None:
    draw = np.random.default_rng(5)
    count, newest = 60, FIRST + timedelta(days=WINDOWS - 1)
    rows = [
        {
            "capture_id": f"{at:032x}",
            "time": newest + timedelta(minutes=at),
            "camera": "gate",
            "model": "m-1",
            "quality": draw.normal(),
            "q_sharpness": None if at % 2 else draw.normal(),
            "q_yaw": draw.normal() if at % 2 else None,  # so no capture has all measures
        }
        for at in range(count)
    ]
    log = ParquetLog(tmp_path / "captures")
    log.append(pa.Table.from_pylist(rows, schema=CAPTURES))
    normal = pa.table(
        {"block": np.arange(90), **{c: draw.normal(size=90) for c in ("quality", "q_sharpness", "q_yaw")}}
    )
    reference = Reference.of(normal, ("quality", "q_sharpness", "q_yaw"), "block", "normal")
    made = tmp_path / "workspace"
    assert write_workspace(drift_rows(), [], made, log, {"gate": reference}) == WINDOWS * len(CAMERAS) + 1
    workspace = Workspace(str(made))
    (project,) = workspace.search_project(PROJECT)
    runs = [workspace.get_run(project.id, run) for run in workspace.list_runs(project.id)]
    (reading,) = [run for run in runs if run.name.endswith("captures")]
    told = [result.metric_value_location.metric.params for result in reading.metric_results.values()]
    drifts = {p["column"]: p["threshold"] for p in told if p["type"].endswith("ValueDrift")}
    assert drifts == pytest.approx({"q_sharpness": 0.1, "quality": 0.1})  # yaw was not judged
    assert [p["column"] for p in told if p["type"].endswith("QuantileValue")] == ["quality"]
