"""Evidently's workspace is a function of the drift store: the figures come back, and it can be made again."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from evidently.ui.workspace import Workspace

from flows.dashboard import PROJECT, SHARED, write_workspace
from tests.flows.watched import CAMERAS, WINDOWS, alarm, drift_rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace that was made twice."""
    made = tmp_path_factory.mktemp("watch") / "workspace"
    for _ in range(2):
        assert write_workspace(drift_rows(), [alarm()], made) == WINDOWS * len(CAMERAS)
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
