"""The report for people: one HTML file with everything inside, and the same in Markdown."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, get_args

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from stages.lib.report.ablation import ablation_tables
from stages.lib.report.conditions import ALL, DEGRADED
from stages.lib.report.findings import Findings
from stages.lib.report.pool import Verdict
from stages.lib.report.style import DARK, LIGHT, Draw, png
from stages.lib.report.tables import (
    bands_table,
    by_condition_table,
    covers_table,
    difference_table,
    discard_difference_table,
    discard_table,
    frozen_table,
    headline_table,
    lists_table,
    quality_table,
    scenario_table,
    seeds_table,
)
from stages.lib.report.words import OPERATORS, condition_label, metric_label, operator_label, points
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


def write_pages(findings: Findings, pictures: Sequence[Picture], folder: Path) -> None:
    """Write `report.html`, `report.md` and the pictures that the latter links to."""
    view = {
        "findings": findings,
        "facts": findings.facts,
        "pictures": {picture.name: picture for picture in pictures},
        "headline": headline_table(findings),
        "answers": {pair: _answer(findings, *pair) for pair in findings.comparisons},
        "eer": by_condition_table(findings, "eer"),
        "rank1": by_condition_table(findings, "rank1"),
        "ablations": {name: ablation_tables(findings, name) for name in findings.treatments},
        "differences": {pair: difference_table(findings, *pair) for pair in findings.comparisons},
        "scenarios": {name: table for name in findings.names if (table := scenario_table(findings, name))},
        "covers": {name: table for name in findings.names if (table := covers_table(findings, name))},
        "discard": discard_table(findings),
        "discard_differences": discard_difference_table(findings),
        "qualities": {name: table for name in findings.names if (table := quality_table(findings, name))},
        "frozen": frozen_table(findings),
        "lists": lists_table(findings, "eer", findings.lists),
        "accuracy": lists_table(findings, "accuracy", [pairs for pairs in findings.lists if pairs.folds > 1]),
        "bands": {m.model.label: bands_table(findings, m.model.name) for m in findings.models if m.bands},
        "seeds": seeds_table(findings),
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


def _answer(findings: Findings, name: str, control: str) -> str:
    """A treatment against a control in a sentence: clean, degraded, elsewhere, and where its method counts."""
    clean = findings.difference(name, ALL, control).get("eer")
    if clean is None:
        return f"{name} shares no training seed with {control}: nothing is paired, so no difference is given."
    text = f"{name} against {control}, EER: {clean.verdict} on clean faces, {points(clean)} points"
    cells = [c.name for c in findings.grid.degraded]
    if cells:
        mean = findings.difference(name, DEGRADED, control)["eer"]
        text += f"; {mean.verdict} over the degraded cells, {points(mean)} points"
        text += f"; of {len(cells)} degraded cells {_tally(findings, name, control, cells)}"
    for condition in findings.transfers:
        there = findings.difference(name, condition, control)["eer"]
        text += f"; {there.verdict} on {condition_label(condition)}, {points(there)} points"
    for aim in findings.aims.get(name, ()):
        if own := findings.own(aim):
            text += f"; of its {len(own)} conditions of {operator_label(aim)} {_tally(findings, name, control, own)}"
    one = "one training seed, so the intervals speak of the people only"
    return f"{text} ({one if clean.seeds == 1 else f'{clean.seeds} seeds'})."


def _tally(findings: Findings, name: str, control: str, conditions: Sequence[str]) -> str:
    verdicts = [findings.difference(name, c, control)["eer"].verdict for c in conditions]
    return ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in get_args(Verdict))
