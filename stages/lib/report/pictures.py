"""Every picture of the report, drawn where there is something to draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.lib.metrics.protocol import Protocol, pair_scores
from stages.lib.metrics.verification import target_name
from stages.lib.models.embedder import Embeddings
from stages.lib.report.answers import Answers
from stages.lib.report.candidates import INT8
from stages.lib.report.charts import det_chart, difference_chart, discard_chart, grid_chart, quality_chart
from stages.lib.report.conditions import ALL, CLEAN
from stages.lib.report.faces import (
    Graded,
    WrongPair,
    degradation_ids,
    degradation_picture,
    error_picture,
    graded_picture,
    read_faces,
)
from stages.lib.report.findings import Findings
from stages.lib.report.page import Picture
from stages.lib.report.sheet import contact_sheet, label_sheet, read_people
from stages.lib.report.trial import Trial
from stages.lib.table import SHOWABLE, Table

WORST: Final = 5  # pairs of either kind in a picture of errors
GRADED: Final = 20  # faces in a picture of qualities
SHOWN: Final = 2  # faces in the picture of degradations
FACE_DPI: Final = 120  # draws a face of 112 pixels at about its own size


@dataclass(frozen=True)
class Errors:
    """The pairs that a model gets most wrong.

    Attributes:
        model: its name.
        pairs: genuine ones first, worst first in either kind.
        threshold: pairs at or above it match.
    """

    model: str
    pairs: tuple[WrongPair, ...]
    threshold: float


def worst_errors(model: str, embeddings: Embeddings, trial: Trial, faces: pa.Table, threshold: float) -> Errors:
    """The worst pairs among faces that may be shown, one for each two people so that one bad photograph is not all.

    Args:
        model: its name.
        embeddings: (N, D) unit embeddings of the clean test faces.
        trial: the comparisons.
        faces: `face_id` and `source` of the clean test faces.
        threshold: pairs at or above it match.
    """
    protocol, ids = trial.protocol, faces["face_id"].to_pylist()
    showable = np.isin(faces["source"].to_numpy(), sorted(SHOWABLE))
    allowed = showable[protocol.left] & showable[protocol.right]
    scores = pair_scores(protocol, embeddings, embeddings)
    lowest = _first(np.flatnonzero(allowed & protocol.genuine), scores, protocol)
    highest = _first(np.flatnonzero(allowed & ~protocol.genuine), -scores, protocol)
    rows = np.concatenate([lowest, highest])
    pairs = tuple(
        WrongPair(ids[protocol.left[r]], ids[protocol.right[r]], float(scores[r]), bool(protocol.genuine[r]))
        for r in rows
    )
    return Errors(model, pairs, threshold)


def all_pictures(
    findings: Findings,
    errors: Sequence[Errors],
    grades: Sequence[Graded],
    aligned: Table,
    cells: Table,
    faces: pa.Table,
) -> list[Picture]:
    """Draw charts and, where faces may be shown, faces.

    Args:
        findings: what was measured.
        errors: worst pairs, a model each.
        grades: faces by quality, a model each.
        aligned: table of the clean faces.
        cells: table of the test faces in every cell of the grid.
        faces: `face_id`, `subject_id` and `source` of the clean test faces.
    """
    pictures = [Picture.drawn("det", "DET curves of every model", partial(det_chart, findings))]
    if findings.grid.degraded:
        pictures.append(Picture.drawn("grid", "EER by degradation and severity", partial(grid_chart, findings)))
        pictures.append(Picture.drawn("discard", "FNMR as pairs are turned away", partial(discard_chart, findings)))
        if any("quality_mean" in findings.estimate_quality(name)[CLEAN] for name in findings.names):
            words = "Mean quality by degradation and severity"
            pictures.append(Picture.drawn("quality", words, partial(quality_chart, findings)))
        pictures += _degradations(findings, aligned, cells, faces)
    for name in findings.treatments:
        words = f"Difference in EER of {name} to each of its controls"
        pictures.append(Picture.drawn(f"difference-{name}", words, partial(difference_chart, findings, name)))
    for graded in grades:
        ids = [face for face, _ in graded.faces]
        pixels = {**read_faces(aligned, ids), **read_faces(cells, ids)}
        draw = partial(graded_picture, graded, pixels)
        pictures.append(Picture.drawn(f"graded-{graded.model}", f"Faces by quality, {graded.model}", draw, FACE_DPI))
    pictures += _computed(aligned)
    for found in errors:
        pixels = read_faces(aligned, {face for pair in found.pairs for face in (pair.left, pair.right)})
        if pixels:
            words = f"Pairs of faces that {found.model} gets most wrong"
            draw = partial(error_picture, found.pairs, pixels, found.threshold)
            pictures.append(Picture.drawn(f"errors-{found.model}", words, draw, FACE_DPI))
    return pictures


def _computed(aligned: Table) -> list[Picture]:
    people = read_people(aligned)
    if not people:
        return []
    return [
        Picture.drawn("cohort", "Computed test people, a row each", partial(contact_sheet, people), FACE_DPI),
        Picture.drawn("cohort-labels", "Their segmentation and landmarks", partial(label_sheet, people), FACE_DPI),
    ]


def _degradations(findings: Findings, aligned: Table, grid: Table, faces: pa.Table) -> list[Picture]:
    ids = _one_face_a_person(faces.take(pa.array(findings.grid.conditions[1].templates)))
    clean = read_faces(aligned, ids)
    cells = {face: degradation_ids(findings.grid, face) for face in clean}
    degraded = read_faces(grid, [face for found in cells.values() for face in found.values()])
    if not degraded:
        return []
    blocks = [(clean[face], _present(cells[face], degraded)) for face in sorted(clean)]
    return [
        Picture.drawn(
            "degradations", "Test faces in every cell of the grid", partial(degradation_picture, blocks), FACE_DPI
        )
    ]


def _one_face_a_person(faces: pa.Table) -> list[str]:
    """First faces of the first people whose faces may be shown."""
    rows = zip(*(faces[c].to_pylist() for c in ("face_id", "subject_id", "source")), strict=True)
    first: dict[str, str] = {}
    for face, subject, source in rows:
        if source in SHOWABLE:
            first.setdefault(subject, face)
    return list(first.values())[:SHOWN]


def _present(
    cells: Mapping[tuple[str, int], str], pixels: Mapping[str, NDArray[np.uint8]]
) -> dict[tuple[str, int], NDArray[np.uint8]]:
    return {cell: pixels[face] for cell, face in cells.items() if face in pixels}


def _first(rows: NDArray[np.int64], badness: NDArray[np.float32], protocol: Protocol) -> NDArray[np.int64]:
    ordered = rows[np.argsort(badness[rows], kind="stable")]
    people = np.sort(np.stack([protocol.subject_left[ordered], protocol.subject_right[ordered]], axis=1), axis=1)
    _, place = np.unique(people, axis=0, return_index=True)
    chosen: NDArray[np.int64] = ordered[np.sort(place)[:WORST]]
    return chosen


def all_errors(findings: Findings, clean: Sequence[Embeddings], trial: Trial, faces: pa.Table) -> list[Errors]:
    """The worst errors of the shipped file of every student that is judged against a control."""
    threshold = f"threshold@{target_name(findings.facts.fmr_targets[0])}"
    return [
        worst_errors(found.model.name, embeddings, trial, faces, found.conditions[ALL].values[threshold])
        for found, embeddings in zip(findings.models, clean, strict=True)
        if found.model.shipped and found.model.name in findings.treatments
    ]


def all_grades(answers: Sequence[Answers], clean: pa.Table, degraded: pa.Table) -> list[Graded]:
    """Faces from the worst to the best by every shipped treatment's quality, of those that may be shown.

    Args:
        answers: of all models.
        clean: `face_id` and `source` of the (N,) clean test faces.
        degraded: of the (M,) degraded ones.
    """
    both = pa.concat_tables([side.select(["face_id", "source"]) for side in (clean, degraded)])
    showable = np.flatnonzero(np.isin(both["source"].to_numpy(), sorted(SHOWABLE)))
    found = []
    for answer in answers:
        told = (answer.clean_quality, answer.degraded_quality)
        model = answer.model
        ours = model.shipped and model.controls and not model.name.endswith(INT8)  # integers only round it
        if not (len(showable) and ours and "quality" in told[0]):
            continue
        quality = np.concatenate([side["quality"] for side in told])
        order = showable[np.argsort(quality[showable], kind="stable")]
        rows = order[np.unique(np.linspace(0, len(order) - 1, GRADED).round().astype(int))]
        ids = both["face_id"].take(pa.array(rows)).to_pylist()
        found.append(Graded(model.name, tuple(zip(ids, map(float, quality[rows]), strict=True))))
    return found
