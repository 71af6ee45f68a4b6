"""Charts of the findings: DET curves, the grid, and the differences to the controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from stages.lib.metrics.bootstrap import Estimate
from stages.lib.report.conditions import CLEAN
from stages.lib.report.discard import GROUPS, TECHNIQUES
from stages.lib.report.findings import Findings
from stages.lib.report.style import GREEN, VERMILION, Stroke, Theme, strokes
from stages.lib.report.words import condition_label, operator_label

COLUMNS = 4
PANELS = 3  # side by side, where a treatment has several controls
DISCARDED = 0.5  # largest share of the pairs turned away that is drawn
BANDS = 4  # models whose intervals can lie over one another and still be read
WIDTH = 9.2  # inches; charts of one width keep one size of type on the page
VERDICT = {"better": GREEN, "worse": VERMILION, "unclear": "#8a939c"}


def det_chart(findings: Findings, theme: Theme) -> Figure:
    """DET curves, one panel for clean faces and one for all degraded cells under one threshold."""
    panels = list(dict.fromkeys(curve.condition for m in findings.models for curve in m.curves))
    figure = Figure(figsize=(WIDTH, 4.3))
    looks = _strokes(findings, theme)
    for place, condition in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), place + 1)
        for found in findings.models:
            look = looks[found.model.name]
            for curve in (c for c in found.curves if c.condition == condition):
                axes.plot(
                    curve.fmr,
                    curve.fnmr,
                    color=look.colour,
                    linestyle=look.dash,
                    linewidth=1.6 if found.model.shipped else 0.9,
                    alpha=1.0 if found.model.shipped else 0.45,
                )
        axes.plot([1e-6, 1], [1e-6, 1], color=theme.line, linewidth=1, zorder=0)
        axes.set(xscale="log", yscale="log", title=condition_label(condition))
        axes.set(xlabel="false match rate, %", ylabel="false non-match rate, %")
        axes.set(xlim=(_floor(findings, condition, "fmr"), 1), ylim=(_floor(findings, condition, "fnmr"), 1))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(10))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}"))
            axis.set_minor_formatter(NullFormatter())
    _legend(figure, findings, theme)
    return figure


def grid_chart(findings: Findings, theme: Theme) -> Figure:
    """EER against severity, a panel for each operator, with 95 % intervals as bands.

    Among many models only the treatments have a band.
    """
    lines = {name: {c: findings.estimate(name, c)["eer"] for c in findings.columns} for name in findings.names}
    banded = findings.names if len(findings.names) <= BANDS else findings.treatments
    return _by_severity(findings, lines, banded, "EER, %", 100.0, theme)


def quality_chart(findings: Findings, theme: Theme) -> Figure:
    """Mean quality against severity, a panel for each operator, of the models that tell it."""
    told = {name: findings.estimate_quality(name) for name in findings.names}
    lines = {
        name: {c: figures["quality_mean"] for c, figures in found.items() if "quality_mean" in figures}
        for name, found in told.items()
        if "quality_mean" in found[CLEAN]
    }
    return _by_severity(findings, lines, list(lines), "quality", 1.0, theme)


def _by_severity(
    findings: Findings,
    lines: Mapping[str, Mapping[str, Estimate]],
    banded: Sequence[str],
    unit: str,
    scale: float,
    theme: Theme,
) -> Figure:
    """A panel for each operator: figures by model and condition against severity, from clean faces on."""
    operators = list(dict.fromkeys(c.operator for c in findings.grid.degraded))
    rows = -(-len(operators) // COLUMNS)
    figure = Figure(figsize=(WIDTH, 2.15 * rows + 0.5))
    looks = _strokes(findings, theme)
    first: Axes | None = None
    highest = 0.0
    for place, operator in enumerate(operators):
        axes = figure.add_subplot(rows, min(COLUMNS, len(operators)), place + 1, sharey=first)
        first = first or axes
        cells = [c for c in findings.grid.degraded if c.operator == operator]
        severity = [0, *(c.severity for c in cells)]
        for name, line in lines.items():
            shown, look = [line[c] for c in (CLEAN, *(c.name for c in cells))], looks[name]
            low, value, high = (scale * np.array([getattr(e, end) for e in shown]) for end in ("low", "value", "high"))
            if name in banded:
                axes.fill_between(severity, low, high, color=look.colour, alpha=0.13, linewidth=0)
            highest = max(highest, *high)
            axes.plot(
                severity,
                value,
                color=look.colour,
                linestyle=look.dash,
                marker=look.marker,
                markersize=3.5,
                linewidth=1.5,
            )
        axes.set_title(operator_label(operator))
        axes.set_xticks(severity, ["clean", *(str(s) for s in severity[1:])])
        axes.yaxis.set_major_locator(MaxNLocator(5))
        if place % COLUMNS == 0:
            axes.set_ylabel(unit)
        else:
            axes.tick_params(labelleft=False)
        if place + COLUMNS >= len(operators):
            axes.set_xlabel("severity")
    if first is not None:
        first.set_ylim(0, 1.03 * highest)  # once, for all: the panels share their axis
    _legend(figure, findings, theme, list(lines))
    return figure


def discard_chart(findings: Findings, theme: Theme) -> Figure:
    """FNMR against the share of mated pairs turned away, a panel a group of conditions; the files that ship."""
    curves = [(m.model.name, discard) for m in findings.models for discard in m.discards]
    groups = [group for group in GROUPS if any(d.group == group for _, d in curves)]
    figure = Figure(figsize=(WIDTH, 3.7))
    looks = _strokes(findings, theme)
    panels = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
    for axes, group in zip(panels, groups, strict=True):
        for name, own in ((name, d) for name, d in curves if d.group == group):
            shown = own.curve.discarded <= DISCARDED
            dash = dict(zip(TECHNIQUES, ("-", ":"), strict=True)).get(own.technique, "-.")
            steps = {"color": looks[name].colour, "linestyle": dash, "label": f"{name}, {own.technique}"}
            axes.step(100 * own.curve.discarded[shown], 100 * own.curve.fnmr[shown], where="post", **steps)
        axes.set(title=group, xlim=(0, 100 * DISCARDED))
    figure.supxlabel("mated pairs of lowest quality turned away, %", fontsize=9, color=theme.ink)
    panels[0].set_ylim(bottom=0)  # once, when all curves are there: the panels share their axis
    panels[0].set_ylabel("false non-match rate of the rest, %")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(len(handles), 4))
    return figure


def difference_chart(findings: Findings, name: str, theme: Theme) -> Figure:
    """A treatment minus each of its controls in EER, condition by condition, with 95 % intervals; a panel a control."""
    controls, columns = findings.controls(name), findings.shown
    across = min(PANELS, len(controls))
    rows = -(-len(controls) // across)
    figure = Figure(figsize=(WIDTH, rows * (0.2 * len(columns) + 0.7) + 0.4))
    panels = figure.subplots(rows, across, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, control in zip(panels, controls, strict=False):
        for row, condition in enumerate(columns):
            found = findings.difference(name, condition, control).get("eer")
            if found is None:
                continue
            low, value, high = (100 * v for v in (found.estimate.low, found.estimate.value, found.estimate.high))
            colour = VERDICT[found.verdict]
            axes.plot([low, high], [row, row], color=colour, linewidth=2.2, solid_capstyle="round")
            axes.plot(value, row, "o", color=colour, markersize=4.5)
        axes.axvline(0, color=theme.soft, linewidth=1)
        axes.grid(axis="y", visible=False)
        axes.set_title(f"minus {control}")
        axes.xaxis.set_tick_params(labelbottom=True)
    for axes in panels[len(controls) :]:
        axes.set_visible(False)
    panels[0].set_yticks(range(len(columns)), [condition_label(c) for c in columns])
    panels[0].set_ylim(len(columns) - 0.5, -0.5)
    figure.supxlabel("difference in EER, percentage points (left of 0: better)", fontsize=9, color=theme.ink)
    marks = [Line2D([], [], color=c, marker="o", linewidth=2.2, markersize=4.5, label=v) for v, c in VERDICT.items()]
    figure.legend(handles=marks, loc="outside upper center", ncols=len(marks))
    return figure


def _floor(findings: Findings, condition: str, axis: Literal["fmr", "fnmr"]) -> float:
    """The lowest rate worth an axis: beyond a rate of a half on the other axis nobody runs a system."""
    curves = [c for m in findings.models for c in m.curves if c.condition == condition]
    useful = [getattr(c, axis)[(c.fmr <= 0.5) & (c.fnmr <= 0.5)] for c in curves]
    return min([1e-2, *(float(values.min()) for values in useful if len(values))]) / 1.3


def _strokes(findings: Findings, theme: Theme) -> Mapping[str, Stroke]:
    neutral = [m.model.name for m in findings.models if m.model.role == "teacher"]
    return strokes(findings.names, neutral, theme)


def _legend(figure: Figure, findings: Findings, theme: Theme, names: Sequence[str] = ()) -> None:
    looks = _strokes(findings, theme)
    marks = [
        Line2D([], [], color=look.colour, linestyle=look.dash, marker=look.marker, markersize=4, label=name)
        for name, look in looks.items()
        if name in (names or looks)
    ]
    figure.legend(handles=marks, loc="outside upper center", ncols=min(len(marks), 6))
