"""A small drift store's rows, for what shows them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa

from flows.alerts import Alarm, Cause, Price
from flows.rows import ALL_CAMERAS, DRIFT

FIRST = datetime(2026, 3, 2, tzinfo=UTC)
CAMERAS = ("gate", "<lobby>", ALL_CAMERAS)
WINDOWS = 3


def drift_rows() -> pa.Table:
    """Three windows of two cameras and of all; `gate` goes out of focus in the last two."""
    rows = []
    for day in range(WINDOWS):
        for at, camera in enumerate(CAMERAS):
            drifts = camera == "gate" and day > 0
            about = {
                "window": FIRST + timedelta(days=day),
                "hours": 24.0,
                "camera": camera,
                "captures": 100 + at,
                "faces": 98,
                "reference": "r",
                "model": "m-1",
                "breach": False,
            }
            share = 0.4 + day / 100
            told = [
                {"column": "", "metric": "captures", "value": 100.0 + at},
                {"column": "", "metric": "rejected_share", "value": 0.02},
                {"column": "", "metric": "fnmr_expected", "value": share, "low": share - 0.1, "high": share + 0.1},
                {"column": "", "metric": "fnmr_change", "value": 0.05, "low": 0.01, "high": 0.09},
                {"column": "", "metric": "claims_refused", "value": 0.3, "low": 0.2, "high": 0.4},
                {"column": "", "metric": "p_min", "value": 0.001 if drifts else 0.5, "bound": 0.05, "breach": drifts},
            ]
            for column in ("q_sharpness", "quality"):
                times = 3.0 if drifts and column == "q_sharpness" else 0.4
                told += [
                    {"column": column, "metric": metric, "value": 0.1 * times, "bound": 0.1, "breach": times > 1}
                    for metric in ("psi", "wasserstein")
                ]
                told += [
                    {"column": column, "metric": name, "value": level}
                    for name, level in (("q05", 0.2), ("q50", 0.5), ("q95", 0.8))
                ]
            rows += [{**about, **row} for row in told]
    return pa.Table.from_pylist(rows, schema=DRIFT)


def alarm() -> Alarm:
    """What those rows tell."""
    cause = Cause(
        column="q_sharpness",
        metric="psi",
        value=0.3,
        reference_value=6.1,
        bound=0.1,
        p=0.001,
        words="sharpness fell from 6.1 to 4.2 (median)",
    )
    return Alarm(
        id="0123456789abcdef",
        camera="gate",
        since=FIRST + timedelta(days=1),
        raised=FIRST + timedelta(days=2),
        causes=(cause,),
        fnmr_change=Price(value=0.05, low=0.01, high=0.09),
        model="m-1",
        words="camera gate: sharpness fell from 6.1 to 4.2 (median) since 2026-03-03",
    )
