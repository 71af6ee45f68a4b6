"""The ablation tables: a treatment minus each of its controls, in the conditions that its method is for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from stages.lib.report.conditions import ALL, CLEAN, DEGRADED, family_of
from stages.lib.report.files import headline_metrics
from stages.lib.report.findings import Findings
from stages.lib.report.tables import Sheet, difference_cell
from stages.lib.report.words import condition_label, metric_label, operator_label

AIMS: Final[Mapping[str, tuple[str, ...]]] = {
    "template": ("mask",),  # MaskInv
    "occlusion": ("mask", "occlusion"),
    "selective": ("low_resolution",),  # SKD
    "consistency": ("low_resolution",),  # CCFace
    "segmentation": ("pose",),  # Seg-Distilled-ID
    "alignment": ("misalignment", "wrong_landmarker", "box_only"),  # AI-KD
}
"""Objective -> the families of conditions (`conditions.family_of`) that it is there for."""


@dataclass(frozen=True)
class Ablation:
    """One figure of a treatment in one family of conditions.

    Attributes:
        metric: the figure, in words.
        aim: the family, in words.
        sheet: a row for each control; clean faces, then the conditions of the family.
    """

    metric: str
    aim: str
    sheet: Sheet


def aims_of(objectives: Iterable[str]) -> tuple[str, ...]:
    """Families of conditions that a student with these objectives is for, each once, in their order."""
    return tuple(dict.fromkeys(aim for name in objectives for aim in AIMS.get(name, ())))


def ablation_tables(findings: Findings, name: str) -> list[Ablation]:
    """The tables of a treatment, the EER's first; the mean of the degraded cells where it has no conditions of its own.

    Args:
        findings: what was measured.
        name: of the treatment.
    """
    families = {operator_label(aim): own for aim in findings.aims.get(name, ()) if (own := findings.own(aim))}
    return [
        Ablation(metric_label(metric), aim, _sheet(findings, name, [_clean(own), *own], metric))
        for metric in headline_metrics(findings)
        for aim, own in (families or {"degraded": [c for c in findings.columns if c == DEGRADED]}).items()
    ]


def _clean(conditions: list[str]) -> str:
    """The clean faces of the people that the conditions are of: everyone in the pose buckets, in cells the grid's."""
    return ALL if conditions and family_of(conditions[0]) == "pose" else CLEAN


def _sheet(findings: Findings, name: str, conditions: list[str], metric: str) -> Sheet:
    rows = (
        (f"minus {control}", tuple(difference_cell(findings, name, c, control, metric) for c in conditions))
        for control in findings.controls(name)
    )
    return Sheet(tuple(condition_label(c) for c in conditions), tuple(rows))
