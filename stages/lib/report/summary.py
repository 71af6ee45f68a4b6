"""The results table for a terminal, from `metrics.json` alone."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from stages.lib.errors import ConfigError
from stages.lib.report.conditions import TRANSFER, is_transfer

NOT_MODELS = ("difference", "occlusion", "quality", "lists", "about")
WIDTH = 160  # a terminal's width must not change what a log holds


def headline(reports: Path) -> str:
    """The results of the last evaluation as a plain table, and where its report is.

    Figures without a report beside them came with the repository, and the text says so first.

    Args:
        reports: the folder that `evaluate` wrote.

    Raises:
        ConfigError: there is no evaluation, or its file is damaged.
    """
    path = reports / "metrics.json"
    try:
        metrics: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}; run `python -m stages evaluate`") from error
    about = metrics["about"]
    title = (
        f"{about['test_faces']} test faces of {about['test_people']} people; degraded: "
        f"{about['grid_faces']} faces of {about['grid_people']} people in every cell.\n"
        "Below each figure its 95 % interval; last column: EER degraded minus the first control's, percentage points."
    )
    fnmr = about["fnmr"]
    transfers = [c for c in metrics["teacher"] if is_transfer(c)]
    table = Table(title=title, box=box.SIMPLE, title_justify="left")
    table.add_column("model", no_wrap=True)
    for heading in (
        "MB",
        "weights",
        "EER\nclean, %",
        f"{fnmr.upper()},\n%",
        "rank-1,\n%",
        "EER\ndegraded, %",
        *(f"EER\n{c.removeprefix(TRANSFER)}, %" for c in transfers),
        "to control",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, model in metrics.items():
        if name in NOT_MODELS:
            continue
        clean = model["clean_all"]
        table.add_row(
            f"{name}\n{model['seeds']} seeds" if model["seeds"] > 1 else name,
            f"{model['megabytes']:.2f}",
            f"{model['parameters'] / 1e6:.2f} M",
            *(_cell(clean, metric) for metric in ("eer", fnmr, "rank1")),
            _cell(model.get("degraded_mean", {}), "eer"),
            *(_cell(model[c], "eer") for c in transfers),
            _verdict(metrics["difference"].get(name, {})),
        )
    text = io.StringIO()
    Console(file=text, width=WIDTH, color_system=None).print(table)
    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    page = reports / "report" / "report.html"
    if page.is_file():
        return "\n".join([*lines, f"report: {page}"])
    return "\n".join([f"These figures came with the repository ({path}); nothing was evaluated here yet.", *lines])


def _cell(figures: dict[str, float], metric: str) -> str:
    if metric not in figures:
        return "-"
    value = f"{100 * figures[metric]:.1f}"
    low, high = figures.get(f"{metric}_low"), figures.get(f"{metric}_high")
    return value if low is None or high is None else f"{value}\n{100 * low:.1f} to {100 * high:.1f}"


def _verdict(controls: dict[str, Any]) -> str:
    if not controls:
        return ""
    difference = next(iter(controls.values()))
    figures = difference.get("degraded_mean") or difference["clean_all"]
    if "eer" not in figures:
        return "no seed in common"
    low, high = figures["eer_low"], figures["eer_high"]
    return f"{figures['eer_verdict']} {100 * figures['eer']:+.1f}\n{100 * low:+.1f} to {100 * high:+.1f}"
