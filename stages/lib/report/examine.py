"""One model through every condition, list and quality band."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from stages.lib.deploy.session import Inspection
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


def examine(answers: Answers, exam: Exam) -> ModelFindings:
    """Measure a model by what it said."""
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
