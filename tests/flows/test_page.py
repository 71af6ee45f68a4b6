"""The watch as one file: what it says is what the drift store says, and it asks nothing of the net."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from pandas import Timedelta

from flows.page import CELLS, NOT_JUDGED, _farthest_cells, _folded, _grid, write_page
from flows.rows import DRIFT
from flows.settings import WatchSettings
from tests.flows.watched import CAMERAS, FIRST, alarm, drift_rows


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of the small drift store."""
    path = tmp_path_factory.mktemp("page") / "watch.html"
    write_page(drift_rows(), [alarm()], path, WatchSettings())
    assert [file.name for file in path.parent.iterdir()] == ["watch.html"]
    return path.read_text()


def test_every_camera_and_alarm_is_told_and_foreign_names_are_text(page: str) -> None:
    assert alarm().words in page and alarm().id in page
    assert "gate" in page and "all cameras" in page
    assert "&lt;lobby&gt;" in page and "<lobby>" not in page
    # an overview, and two pictures a camera, each in two themes
    assert page.count("data:image/png;base64,") == 2 * (1 + 2 * len(CAMERAS))
    assert len(re.findall(r'alt="[^"]{20,}"', page)) == 1 + 2 * len(CAMERAS)


def test_figures_are_those_of_the_newest_window(page: str) -> None:
    rows = re.findall(r"<tr><th scope=\"row\">(.*?)</th>(.*?)</tr>", page)
    told = {name: re.sub(r"<[^>]+>", " ", cells).split() for name, cells in rows[: len(CAMERAS)]}
    newest = "2026-03-04 00:00 100 2.0 % 0.50 42.0 % 32.0 to 52.0 +5.0 +1.0 to +9.0 30.0 % 20.0 to 40.0 alarm"
    assert " ".join(told["gate"]) == newest
    assert told["all cameras"][-1] == "quiet"


def test_nothing_is_loaded_from_elsewhere(page: str) -> None:
    assert not re.search(r"https?://|<script|<link|url\(", page)


def test_without_a_window_there_is_nothing_to_show(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no window"):
        write_page(DRIFT.empty_table(), [], tmp_path / "watch.html", WatchSettings())


def test_windows_lie_where_they_were_and_one_that_is_missing_is_no_one_that_was_not_judged() -> None:
    table = drift_rows().to_pandas()
    table.loc[(table["camera"] == "gate") & (table["window"] == FIRST), "bound"] = np.nan
    last = table["window"] == table["window"].max()
    table.loc[last, "window"] += Timedelta(days=2)
    grid = _grid(table)
    cells = _farthest_cells(table, CAMERAS, grid)
    np.testing.assert_allclose(cells[0], [NOT_JUDGED, 3.0, np.nan, np.nan, 3.0])
    np.testing.assert_allclose(cells[1], [0.4, 0.4, np.nan, np.nan, 0.4])
    table.loc[last, "window"] += Timedelta(days=5 * CELLS)
    assert len(_grid(table)) - 1 <= _folded(_grid(table)) * CELLS
