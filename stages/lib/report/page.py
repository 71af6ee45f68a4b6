"""The report for people: one HTML file with everything inside, and the same in Markdown."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from stages.lib.report.bands import BANDS
from stages.lib.report.conditions import ALL, DEGRADED
from stages.lib.report.files import headline_metrics
from stages.lib.report.findings import Findings
from stages.lib.report.lists import PairList
from stages.lib.report.pool import Estimate, Verdict, single
from stages.lib.report.style import DARK, LIGHT, Draw, png
from stages.lib.report.words import (
    OPERATORS,
    condition_label,
    metric_label,
    operator_label,
    points,
    span,
)
from stages.lib.table import SHOWABLE

FILES: Final = ("report.html", "report.md")


@dataclass(frozen=True)
class Picture:
    """A picture in both themes.

    Attributes:
        name: file name without ending.
        words: what it shows, for readers who cannot see it.
        light: PNG for a light page; the one that is written beside the report.
        dark: PNG for a dark page.
    """

    name: str
    words: str
    light: bytes
    dark: bytes

    @classmethod
    def drawn(cls, name: str, words: str, draw: Draw, dpi: int = 160) -> Picture:
        """Draw it twice."""
        return cls(name, words, png(draw, LIGHT, dpi), png(draw, DARK, dpi))

    @property
    def sources(self) -> tuple[str, str]:
        """Both as data URIs, light and dark."""
        light, dark = (base64.b64encode(data).decode() for data in (self.light, self.dark))
        return f"data:image/png;base64,{light}", f"data:image/png;base64,{dark}"


@dataclass(frozen=True)
class Cell:
    """A figure in a table: the value, its interval in small type, and a verdict that colours it."""

    value: str
    span: str = ""
    verdict: Verdict | None = None
    mark: str = ""


@dataclass(frozen=True)
class Sheet:
    """A table of the report; `rows` hold a label and one cell a heading."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


def write_pages(findings: Findings, pictures: Sequence[Picture], folder: Path) -> None:
    """Write `report.html`, `report.md` and the pictures that the latter links to."""
    view = {
        "findings": findings,
        "facts": findings.facts,
        "pictures": {picture.name: picture for picture in pictures},
        "headline": _headline(findings),
        "answers": _answers(findings),
        "eer": _by_condition(findings, "eer"),
        "rank1": _by_condition(findings, "rank1"),
        "differences": {name: _differences(findings, name) for name in findings.treatments},
        "frozen": _frozen(findings),
        "lists": _lists(findings, "eer", findings.lists),
        "accuracy": _lists(findings, "accuracy", [pairs for pairs in findings.lists if pairs.folds > 1]),
        "bands": {m.model.label: _bands(findings, m.model.name) for m in findings.models if m.bands},
        "seeds": _seeds(findings),
        "operators": {operator_label(c.operator): OPERATORS.get(c.operator, "") for c in findings.grid.degraded},
        "showable": sorted(SHOWABLE),
        "fnmr_label": metric_label(findings.facts.fnmr),
    }
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=select_autoescape(["html.j2"], default_for_string=False),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    for file in FILES:
        (folder / file).write_text(templates.get_template(f"{file}.j2").render(view))
    for picture in pictures:
        (folder / f"{picture.name}.png").write_bytes(picture.light)


def _headline(findings: Findings) -> Sheet:
    metrics = [m for m in headline_metrics(findings) if m in findings.estimate(findings.names[0], ALL)]
    degraded = DEGRADED in findings.columns
    headings = ["size, MB", *(f"{metric_label(m)}, %" for m in metrics)]
    headings += ["EER degraded, %"] * degraded
    headings += [f"EER, {condition_label(c)}, %" for c in findings.transfers]
    headings += ["EER to control, points: clean", "EER to control, points: degraded"][: 1 + degraded]
    rows = []
    for name in findings.names:
        model, seeds = findings.shipped(name).model, len(findings.of(name))
        clean = findings.estimate(name, ALL)
        cells = [Cell(f"{model.megabytes:.2f}", f"{model.parameters / 1e6:.2f} M weights")]
        cells += [_cell(clean[m], "" if findings.resolved(name, ALL, m) else "†") for m in metrics]
        cells += [_cell(findings.estimate(name, DEGRADED)["eer"])] if degraded else []
        cells += [_cell(findings.estimate(name, c)["eer"]) for c in findings.transfers]
        cells += [_against(findings, name, condition) for condition in (ALL, DEGRADED)[: 1 + degraded]]
        kind = {"teacher": "teacher", "peer": "peer", "student": ""}[model.role]
        notes = ", ".join(note for note in (kind, f"{seeds} seeds" if seeds > 1 else "") if note and note != name)
        rows.append((f"{name} ({notes})" if notes else name, tuple(cells)))
    return Sheet(tuple(headings), tuple(rows))


