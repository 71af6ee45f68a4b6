"""One model through every condition, list and quality band."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.lib.metrics.verification import target_name
from stages.lib.models.embedder import Embeddings
from stages.lib.report.bands import fnmr_by_band
from stages.lib.report.candidates import Candidate
from stages.lib.report.conditions import ALL, CLEAN, DEGRADED, POOLED, TRANSFER, Grid
from stages.lib.report.curves import thinned_det
from stages.lib.report.findings import ModelFindings
from stages.lib.report.lists import PairList, measure_list
from stages.lib.report.trial import Measurement, Trial, mean_over, measure

_NO_SCORES = np.empty(0, np.float32)


@dataclass(frozen=True)
class Exam:
    """What every model is put through.

    Attributes:
        grid: the conditions.
        everyone: comparisons among all clean test faces.
        subset: comparisons among the faces of the grid, the same in every cell.
        lists: published lists.
        transfers: source -> comparisons among its people, of whom no model of ours saw any.
        covariates: name -> (N,) value of each clean test face.
        fmr_targets: false match rates at which FNMR is read; the first freezes the threshold.
        seed: of the resamples for the lists.
    """

    grid: Grid
    everyone: Trial
    subset: Trial
    lists: Sequence[PairList]
    transfers: Mapping[str, Trial]
    covariates: Mapping[str, NDArray[np.floating]]
    fmr_targets: tuple[float, ...]
    seed: int


def examine(
    model: Candidate, clean: Embeddings, degraded: Embeddings, elsewhere: Mapping[str, Embeddings], exam: Exam
) -> ModelFindings:
    """Measure a model.

    Args:
        model: the file that made the embeddings.
        clean: (N, D) unit embeddings of the clean test faces.
        degraded: (M, D) of the degraded ones, rows as the conditions count them.
        elsewhere: source -> (K, D) of its faces, rows as its trial counts them.
        exam: what to measure.
    """
    freezing = f"threshold@{target_name(exam.fmr_targets[0])}"
    found = {ALL: measure(clean, clean, exam.everyone, exam.fmr_targets)}
    scores = found[ALL].scores
    found[CLEAN] = found[ALL]
    if exam.subset is not exam.everyone:
        enrolled = clean[exam.grid.conditions[1].templates]
        found[CLEAN] = measure(enrolled, enrolled, exam.subset, exam.fmr_targets)
    frozen = found[CLEAN].values[freezing]
    for cell in exam.grid.degraded:
        probes = degraded[cell.probes]
        found[cell.name] = measure(clean[cell.templates], probes, exam.subset, exam.fmr_targets, frozen)
    for source, trial in exam.transfers.items():
        there = elsewhere[source]
        found[TRANSFER + source] = measure(there, there, trial, exam.fmr_targets, frozen)
    curves = [thinned_det(ALL, scores, exam.everyone.protocol.genuine)]
    if exam.grid.degraded:
        cells = [found[cell.name] for cell in exam.grid.degraded]
        genuine = np.tile(exam.subset.protocol.genuine, len(cells))
        curves.append(thinned_det(POOLED, np.concatenate([c.scores for c in cells]), genuine))
        found[DEGRADED] = mean_over(cells)
    bands = fnmr_by_band(scores, exam.everyone, exam.covariates, found[ALL].values[freezing]) if _closer(model) else []
    replicates = len(exam.everyone.weights)
    lists = {pairs.name: measure_list(clean, pairs, replicates, exam.seed) for pairs in exam.lists}
    return ModelFindings(
        model,
        {name: _without_scores(found[name]) for name in (ALL, CLEAN, DEGRADED, *found) if name in found},
        {name: _without_scores(measurement) for name, measurement in lists.items()},
        tuple(curves),
        tuple(bands),
    )


def _closer(model: Candidate) -> bool:
    return model.role == "student" and model.shipped


def _without_scores(measurement: Measurement) -> Measurement:
    """Scores of every pair, model and condition would outgrow memory; what was asked of them is answered."""
    return Measurement(measurement.values, measurement.replicates, _NO_SCORES)
