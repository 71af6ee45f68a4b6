"""Bring what people look at up to date with the drift store: the page, and Evidently's workspace."""

from __future__ import annotations

import pyarrow as pa

from flows.alerts import AlarmBook
from flows.baselines import References
from flows.drift_store import DriftStore
from flows.home import Home
from flows.page import write_page
from flows.rows import ALL_CAMERAS
from flows.settings import WatchSettings
from stages.lib.errors import ConfigError


def show_page(home: Home, settings: WatchSettings) -> str:
    """Write the page; returns where it is.

    Raises:
        ConfigError: no window was measured yet.
    """
    with DriftStore(home.drift).alone():  # a person and the monitor may want it at once
        rows = _measured(home, settings)
        write_page(rows, AlarmBook(home.alerts).alarms(), home.page, settings)
    return f"{home.page} shows {len(set(rows['window'].to_pylist()))} windows"


def show_workspace(home: Home, settings: WatchSettings) -> str:
    """Make Evidently's workspace anew, with its own reading of the newest windows; returns what it holds.

    Raises:
        ConfigError: no window was measured yet.
    """
    from flows.dashboard import write_workspace  # takes some seconds to import

    with DriftStore(home.drift).alone():
        rows = _measured(home, settings)
        known = References(home, home.reference, settings.columns, settings.hours)
        cameras = sorted(set(rows["camera"].to_pylist()) - {ALL_CAMERAS})
        references = {camera: known.of(camera).faces() for camera in cameras}
        alarms = AlarmBook(home.alerts).alarms()
        snapshots = write_workspace(rows, alarms, home.workspace, settings.captures(home), references)
    return f"{home.workspace} holds {snapshots} snapshots"


def _measured(home: Home, settings: WatchSettings) -> pa.Table:
    rows = DriftStore(home.drift).read(hours=settings.hours)
    if not rows.num_rows:
        raise ConfigError(f"{home.drift} has no window yet: score captures, then run `python -m flows monitor`")
    return rows