def _against(findings: Findings, name: str, condition: str) -> Cell:
    found = findings.difference(name, condition).get("eer")
    if found is None:
        return Cell("")
    value, _, ends = points(found).partition(" ")
    return Cell(f"{found.verdict} {value}", ends, found.verdict)


def _answers(findings: Findings) -> list[str]:
    answers = []
    for name in findings.treatments:
        control = findings.shipped(name).model.control
        clean = findings.difference(name, ALL).get("eer")
        if clean is None:
            answers.append(
                f"{name} shares no training seed with {control}: nothing is paired, so no difference is given."
            )
            continue
        text = f"{name} against {control}, EER: {clean.verdict} on clean faces, {points(clean)} points"
        cells = [findings.difference(name, c.name)["eer"].verdict for c in findings.grid.degraded]
        if cells:
            mean = findings.difference(name, DEGRADED)["eer"]
            text += (
                f"; {mean.verdict} over the degraded cells, {points(mean)} points. Of {len(cells)} cells "
                f"{cells.count('better')} are better, {cells.count('worse')} worse, {cells.count('unclear')} unclear"
            )
        for condition in findings.transfers:
            there = findings.difference(name, condition)["eer"]
            text += f"; {there.verdict} on {condition_label(condition)}, {points(there)} points"
        seeds = (
            "one training seed, so the intervals speak of the people only"
            if clean.seeds == 1
            else f"{clean.seeds} seeds"
        )
        answers.append(f"{text} ({seeds}).")
    return answers


def _by_condition(findings: Findings, metric: str) -> Sheet:
    rows = []
    for condition in findings.shown:
        figures = [findings.estimate(name, condition).get(metric) for name in findings.names]
        rows.append((condition_label(condition), tuple(_cell(e) if e else Cell("") for e in figures)))
    return Sheet(tuple(findings.names), tuple(rows))


def _differences(findings: Findings, name: str) -> Sheet:
    metrics = [m for m in headline_metrics(findings) if m in findings.difference(name, ALL)]
    rows = []
    for condition in findings.shown:
        cells = []
        for metric in metrics:
            found = findings.difference(name, condition)[metric]
            value, _, ends = points(found).partition(" ")
            cells.append(Cell(value, ends, found.verdict))
        rows.append((condition_label(condition), tuple(cells)))
    return Sheet(tuple(f"{metric_label(m)}, points" for m in metrics), tuple(rows))


def _frozen(findings: Findings) -> Sheet:
    shown = [n for n in findings.names if findings.shipped(n).model.role == "student"]
    rows = []
    for condition in (c for c in findings.columns if c != ALL):
        cells: list[Cell] = []
        for name in shown:
            found = findings.estimate(name, condition)
            cells += [_cell(found["fmr@frozen"]), _cell(found["fnmr@frozen"])]
        rows.append((condition_label(condition), tuple(cells)))
    headings = tuple(f"{name}: {rate}, %" for name in shown for rate in ("FMR", "FNMR"))
    return Sheet(headings, tuple(rows))


def _lists(findings: Findings, metric: str, lists: Sequence[PairList]) -> Sheet:
    """A row for each list, with how many of its pairs could be used."""
    rows = []
    for pairs in lists:
        used, listed = len(pairs.protocol.genuine), pairs.listed
        label = f"{pairs.name}, {used:,} pairs" if used == listed else f"{pairs.name}, {used:,} of {listed:,} pairs"
        rows.append((label, tuple(_cell(findings.estimate_list(name, pairs.name)[metric]) for name in findings.names)))
    return Sheet(tuple(findings.names), tuple(rows))


def _bands(findings: Findings, name: str) -> Sheet:
    found = findings.shipped(name).bands
    rows = []
    for start in range(0, len(found), BANDS):
        quarter = found[start : start + BANDS]
        cells = tuple(
            Cell(f"{100 * b.fnmr.value:.1f}", span(b.fnmr), mark=f"{b.low:.3g} to {b.high:.3g}") for b in quarter
        )
        rows.append((quarter[0].column, cells))
    return Sheet(("lowest quarter", "second", "third", "highest quarter"), tuple(rows))


def _seeds(findings: Findings) -> Sheet:
    metrics = [m for m in headline_metrics(findings) if m in findings.models[0].conditions[ALL].values]
    rows = []
    for found in findings.models:
        figures = single(found.conditions[ALL])
        cells = [_cell(figures[m]) for m in metrics]
        if DEGRADED in found.conditions:
            cells.append(_cell(single(found.conditions[DEGRADED])["eer"]))
        ships = found.model.shipped and len(findings.of(found.model.name)) > 1
        rows.append((f"{found.model.label}{', ships' if ships else ''}", tuple(cells)))
    headings = [*(f"{metric_label(m)}, %" for m in metrics), *["EER degraded, %"] * (DEGRADED in findings.columns)]
    return Sheet(tuple(headings), tuple(rows))


def _cell(estimate: Estimate, mark: str = "") -> Cell:
    return Cell(f"{100 * estimate.value:.1f}", span(estimate), mark=mark)
