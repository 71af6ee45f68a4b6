"""The one command line of the pipeline: `python -m stages <verb>`; the verbs are the stages of `dvc.yaml`."""

from __future__ import annotations

import errno
import resource
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from stages.lib.errors import ConfigError, StageError, TransientError
from stages.lib.explained import show as show_settings
from stages.lib.runtime import Runtime
from stages.params import PATH, Params, Student, load, read_yaml

DATA = Path("data")
FACES, ALIGNED, VARIANTS, GRID = DATA / "faces", DATA / "aligned", DATA / "variants", DATA / "grid"
MODELS, TEMPLATES, EXPORTED = DATA / "models", DATA / "templates", DATA / "exported"
GATES, REPORTS, REFERENCE = DATA / "gates", DATA / "reports", DATA / "reference"

STAGES = ("ingest", "align", "validate", "synthesize", "teach", "distill", "export", "evaluate", "reference")

PASSING = {errno.EAGAIN, errno.EBUSY, errno.EIO, errno.ENOMEM, errno.ENOSPC, errno.ESTALE, errno.ETIMEDOUT}

VARIABLES = {
    "STAGES_DEVICE": "cpu, cuda or cuda:N; default: cuda where there is a GPU, else cpu",
    "STAGES_THREADS": "threads of one model's run, processes that render people; on a CPU one seed more than that "
    "learns side by side, and 1 means one after another; default: one per CPU",
    "STAGES_WORKERS": "processes that a data stage spreads its shards over; default: 1",
    "STAGES_SCRATCH": "folder for what a killed run resumes from; default: .scratch/stages",
}

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="From faces to a shipped student. `dvc repro` runs the stages in order; each verb here runs one, "
    "with the settings of `params.yaml`.\n\nExit codes: 0 done, 2 wrong settings, 3 a gate failed, "
    "75 try again.\n\nEnvironment, which changes where and how fast a stage runs and no result:\n\n"
    + "\n".join(f"- {variable}: {meaning}" for variable, meaning in VARIABLES.items()),
)


class Gated(StrEnum):
    """Tables that have a gate."""

    faces = "faces"
    aligned = "aligned"
    variants = "variants"
    grid = "grid"


class Degraded(StrEnum):
    """Tables of degraded faces."""

    variants = "variants"
    grid = "grid"


Name = Annotated[str, typer.Argument(help="a name under `students` in params.yaml")]


@app.command()
def ingest() -> None:
    """Read the source of `ingest.source` into data/faces; unusable entries go to rejects.parquet."""
    from stages.ingest import run

    table = run(load().ingest, FACES, Runtime.from_environment())
    _say(f"ingest: {table.rows} faces, {table.rejects().num_rows} rejects")


@app.command()
def align() -> None:
    """Bring every face to the 112x112 template and measure its covariates; writes data/aligned."""
    from stages.align import run

    table = run(load().align, FACES, ALIGNED, Runtime.from_environment())
    _say(f"align: {table.rows} faces, {table.rejects().num_rows} rejects so far")


@app.command()
def validate(table: Annotated[Gated, typer.Argument(help="which table")]) -> None:
    """Hold a table against its Great Expectations suite; exit code 3 names the failing faces' report."""
    from stages.validate import run

    params = load()
    parent = ALIGNED if table.value in Degraded.__members__ else None
    _say(run(params.validate_, params.synthesize.grid, table, DATA / table, parent, GATES / table))


@app.command()
def synthesize(part: Annotated[Degraded, typer.Argument(help="which table")]) -> None:
    """Degrade faces: random variants to learn from, or the evaluation grid of test people."""
    from stages.synthesize import run

    table = run(part.value, load().synthesize, ALIGNED, DATA / part, Runtime.from_environment())
    _say(f"synthesize {part}: {table.rows} degraded faces")


@app.command()
def teach() -> None:
    """Adopt or train the teacher and compute its templates; data/models/teacher and data/templates."""
    from stages.teach import run

    table = run(load().teach, ALIGNED, VARIANTS, MODELS / "teacher", TEMPLATES, Runtime.from_environment())
    _say(f"teach: {table.rows} templates")


