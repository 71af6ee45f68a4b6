"""What every model says of every face: asked once, before anything is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.lib.deploy.session import Inspection
from stages.lib.errors import ConfigError
from stages.lib.report.candidates import Candidate
from stages.lib.report.covers import judge_covers, read_truth
from stages.lib.report.discard import Qualities, qualities_of
from stages.lib.report.exam import Exam
from stages.lib.report.inspections import InspectionCache
from stages.lib.report.transfer import inspect_transfers
from stages.lib.report.trial import Measurement
from stages.lib.runtime import Runtime
from stages.lib.table import TEST, Table


@dataclass(frozen=True)
class Answers:
    """Of one model.

    Attributes:
        model: that was asked.
        faces: what it says of the (N,) clean test faces.
        cells: of the (M,) degraded ones, rows as the conditions count them.
        elsewhere: source -> what it says of its (K,) faces, rows as its trial counts them.
        covers: condition -> what the model's map of covers was worth; empty for a model without one.
        clean_quality: technique -> (N,) how good the clean faces are, by the model itself and by others.
        degraded_quality: technique -> (M,) likewise.
    """

    model: Candidate
    faces: Inspection
    cells: Inspection
    elsewhere: Mapping[str, Inspection]
    covers: Mapping[str, Measurement]
    clean_quality: Qualities
    degraded_quality: Qualities


def ask(
    models: Sequence[Candidate],
    scorers: Sequence[Candidate],
    aligned: Table,
    degraded: Table,
    exam: Exam,
    cache: InspectionCache,
    runtime: Runtime,
) -> list[Answers]:
    """Show every model the clean test faces, the grid's, and those of other sources.

    Args:
        models: under test.
        scorers: quality networks, of one number a face.
        aligned: table of clean faces.
        degraded: table of the test faces in every cell of the grid.
        exam: for its conditions.
        cache: that a killed run goes on from.
        runtime: where to compute.

    Raises:
        ConfigError: a scorer gives more than one number.
    """
    clean = cache.inspect(aligned, TEST, [*models, *scorers], runtime, "clean faces")
    cells = cache.inspect(degraded, TEST, [*models, *scorers], runtime, "degraded faces")
    elsewhere = inspect_transfers(cache, aligned, exam.transfers, models, runtime)
    shapes = {said.occlusion.shape[1:] for said in clean if said.occlusion is not None}
    bare = read_truth(aligned, TEST, shapes, runtime, "covers, clean")
    hidden = read_truth(degraded, TEST, shapes, runtime, "covers, degraded")
    others = [
        {scorer.name: _score(scorer, said) for scorer, said in zip(scorers, side[len(models) :], strict=True)}
        for side in (clean, cells)
    ]
    found = []
    for model, faces, there, far in zip(models, clean, cells, elsewhere, strict=False):
        covers = judge_covers(faces, there, bare, hidden, exam.grid.degraded, exam.subset)
        said = [{**qualities_of(side), **more} for side, more in zip((faces, there), others, strict=True)]
        found.append(Answers(model, faces, there, far, covers, *said))
    return found


def _score(scorer: Candidate, said: Inspection) -> NDArray[np.float32]:
    """(N,) the one number of a quality network: its direction, 1 or -1, times its length."""
    if said.embeddings.shape[1] != 1:
        raise ConfigError(
            f"{scorer.name} under evaluate.scorers gives {said.embeddings.shape[1]} numbers a face: a quality is one"
        )
    return said.embeddings[:, 0] * said.norms
