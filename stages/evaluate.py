"""evaluate: teacher, students, controls and peers on the same pairs, clean and degraded -> data/reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.lib.errors import ConfigError
from stages.lib.report.ablation import aims_of
from stages.lib.report.answers import ask
from stages.lib.report.candidates import (
    INT8,
    Candidate,
    int8_candidate,
    peer_candidate,
    student_candidates,
    teacher_candidate,
)
from stages.lib.report.conditions import grid_of
from stages.lib.report.discard import TECHNIQUES
from stages.lib.report.exam import Exam, Rules, set_exam
from stages.lib.report.examine import examine, scores_in_grid
from stages.lib.report.findings import Facts, Findings
from stages.lib.report.inspections import InspectionCache
from stages.lib.report.pictures import all_errors, all_grades, all_pictures
from stages.lib.report.publish import publish
from stages.lib.report.summary import NOT_MODELS, headline
from stages.lib.runtime import Runtime
from stages.lib.table import TEST, Table
from stages.params import Evaluate, Student

TEACHER = "teacher"


@dataclass(frozen=True)
class EvaluateInputs:
    """Where the inputs lie.

    Attributes:
        aligned: table of clean faces.
        grid: table of the test faces in every cell of the grid.
        pairs: Parquet of published pair lists; it may be missing or empty.
        teacher: the folder that `teach` wrote.
        exported: student -> the folder that `export` wrote.
    """

    aligned: Path
    grid: Path
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
    aims = {name: aims_of(student.objectives.active()) for name, student in students.items()}
    models, threads = _candidates(params, students, inputs, runtime), runtime.threads
    scorers = [peer_candidate(name, s.model, s.contract, threads, s.sha256) for name, s in params.scorers.items()]
    return compare(params, models, scorers, aims, inputs, destination, runtime)


def compare(
    params: Evaluate,
    models: Sequence[Candidate],
    scorers: Sequence[Candidate],
    aims: Mapping[str, tuple[str, ...]],
    inputs: EvaluateInputs,
    destination: Path,
    runtime: Runtime,
) -> str:
    """Embed the faces, put every model through the same exam, and report.

    Args:
        params: what to measure.
        models: every file.
        scorers: quality networks to hold against what the models say.
        aims: student -> families of conditions that its method is for.
        inputs: where the faces are.
        destination: of the report.
        runtime: where to compute.

    Raises:
        ConfigError: a table is missing, or the test people allow no comparison.
    """
    aligned, cells = Table.open(inputs.aligned), Table.open(inputs.grid)
    quality = [c for c in aligned.columns if c.startswith("q_")]
    faces = aligned.read(["face_id", "subject_id", "source", "yaw", *quality], TEST)
    grid = grid_of(faces["face_id"], cells.read(["parent_id", "d_operator", "d_severity"], TEST))
    rules = Rules(params.seed, params.replicates, params.max_impostors, params.fmr_targets, params.both)
    exam, notes = set_exam(rules, aligned, faces, grid, inputs.pairs)

    cache = InspectionCache(runtime.scratch / "evaluate")
    answers = ask(models, scorers, aligned, cells, exam, cache, runtime)
    judged = {answer.model.name: scores_in_grid(answer, exam) for answer in answers if answer.model.role != "student"}
    asked = runtime.progress(answers, "measure", "models", total=len(answers))
    found = [examine(answer, exam, judged) for answer in asked]

    findings = Findings(tuple(found), grid, tuple(exam.lists), _facts(params, exam), tuple(notes), aims)
    errors = all_errors(findings, [answer.faces.embeddings for answer in answers], exam.everyone, faces)
    grades = all_grades(answers, faces, cells.read(["face_id", "source"], TEST))
    pictures = all_pictures(findings, errors, grades, aligned, cells, faces)
    publish(findings, pictures, destination)
    cache.prune()
    return headline(destination)


def _candidates(
    params: Evaluate, students: Mapping[str, Student], inputs: EvaluateInputs, runtime: Runtime
) -> list[Candidate]:
    ours = {TEACHER, *NOT_MODELS, *TECHNIQUES, *(f"{name}{INT8}" for name in params.int8)}
    named = [*ours, *students, *params.peers, *params.scorers]
    if clash := sorted({name for name in named if named.count(name) > 1}):
        raise ConfigError(f"{clash} under students, evaluate.peers or evaluate.scorers: the report needs another name")
    if not inputs.teacher.is_dir():
        raise ConfigError(f"{inputs.teacher} is missing: `dvc repro` runs the stages that come before, then this one")
    found = [teacher_candidate(TEACHER, inputs.teacher, runtime.device, runtime.threads)]
    for name, student in students.items():
        found += student_candidates(name, student.controls, inputs.exported[name], runtime.threads)
        if name in params.int8:
            found.append(int8_candidate(name, inputs.exported[name], runtime.threads))
    threads = runtime.threads
    return found + [peer_candidate(name, p.model, p.contract, threads, p.sha256) for name, p in params.peers.items()]


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