@app.command()
def distill(student: Name) -> None:
    """Train one student, every seed; a killed run goes on from its last checkpoint."""
    params = load()
    spec = _student(params, student)  # before the imports: a wrong name is told at once

    from stages.distill import run
    from stages.lib.table import Table
    from stages.lib.training.people import Inputs

    operators = params.synthesize.probabilities
    inputs = Inputs(Table.open(ALIGNED), Table.open(VARIANTS), Table.open(TEMPLATES), operators)
    _say(run(student, spec, params.distill, inputs, MODELS / student, Runtime.from_environment()))


@app.command()
def export(student: Name) -> None:
    """Write a student's ONNX with its contract, and hold it to the torch original face by face."""
    params = load()
    _student(params, student)

    from stages.export import run

    source, destination = MODELS / student, EXPORTED / student
    _say(run(params.export, student, source, ALIGNED, destination, Runtime.from_environment()))


@app.command()
def evaluate() -> None:
    """Measure teacher, students, controls and peers over the grid; writes data/reports."""
    from stages.evaluate import EvaluateInputs, run

    params = load()
    inputs = EvaluateInputs(
        aligned=ALIGNED,
        grid=GRID,
        pairs=FACES / "pairs.parquet",
        teacher=MODELS / "teacher",
        exported={name: EXPORTED / name for name in params.students},
    )
    _say(run(params.evaluate, params.students, inputs, REPORTS, Runtime.from_environment()))


@app.command()
def reference() -> None:
    """Freeze the profile that production is compared with; writes data/reference."""
    from stages.reference import run

    params = load().reference
    _say(run(params, ALIGNED, GRID, EXPORTED / params.student, REFERENCE, Runtime.from_environment()))


@app.command()
def params() -> None:
    """Check the params.yaml that is here, and explain every key of it."""
    load()
    show_settings("params.yaml", Params, read_yaml(PATH))
    _say("params.yaml is valid")


@app.command()
def profile(
    chosen: Annotated[
        list[str] | None, typer.Argument(metavar="NAME...", help="the last on top; none lists them")
    ] = None,
) -> None:
    """Set params.yaml for other data, another size or another comparison, and print what changed."""
    from stages.profiles import apply, names

    if not chosen:
        _say("profiles: " + ", ".join(names()))
        return
    changes = apply(*chosen)
    for key, (before, after) in changes.items():
        _say(f"{key}: {before} -> {after}")
    _say(
        f"profile {' '.join(chosen)}: {len(changes)} keys changed; `dvc params diff` shows them against the last commit"
    )


@app.command()
def show() -> None:
    """Print the results table of the last evaluation, and where its report is."""
    from stages.lib.report.summary import headline

    _say(headline(REPORTS))


def _student(params: Params, name: str) -> Student:
    if name not in params.students:
        raise ConfigError(f"no student {name!r} in params.yaml; there are {sorted(params.students)}")
    return params.students[name]


def _may_pass(error: Exception) -> bool:
    """Whether a rerun may go well: the machine, or its accelerator, lacked room or an answer."""
    if isinstance(error, OSError):
        return error.errno in PASSING
    # torch's class by its name: this module must not load torch
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def _say(text: str) -> None:
    print(text, flush=True)


def main() -> None:
    """Run a verb, turn errors of ours into their exit codes, and say what the run cost."""
    started = time.monotonic()
    code = 0
    try:
        app(standalone_mode=True)
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else 1
    except StageError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        code = error.exit_code
    except (MemoryError, OSError, RuntimeError) as error:
        if not _may_pass(error):
            raise
        print(f"{type(error).__name__}: {str(error) or 'out of memory'}; try again", file=sys.stderr)
        code = TransientError.exit_code
    if code == 0 and sys.argv[1:2] and sys.argv[1] in STAGES and "--help" not in sys.argv:
        peaks = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        spent = f"{time.monotonic() - started:.1f} s, largest process {max(peaks) / 2**20:.2f} GB"
        _say(f"{' '.join(sys.argv[1:])} took {spent}")
    raise SystemExit(code)


if __name__ == "__main__":
    main()
