"""One model through every condition, list and quality band."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from stages.lib.deploy.session import Inspection
from stages.lib.metrics.protocol import pair_scores
from stages.lib.metrics.verification import target_name
from stages.lib.models.embedder import Embeddings
from stages.lib.report.answers import Answers
from stages.lib.report.bands import fnmr_by_band
from stages.lib.report.conditions import ALL, BOTH, CLEAN, DEGRADED, POOLED, TRANSFER
from stages.lib.report.curves import thinned_det
from stages.lib.report.discard import Qualities, mean_by_pose, mean_qualities, measure_discard, qualities_of
from stages.lib.report.exam import Exam
from stages.lib.report.findings import ModelFindings
from stages.lib.report.lists import measure_list
from stages.lib.report.trial import Measurement, mean_over, measure

_NO_SCORES = np.empty(0, np.float32)


Scores = Mapping[str, NDArray[np.float32]]


def examine(answers: Answers, exam: Exam, others: Mapping[str, Scores]) -> ModelFindings:
    """Measure a model by what it said.

    Args:
        answers: of the model.
        exam: that it is put through.
        others: models of other families -> their scores (`scores_in_grid`): a student's quality is held against these
            too, as figures `of_<name>_quality_*` and `of_<name>_beyond_*` beside what it is worth to itself.
    """
    model, faces = answers.model, answers.faces
    targets = exam.rules.fmr_targets
    stated = model.thresholds.get(target_name(targets[0]))  # read from validation people, as in a deployment
    found = _everywhere(faces.embeddings, answers.cells.embeddings, answers.elsewhere, exam, stated)
    scores = found[ALL].scores
    curves = [thinned_det(ALL, scores, exam.everyone.protocol.genuine)]
    if exam.grid.degraded:
        measured = [found[cell.name] for cell in exam.grid.degraded]
        genuine = np.tile(exam.subset.protocol.genuine, len(measured))
        curves.append(thinned_det(POOLED, np.concatenate([c.scores for c in measured]), genuine))
        found[DEGRADED] = mean_over(measured)
    good, worse = answers.clean_quality, answers.degraded_quality
    by_condition = {cell.name: found[cell.name].scores for cell in exam.grid.conditions}
    told: dict[str | None, Qualities] = {source: qualities_of(said) for source, said in answers.elsewhere.items()}
    told[None] = good
    worths, discards = measure_discard(by_condition, good, worse, exam.grid, exam.subset, targets[0])
    worths = _with_others(worths, answers, exam, others) if model.role == "student" else worths
    lists = {p.name: measure_list(faces.embeddings, p, exam.rules.replicates, exam.rules.seed) for p in exam.lists}
    closer = model.role == "student" and model.shipped
    frozen = _frozen(found, targets, stated)
    bands = fnmr_by_band(scores, exam.everyone, {**good, **exam.covariates}, frozen) if closer else []
    return ModelFindings(
        model,
        {name: _without_scores(found[name]) for name in (ALL, CLEAN, DEGRADED, *found) if name in found},
        {name: _without_scores(measurement) for name, measurement in lists.items()},
        tuple(curves),
        tuple(bands),
        answers.covers,
        {**mean_qualities(good, worse, exam.grid, exam.subset), **mean_by_pose(told, exam.poses), **worths},
        tuple(discards) if closer else (),
    )


def scores_in_grid(answers: Answers, exam: Exam) -> dict[str, NDArray[np.float32]]:
    """Condition of the grid -> (P,) cosine of each pair of `exam.subset`."""
    clean, degraded = answers.faces.embeddings, answers.cells.embeddings
    return {
        cell.name: pair_scores(
            exam.subset.protocol,
            clean[cell.templates],
            clean[cell.templates] if cell.probes is None else degraded[cell.probes],
        )
        for cell in exam.grid.conditions
        if cell.name != ALL
    }


def _with_others(
    worths: Mapping[str, Measurement], answers: Answers, exam: Exam, others: Mapping[str, Scores]
) -> dict[str, Measurement]:
    """Group -> what the model's quality is worth to itself, and what it, as a word on the faces, is worth to others."""
    found = dict(worths)
    # its norm is no word on a face for anybody else
    good, worse = (
        {t: q for t, q in side.items() if t != "norm"} for side in (answers.clean_quality, answers.degraded_quality)
    )
    for name, scores in others.items() if "quality" in good else ():
        theirs, _ = measure_discard(scores, good, worse, exam.grid, exam.subset, exam.rules.fmr_targets[0])
        for group, worth in theirs.items():
            told = [metric for metric in worth.values if metric.startswith(("quality_", "beyond_"))]
            own = found[group]
            values = own.values | {f"of_{name}_{m}": worth.values[m] for m in told}
            resampled = {f"of_{name}_{m}": worth.replicates[m] for m in told if m in worth.replicates}
            found[group] = Measurement(values, own.replicates | resampled, own.scores)
    return found


def _everywhere(
    clean: Embeddings, degraded: Embeddings, elsewhere: Mapping[str, Inspection], exam: Exam, stated: float | None
) -> dict[str, Measurement]:
    """Verification and identification in every condition, all at the threshold that the file states, if it does."""
    targets = exam.rules.fmr_targets
    found = {ALL: measure(clean, clean, exam.everyone, targets, stated)}
    found[CLEAN] = found[ALL]
    if exam.subset is not exam.everyone:
        enrolled = clean[exam.grid.conditions[1].templates]
        found[CLEAN] = measure(enrolled, enrolled, exam.subset, targets, stated)
    under = partial(measure, fmr_targets=targets, frozen=_frozen(found, targets, stated))
    for cell in exam.grid.degraded:
        found[cell.name] = under(clean[cell.templates], degraded[cell.probes], exam.subset)
    for cell in (cell for cell in exam.grid.degraded if cell.operator in exam.rules.both):
        found[BOTH + cell.name] = under(degraded[cell.probes], degraded[cell.probes], exam.subset)
    found |= {name: under(clean, clean, trial) for name, trial in exam.poses[None].items()}
    for source, trial in exam.transfers.items():
        there = elsewhere[source].embeddings
        found[TRANSFER + source] = under(there, there, trial)
        found |= {name: under(there, there, posed) for name, posed in exam.poses[source].items()}
    return found


def _frozen(found: Mapping[str, Measurement], targets: Sequence[float], stated: float | None) -> float:
    """The threshold that a file states, or else that of the clean faces of the grid."""
    return found[CLEAN].values[f"threshold@{target_name(targets[0])}"] if stated is None else stated


def _without_scores(measurement: Measurement) -> Measurement:
    """Scores of every pair, model and condition would outgrow memory; what was asked of them is answered."""
    return Measurement(measurement.values, measurement.replicates, _NO_SCORES)
