"""The tables of the report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from stages.lib.metrics.bootstrap import Estimate
from stages.lib.metrics.verification import target_name
from stages.lib.report.bands import BANDS
from stages.lib.report.conditions import ALL, BOTH, CLEAN, DEGRADED
from stages.lib.report.discard import LIMITS, NPAUC_REFITTED, REFITTED, TECHNIQUES
from stages.lib.report.files import COVER_FIGURES, headline_metrics
from stages.lib.report.findings import Findings
from stages.lib.report.lists import PairList
from stages.lib.report.pool import Verdict, single, verdict
from stages.lib.report.words import condition_label, metric_label, plain_span, points, span


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


def headline_table(findings: Findings) -> Sheet:
    """A row for each model: size, clean, degraded, other sources, and the difference to its first control."""
    metrics = [m for m in headline_metrics(findings) if m in findings.estimate(findings.names[0], ALL)]
    degraded = DEGRADED in findings.columns
    headings = ["size, MB", *(f"{metric_label(m)}, %" for m in metrics)]
    headings += ["EER degraded, %"] * degraded
    headings += [f"EER, {condition_label(c)}, %" for c in findings.transfers]
    first = "EER to the first control, points"
    headings += [f"{first}: clean", f"{first}: degraded"][: 1 + degraded]
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
    """A treatment minus its first control in EER; empty for other models."""
    controls = findings.controls(name)
    if not controls:
        return Cell("")
    found = difference_cell(findings, name, condition, controls[0], "eer")
    return replace(found, mark=controls[0]) if len(controls) > 1 else found


def by_condition_table(findings: Findings, metric: str) -> Sheet:
    """One figure of every model in every condition."""
    rows = []
    for condition in findings.shown:
        figures = [findings.estimate(name, condition).get(metric) for name in findings.names]
        rows.append((condition_label(condition), tuple(_cell(e) if e else Cell("") for e in figures)))
    return Sheet(tuple(findings.names), tuple(rows))


def difference_table(findings: Findings, name: str, control: str) -> Sheet:
    """A treatment minus a control of its in every condition."""
    metrics = [m for m in headline_metrics(findings) if m in findings.difference(name, ALL, control)]
    rows = [
        (condition_label(c), tuple(difference_cell(findings, name, c, control, m) for m in metrics))
        for c in findings.shown
    ]
    return Sheet(tuple(f"{metric_label(m)}, points" for m in metrics), tuple(rows))


def difference_cell(findings: Findings, name: str, condition: str, control: str, metric: str) -> Cell:
    """A treatment minus a control, in percentage points; empty where they share no seed."""
    found = findings.difference(name, condition, control).get(metric)
    if found is None:
        return Cell("")
    value, _, ends = points(found).partition(" ")
    return Cell(f"{found.verdict} {value}", ends, found.verdict)


def scenario_table(findings: Findings, name: str) -> Sheet | None:
    """Template and probe clean, the probe degraded, both degraded: all figures of a model."""
    cells = [c.name for c in findings.grid.degraded if BOTH + c.name in findings.columns]
    if not cells:
        return None
    metrics = ["eer", *(f"fnmr@{target_name(t)}" for t in findings.facts.fmr_targets), "zerofmr"]
    scores, frozen = ("genuine_mean", "impostor_mean", "fdr"), ("fmr@frozen", "fnmr@frozen")
    rows = []
    for condition in (CLEAN, *(side for cell in cells for side in (cell, BOTH + cell))):
        found = findings.estimate(name, condition)
        shares = [_cell(found[m], "" if findings.resolved(name, condition, m) else "†") for m in metrics]
        plain = [Cell(f"{found[m].value:.2f}", plain_span(found[m])) for m in scores]
        rows.append((condition_label(condition), (*shares, *plain, *(_cell(found[m]) for m in frozen))))
    headings = [*(f"{metric_label(m)}, %" for m in metrics), *map(metric_label, scores)]
    return Sheet((*headings, *(f"{metric_label(m)}, %" for m in frozen)), tuple(rows))


def covers_table(findings: Findings, name: str) -> Sheet | None:
    """What the map of covers of a model was worth, condition by condition; None for a model without one."""
    rows = []
    for condition, figures in findings.estimate_covers(name).items():
        cells = [_cell(figures[m]) if m in figures else Cell("") for m in COVER_FIGURES]
        if auc := figures.get("cover_auc"):
            cells[0] = Cell(f"{auc.value:.2f}", plain_span(auc))
        rows.append((condition_label(condition), tuple(cells)))
    return Sheet(tuple(metric_label(m) for m in COVER_FIGURES), tuple(rows)) if rows else None


def discard_table(findings: Findings) -> Sheet | None:
    """What each quality of each model is worth, group by group of conditions; None without a grid."""
    groups, rows = findings.groups, []
    for name in findings.names:
        found = findings.estimate_quality(name)
        own = [found[group] for group in groups]
        rows += [_oracle(name, own)] if groups else []
        told = [(technique, technique, own) for technique in (m.removesuffix("_mean") for m in found[CLEAN])]
        if name in findings.others:
            students = {student: findings.estimate_quality(student) for student in findings.judges(name)}
            told += [(s, f"of_{name}_quality", [f[g] for g in groups]) for s, f in students.items()]
        for label, technique, figures in told:
            rows.append((f"{name}, {label}", _worths(technique, own, figures)))
    columns = ("FNMR, %", *(f"nPAUC({limit:g})" for limit in LIMITS), f"variant B, nPAUC({REFITTED:g})", "correlation")
    headings = tuple(f"{group}: {column}" for group in groups for column in columns)
    return Sheet(headings, tuple(rows)) if groups else None


def _worths(
    technique: str, own: Sequence[Mapping[str, Estimate]], told: Sequence[Mapping[str, Estimate]]
) -> tuple[Cell, ...]:
    """A technique's figures as they are told, group by group, each group headed by the model's own misses."""
    cells: list[Cell] = []
    areas = (*(f"npauc@{limit:g}" for limit in LIMITS), NPAUC_REFITTED, "correlation")
    for misses, figures in zip(own, told, strict=True):
        cells.append(_cell(misses["fnmr_undiscarded"], "" if misses["resolved"].value == 1 else "†"))
        cells += [_plain(figures[f"{technique}_{area}"]) for area in areas]
    return tuple(cells)


def _oracle(name: str, found: Sequence[Mapping[str, Estimate]]) -> tuple[str, tuple[Cell, ...]]:
    """The best that any quality could do: without it, an area near 1 says nothing of one."""
    cells: list[Cell] = []
    for figures in found:
        areas = [_plain(figures[f"oracle_npauc@{limit:g}"]) for limit in LIMITS]
        cells += [Cell(""), *areas, Cell(""), Cell("")]
    return f"{name}, if every score were known", tuple(cells)


def discard_difference_table(findings: Findings) -> Sheet | None:
    """Each model's own quality less every other word on the same faces, and each treatment's less its controls'.

    None without either.
    """
    rows = []
    for name in findings.names:
        told = [findings.estimate_quality(name)[group] for group in findings.groups]
        for technique in (t.removesuffix("_mean") for t in findings.estimate_quality(name)[CLEAN] if told):
            for head, whose in {"": "", **{f"of_{other}_": f", of {other}" for other in findings.others}}.items():
                metrics = [m for m in (f"{head}beyond_{technique}_npauc@{limit:g}" for limit in LIMITS) if m in told[0]]
                cells = tuple(_judged(verdict(m, own[m]), own[m]) for own in told for m in metrics)
                if cells:
                    rows.append((f"{name}: quality minus {technique}{whose}", cells))
    words = {technique: technique for technique in TECHNIQUES}
    words |= {f"of_{other}_quality": f"quality, of {other}" for other in findings.others}
    for name, control in findings.comparisons:
        for technique, label in words.items():
            found = [findings.difference(name, group, control) for group in findings.groups]
            areas = [own.get(f"{technique}_npauc@{limit:g}") for own in found for limit in LIMITS]
            cells = tuple(_judged(area.verdict, area.estimate) for area in areas if area is not None)
            if cells:
                rows.append((f"{label}: {name} minus {control}", cells))
    headings = tuple(f"{group}: nPAUC({limit:g})" for group in findings.groups for limit in LIMITS)
    return Sheet(headings, tuple(rows)) if rows else None


def _judged(said: Verdict, difference: Estimate) -> Cell:
    return Cell(f"{said} {difference.value:+.3f}", plain_span(difference, 3), said)


def _plain(estimate: Estimate) -> Cell:
    if math.isnan(estimate.value):
        return Cell("–")
    return Cell(f"{estimate.value:.3f}", plain_span(estimate, 3))


def quality_table(findings: Findings, name: str) -> Sheet | None:
    """Mean quality and norm of a model in every condition; None for one that tells no quality."""
    found = {c: f for c, f in findings.estimate_quality(name).items() if "quality_mean" in f}
    rows = [
        (condition_label(c), tuple(Cell(f"{e.value:.3g}", plain_span(e)) for e in (f["quality_mean"], f["norm_mean"])))
        for c, f in found.items()
    ]
    return Sheet(("quality", "norm"), tuple(rows)) if rows else None


def frozen_table(findings: Findings) -> Sheet:
    """FMR and FNMR of every student at the threshold of its clean faces."""
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


def lists_table(findings: Findings, metric: str, lists: Sequence[PairList]) -> Sheet:
    """One figure on published lists: a row for each list, with how many of its pairs could be used."""
    rows = []
    for pairs in lists:
        used, listed = len(pairs.protocol.genuine), pairs.listed
        label = f"{pairs.name}, {used:,} pairs" if used == listed else f"{pairs.name}, {used:,} of {listed:,} pairs"
        rows.append((label, tuple(_cell(findings.estimate_list(name, pairs.name)[metric]) for name in findings.names)))
    return Sheet(tuple(findings.names), tuple(rows))


def bands_table(findings: Findings, name: str) -> Sheet:
    """FNMR of a model by quarter of each covariate."""
    found = findings.shipped(name).bands
    rows = []
    for start in range(0, len(found), BANDS):
        quarter = found[start : start + BANDS]
        cells = tuple(
            Cell(f"{100 * b.fnmr.value:.1f}", span(b.fnmr), mark=f"{b.low:.3g} to {b.high:.3g}") for b in quarter
        )
        rows.append((quarter[0].column, cells))
    return Sheet(("lowest quarter", "second", "third", "highest quarter"), tuple(rows))


def seeds_table(findings: Findings) -> Sheet:
    """Every file by itself, all clean test faces."""
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
