"""evaluate: teacher, students, controls and peers on the same pairs, clean and degraded -> data/reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from numpy.typing import NDArray

from stages.lib.errors import ConfigError
from stages.lib.report.candidates import Candidate, peer_candidate, student_candidates, teacher_candidate
from stages.lib.report.conditions import Grid, grid_of
from stages.lib.report.embeddings import EmbeddingCache
from stages.lib.report.examine import Exam, examine
from stages.lib.report.findings import Facts, Findings
from stages.lib.report.lists import read_lists
from stages.lib.report.pictures import all_errors, all_pictures
from stages.lib.report.publish import publish
from stages.lib.report.summary import NOT_MODELS, headline
from stages.lib.report.transfer import embed_transfers, transfer_trials
from stages.lib.report.trial import Trial
from stages.lib.runtime import Runtime
from stages.lib.table import Table
from stages.params import Evaluate, Student

TEACHER = "teacher"
TEST = ds.field("split") == "test"
GRID = TEST & (ds.field("d_severity") >= 1)


@dataclass(frozen=True)
class EvaluateInputs:
    """Where the inputs lie.

    Attributes:
        aligned: table of clean faces.
        variants: table of degraded faces.
        pairs: Parquet of published pair lists; it may be missing or empty.
        teacher: the folder that `teach` wrote.
        exported: student -> the folder that `export` wrote.
    """

    aligned: Path
    variants: Path
    pairs: Path
    teacher: Path
    exported: Mapping[str, Path]


def run(
    params: Evaluate, students: Mapping[str, Student], inputs: EvaluateInputs, destination: Path, runtime: Runtime
) -> str:
    """Measure every model and write the report; returns the results as a table of text.

    Raises:
        ConfigError: a model or table is missing, two models share a name, or the test people allow no comparison.
    """
    return compare(params, _candidates(params, students, inputs, runtime), inputs, destination, runtime)


def compare(
    params: Evaluate, models: Sequence[Candidate], inputs: EvaluateInputs, destination: Path, runtime: Runtime
) -> str:
    """Embed the faces, put every model through the same exam, and report.

    Raises:
        ConfigError: a table is missing, or the test people allow no comparison.
    """
    aligned, variants = Table.open(inputs.aligned), Table.open(inputs.variants)
    quality = [c for c in aligned.columns if c.startswith("q_")]
    faces = aligned.read(["face_id", "subject_id", "source", *quality], TEST)
    grid = grid_of(faces["face_id"], variants.read(["parent_id", "d_operator", "d_severity"], GRID))
    exam, notes = _exam(params, aligned, faces, grid, inputs.pairs)

    cache = EmbeddingCache(runtime.scratch / "evaluate")
    clean = cache.embed(aligned, TEST, models, runtime, "clean faces")
    degraded = cache.embed(variants, GRID, models, runtime, "degraded faces")
    elsewhere = embed_transfers(cache, aligned, exam.transfers, models, runtime)
    rows = list(zip(models, clean, degraded, elsewhere, strict=True))
    found = [examine(*row, exam) for row in runtime.progress(rows, "measure", "models", total=len(rows))]

    findings = Findings(tuple(found), grid, tuple(exam.lists), _facts(params, exam), tuple(notes))
    pictures = all_pictures(findings, all_errors(findings, clean, exam.everyone, faces), aligned, variants, faces)
    publish(findings, pictures, destination)
    cache.prune()
    return headline(destination)


def _candidates(
    params: Evaluate, students: Mapping[str, Student], inputs: EvaluateInputs, runtime: Runtime
) -> list[Candidate]:
    clash = ({TEACHER, *NOT_MODELS} & {*students, *params.peers}) | (set(students) & set(params.peers))
    if clash:
        raise ConfigError(f"{sorted(clash)} under students or evaluate.peers: the report needs another name")
    if not inputs.teacher.is_dir():
        raise ConfigError(f"{inputs.teacher} is missing: `dvc repro` runs the stages that come before, then this one")
    found = [teacher_candidate(TEACHER, inputs.teacher, runtime.device, runtime.threads)]
    for name, student in students.items():
        found += student_candidates(name, student.control, inputs.exported[name], runtime.threads)
    threads = runtime.threads
    return found + [peer_candidate(name, p.model, p.contract, threads, p.sha256) for name, p in params.peers.items()]


def _exam(params: Evaluate, aligned: Table, faces: pa.Table, grid: Grid, pairs: Path) -> tuple[Exam, list[str]]:
    subject = np.unique(faces["subject_id"].to_numpy(), return_inverse=True)[1]
    everyone = _trial(subject, params)
    subset = everyone if grid.faces == len(faces) else _trial(subject[grid.conditions[1].templates], params)
    lists, notes = read_lists(pairs, aligned, faces, subject)
    if grid.incomplete:
        notes.append(f"{grid.incomplete} faces lack a cell of the grid and were left out of all cells")
    values = {c: faces[c].to_numpy() for c in faces.column_names if c.startswith("q_")}
    transfers = transfer_trials(aligned, partial(_trial, params=params))
    if not transfers and set(faces["source"].to_pylist()) == {"cohort"}:
        notes.append("All test faces are computed, and no photographs are in the table to check the transfer to them")
    return Exam(grid, everyone, subset, lists, transfers, values, params.fmr_targets, params.seed), notes


def _trial(subject: NDArray[np.int64], params: Evaluate) -> Trial:
    trial = Trial.of(subject, params.max_impostors, params.replicates, params.seed)
    genuine = trial.protocol.genuine
    if genuine.all() or not genuine.any():
        raise ConfigError(
            f"{len(subject)} test faces of {trial.protocol.subjects} people allow no comparison: evaluate needs two "
            "people and one with two faces; raise ingest.test_fraction or synthesize.grid_faces"
        )
    return trial


def _facts(params: Evaluate, exam: Exam) -> Facts:
    genuine = exam.everyone.protocol.genuine
    return Facts(
        faces=len(exam.everyone.subject),
        people=exam.everyone.protocol.subjects,
        genuine=int(genuine.sum()),
        impostor=int((~genuine).sum()),
        grid_people=exam.subset.protocol.subjects,
        replicates=params.replicates,
        fmr_targets=params.fmr_targets,
    )
