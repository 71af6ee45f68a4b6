"""One model through every condition, list and quality band."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from stages.lib.metrics.verification import target_name
from stages.lib.models.embedder import Embeddings
from stages.lib.report.bands import fnmr_by_band
from stages.lib.report.candidates import Candidate
from stages.lib.report.conditions import ALL, BOTH, CLEAN, DEGRADED, POOLED, TRANSFER
from stages.lib.report.curves import thinned_det
from stages.lib.report.exam import Exam
from stages.lib.report.findings import ModelFindings
from stages.lib.report.lists import measure_list
from stages.lib.report.trial import Measurement, mean_over, measure

_NO_SCORES = np.empty(0, np.float32)


def examine(
    model: Candidate,
    clean: Embeddings,
    degraded: Embeddings,
    elsewhere: Mapping[str, Embeddings],
    covers: Mapping[str, Measurement],
    exam: Exam,
) -> ModelFindings:
    """Measure a model.

    Args:
        model: the file that made the embeddings.
        clean: (N, D) unit embeddings of the clean test faces.
        degraded: (M, D) of the degraded ones, rows as the conditions count them.
        elsewhere: source -> (K, D) of its faces, rows as its trial counts them.
        covers: condition -> what the model's map of covers was worth; empty for a model without one.
        exam: what to measure.
    """
    rules, targets = exam.rules, exam.rules.fmr_targets
    freezing = f"threshold@{target_name(targets[0])}"
    stated = model.thresholds.get(target_name(targets[0]))  # read from validation people, as in a deployment
    found = {ALL: measure(clean, clean, exam.everyone, targets, stated)}
    scores = found[ALL].scores
    found[CLEAN] = found[ALL]
    if exam.subset is not exam.everyone:
        enrolled = clean[exam.grid.conditions[1].templates]
        found[CLEAN] = measure(enrolled, enrolled, exam.subset, targets, stated)
    frozen = found[CLEAN].values[freezing] if stated is None else stated
    under = partial(measure, fmr_targets=targets, frozen=frozen)
    for cell in exam.grid.degraded:
        found[cell.name] = under(clean[cell.templates], degraded[cell.probes], exam.subset)
    for cell in (cell for cell in exam.grid.degraded if cell.operator in rules.both):
        found[BOTH + cell.name] = under(degraded[cell.probes], degraded[cell.probes], exam.subset)
    found |= {name: under(clean, clean, trial) for name, trial in exam.poses[None].items()}
    for source, trial in exam.transfers.items():
        there = elsewhere[source]
        found[TRANSFER + source] = under(there, there, trial)
        found |= {name: under(there, there, posed) for name, posed in exam.poses[source].items()}
    curves = [thinned_det(ALL, scores, exam.everyone.protocol.genuine)]
    if exam.grid.degraded:
        cells = [found[cell.name] for cell in exam.grid.degraded]
        genuine = np.tile(exam.subset.protocol.genuine, len(cells))
        curves.append(thinned_det(POOLED, np.concatenate([c.scores for c in cells]), genuine))
        found[DEGRADED] = mean_over(cells)
    bands = fnmr_by_band(scores, exam.everyone, exam.covariates, frozen) if _closer(model) else []
    lists = {pairs.name: measure_list(clean, pairs, rules.replicates, rules.seed) for pairs in exam.lists}
    return ModelFindings(
        model,
        {name: _without_scores(found[name]) for name in (ALL, CLEAN, DEGRADED, *found) if name in found},
        {name: _without_scores(measurement) for name, measurement in lists.items()},
        tuple(curves),
        tuple(bands),
        covers,
    )


def _closer(model: Candidate) -> bool:
    return model.role == "student" and model.shipped


def _without_scores(measurement: Measurement) -> Measurement:
    """Scores of every pair, model and condition would outgrow memory; what was asked of them is answered."""
    return Measurement(measurement.values, measurement.replicates, _NO_SCORES)
