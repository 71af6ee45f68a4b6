"""The findings as files for machines: `metrics.json` for DVC, long tables as CSV."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path

import numpy as np

from stages.lib.metrics.bootstrap import Estimate
from stages.lib.report.conditions import ALL, BOTH
from stages.lib.report.findings import Findings
from stages.lib.report.pool import Difference, single

Figures = dict[str, object]
RESULTS = ("model", "seed", "condition", "operator", "severity", "metric", "value", "low", "high")
COVER_FIGURES = ("cover_auc", "cover_recall", "cover_false", "cover_found", "cover_true")
DIFFERENCES = (
    *("treatment", "control", "condition", "aim", "metric"),
    *("value", "low", "high", "seeds", "verdict", "resolved"),
)


def headline_metrics(findings: Findings) -> tuple[str, ...]:
    """The figures that a reader sees first."""
    return ("eer", findings.facts.fnmr, "rank1")


def write_metrics(findings: Findings, path: Path) -> None:
    """Write the compact figures that `dvc metrics show` and `diff` compare."""
    metrics = headline_metrics(findings)
    content: dict[str, Figures] = {}
    for name in findings.names:
        model, shipped = findings.shipped(name).model, findings.shipped(name).conditions[ALL].values
        content[name] = {
            "role": model.role,
            "megabytes": _rounded(model.megabytes),
            "parameters": model.parameters,
            "seeds": len(findings.of(name)),
            "on_test_people": {k: _rounded(v) for k, v in shipped.items() if k.startswith("threshold@")},
            **{c: _flat(findings.estimate(name, c), metrics) for c in findings.columns},
        }
    content["difference"] = {
        name: {
            control: {c: _flat_difference(findings.difference(name, c, control), metrics) for c in findings.columns}
            for control in findings.controls(name)
        }
        for name in findings.treatments
    }
    content["occlusion"] = {
        name: {condition: _flat(figures, COVER_FIGURES) for condition, figures in covers.items()}
        for name in findings.names
        if (covers := findings.estimate_covers(name))
    }
    content["quality"] = {
        name: {group: _flat(told[group], told[group]) for group in findings.groups}
        for name in findings.names
        for told in [findings.estimate_quality(name)]
    }
    content["lists"] = {
        pairs.name: {n: _flat(findings.estimate_list(n, pairs.name), ("eer", "accuracy")) for n in findings.names}
        for pairs in findings.lists
    }
    facts = findings.facts
    content["about"] = {
        "test_faces": facts.faces,
        "test_people": facts.people,
        "genuine_pairs": facts.genuine,
        "impostor_pairs": facts.impostor,
        "grid_faces": findings.grid.faces,
        "grid_people": facts.grid_people,
        "replicates": facts.replicates,
        "fnmr": facts.fnmr,
    }
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


def write_results(findings: Findings, path: Path) -> None:
    """Write every figure of every file, the means over seeds and the published lists."""
    place = {f"{head}{c.name}": (c.operator, c.severity) for c in findings.grid.conditions for head in ("", BOTH)}

    def rows() -> Iterable[tuple[object, ...]]:
        for name in findings.names:
            for found in findings.of(name):
                for part in (found.conditions, found.covers, found.qualities, found.lists):
                    for condition, measurement in part.items():
                        where = (condition, *place.get(condition, ("", "")))
                        yield from _long((name, found.model.seed, *where), single(measurement))
            everywhere = {c: findings.estimate(name, c) for c in findings.columns}
            means = (everywhere, findings.estimate_covers(name), findings.estimate_quality(name))
            for condition, estimates in chain.from_iterable(mean.items() for mean in means):
                if len(findings.of(name)) > 1:
                    yield from _long((name, "mean", condition, *place.get(condition, ("", ""))), estimates)

    _write_csv(path, RESULTS, rows())


def write_differences(findings: Findings, path: Path) -> None:
    """Write each treatment minus each of its controls.

    `aim` is 1 in the conditions that its method is for, `resolved` where both sides had the impostor pairs that the
    figure's false match rate needs.
    """

    rows = (
        (name, control, c, int(c in own), metric, *_figures(d.estimate), d.seeds, d.verdict, int(resolved))
        for name, control in findings.comparisons
        for own in [{c for aim in findings.aims.get(name, ()) for c in findings.own(aim)}]
        for c in (*findings.columns, *findings.groups)
        for metric, d in findings.difference(name, c, control).items()
        for resolved in [all(findings.resolved(side, c, metric) for side in (name, control))]
    )
    _write_csv(path, DIFFERENCES, rows)


def write_det(findings: Findings, path: Path) -> None:
    """Write the DET curves: log10 of both rates, at most 200 points a curve."""
    rows = (
        (found.model.name, found.model.seed, curve.condition, f"{x:.4f}", f"{y:.4f}")
        for found in findings.models
        for curve in found.curves
        for x, y in zip(np.log10(curve.fmr), np.log10(curve.fnmr), strict=True)
    )
    _write_csv(path, ("model", "seed", "condition", "log10_fmr", "log10_fnmr"), rows)


def write_grid(findings: Findings, path: Path) -> None:
    """Write EER by operator and severity, mean over seeds, as shares."""
    rows = (
        (cell.operator, cell.severity, name, *_figures(findings.estimate(name, cell.name)["eer"]))
        for cell in findings.grid.conditions[1:]
        for name in findings.names
    )
    _write_csv(path, ("operator", "severity", "model", "eer", "low", "high"), rows)


def _flat(estimates: Mapping[str, Estimate], metrics: Iterable[str]) -> Figures:
    flat: Figures = {}
    for metric in metrics:
        if metric in estimates:
            e = estimates[metric]
            ends = {f"{metric}_low": _rounded(e.low), f"{metric}_high": _rounded(e.high)}
            flat |= {metric: _rounded(e.value), **{k: v for k, v in ends.items() if v is not None}}
    return flat


def _flat_difference(found: Mapping[str, Difference], metrics: Iterable[str]) -> Figures:
    chosen = {metric: found[metric] for metric in metrics if metric in found}
    flat = _flat({metric: d.estimate for metric, d in chosen.items()}, chosen)
    return flat | {f"{metric}_verdict": d.verdict for metric, d in chosen.items()}


def _long(where: tuple[object, ...], estimates: Mapping[str, Estimate]) -> Iterable[tuple[object, ...]]:
    for metric, estimate in estimates.items():
        yield (*where, metric, *_figures(estimate))


def _figures(estimate: Estimate) -> tuple[str, ...]:
    return tuple("" if math.isnan(v) else f"{v:.6g}" for v in (estimate.value, estimate.low, estimate.high))


def _rounded(value: float) -> float | None:
    return float(f"{value:.5g}") if math.isfinite(value) else None


def _write_csv(path: Path, header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
