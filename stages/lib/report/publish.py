"""Putting a report in its place, whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from stages.lib.report.files import write_det, write_differences, write_grid, write_metrics, write_results
from stages.lib.report.findings import Findings
from stages.lib.report.page import Picture, write_pages


def publish(findings: Findings, pictures: Sequence[Picture], destination: Path) -> None:
    """Write beside the destination, then rename each entry: a killed run leaves no half report."""
    building = destination.with_name(f".{destination.name}.building")
    shutil.rmtree(building, ignore_errors=True)
    (building / "report").mkdir(parents=True)
    write_metrics(findings, building / "metrics.json")
    write_det(findings, building / "det.csv")
    write_grid(findings, building / "grid.csv")
    write_results(findings, building / "report" / "results.csv")
    write_differences(findings, building / "report" / "differences.csv")
    write_pages(findings, pictures, building / "report")
    destination.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(destination / "report", ignore_errors=True)
    (destination / "metrics.json").unlink(missing_ok=True)
    for entry in sorted(building.iterdir(), key=lambda e: e.name == "metrics.json"):  # last: its presence means done
        os.replace(entry, destination / entry.name)
    building.rmdir()
