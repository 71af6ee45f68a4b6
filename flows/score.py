"""Score captures as they come: what the shipped model and the covariates say of each, into the capture log."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Final

import pyarrow as pa
from prefect import flow, get_run_logger

from flows.captures import CaptureLog, day_of
from flows.gallery import OtherModel, enrol, people_in, read_gallery, write_gallery
from flows.home import EXPORTED, Home
from flows.intake import FIRST, Capture, Finished, Refused, batches
from flows.measure import Gallery
from flows.measure import measure as measure
from flows.settings import WatchSettings
from stages.lib.deploy.session import SHIPPED, FaceModel
from stages.lib.errors import ConfigError
from stages.lib.geometry.detector import FaceDetector, find_yunet
from stages.lib.models.contract import Contract
from stages.params import Params, load

BATCH: Final = 128  # captures that are scored and logged at once
AHEAD: Final = timedelta(days=1)
"""What a clock may be ahead: a camera that states its own time without a zone is, by up to fourteen hours."""
MICROSECOND: Final = timedelta(microseconds=1)
MOST_TOLD: Final = 20  # refused files in the log of a run

Measure = Callable[[Sequence[Capture]], pa.Table]


@dataclass(frozen=True)
class Scored:
    """What became of the captures of a source.

    Attributes:
        captures: that were read.
        late: of these, from days that the log does not keep any more.
        ahead: of these, from days that are still to come.
        known: of these, in the log already.
        added: rows that the log has more.
        rejected: of the captures that were scored, without a face to measure.
        forgotten: rows whose days were removed from the log.
        refused: files that could not be read or taken away, came too late, or from a clock that is wrong.
    """

    captures: int = 0
    late: int = 0
    ahead: int = 0
    known: int = 0
    added: int = 0
    rejected: int = 0
    forgotten: int = 0
    refused: tuple[Refused, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        counts = vars(self) | {"refused": len(self.refused)}
        return ", ".join(f"{count} {name}" for name, count in counts.items())


@flow(name="score")
def score(source: str | None = None, model: str | None = None, remove: bool = False, forget: bool = False) -> str:
    """Score new captures and append them to the capture log.

    See `score_into` for what is read again, removed and forgotten.

    Args:
        source: a folder or a Parquet file as `flows.intake.batches` reads it; none: the inbox.
        model: an exported .onnx file; none: the champion, or before there is one, the model of the pipeline.
        remove: input files once they are in the log; those that cannot be, are moved out of the way.
        forget: days that are older than `retention_days` of the settings.

    Returns:
        How many captures there were, and what became of them.

    Raises:
        ConfigError: the settings, the model or the gallery are not what they should be, or a file that could not be
            read stays where it is, since nothing is to be removed or nothing can; the others are in the log by then.
        TransientError: the log's database does not answer.
    """
    home, logger, params = Home.from_environment(), get_run_logger(), load()
    settings = WatchSettings.of(home)
    shipped = Path(model) if model else shipped_model(home, params.reference.student)
    served = FaceModel(shipped)
    scorer = partial(
        measure,
        model=served,
        detector=_detector(params),
        gallery=_gallery(home, served.contract, logger.warning),
        keep_embeddings=settings.keep_embeddings,
        max_residual=params.align.max_residual,
        max_pixels=params.ingest.max_pixels,
    )
    home.inbox.mkdir(parents=True, exist_ok=True)  # an inbox that no camera has used yet is empty, and no error
    logger.info("scoring with %s, version %s", shipped, served.contract.version)
    done = score_into(
        settings.captures(home),
        Path(source) if source else home.inbox,
        scorer,
        datetime.now(UTC),
        settings.retention_days if forget else None,
        home.refused if remove else None,
        lambda so_far: logger.info("%s", so_far),
    )
    for one in done.refused[:MOST_TOLD]:
        logger.warning("%s", one.reason)
    if staying := [one for one in done.refused if one.identity is None or one.is_there]:
        raise ConfigError(f"{done}; {len(staying)} stay as they are, the last: {staying[-1].reason}")
    return str(done)


def shipped_model(home: Home, student: str) -> Path:
    """The model file in production: the champion's, or that of the pipeline before there is a champion."""
    champion = home.champion / SHIPPED
    return champion if champion.is_file() else EXPORTED / student / SHIPPED


def enrol_people(home: Home, people: Path, model: str | None = None) -> str:
    """Make the templates that captures are matched with, in the place of all that there were.

    Args:
        home: whose gallery is written.
        people: their photographs, `PERSON/IMAGE`.
        model: an exported .onnx file; none: as `score`.

    Returns:
        How many people were enrolled, and as what, and who was not.

    Raises:
        ConfigError: no such folder or model, a photograph cannot be opened, or none shows a face.
    """
    params = load()
    served = FaceModel(Path(model) if model else shipped_model(home, params.reference.student))
    enrolled = enrol(people_in(people), served, _detector(params))
    write_gallery(enrolled, served.contract, home.gallery)
    told = f"{len(enrolled)} people are enrolled for {served.contract.version} in {home.gallery}"
    folders = {one.name for one in people.iterdir() if one.is_dir() and not one.name.startswith(".")}
    without = ", ".join(sorted(folders - set(enrolled)))
    return f"{told}; without a photograph that shows a face: {without}" if without else told


def _detector(params: Params) -> FaceDetector | None:
    weights = find_yunet(params.align.weights)
    return FaceDetector(weights, params.align.score_threshold) if weights else None


def _gallery(home: Home, model: Contract, warn: Callable[[str], None]) -> Gallery | None:
    """Whom people may claim to be. A promotion must not stop the scoring: until people are enrolled anew, nobody."""
    if not home.gallery.is_file():
        return None
    try:
        return read_gallery(home.gallery, model)
    except OtherModel as error:
        warn(f"captures get no match score: {error}")
        return None


def score_into(
    log: CaptureLog,
    source: Path,
    scorer: Measure,
    now: datetime,
    retention_days: int | None = None,
    refused: Path | None = None,
    report: Callable[[Scored], None] = lambda _: None,
) -> Scored:
    """Score the captures of a source that the log does not have, append them, and forget old days.

    A batch is in the log before the next one is scored. A capture from days to come is not scored: it would be watched
    when they come, and kept as long. Killed at any point, a rerun leaves neither loss nor duplicate: an input file is
    removed only when all its captures are in the log and on the disk. A capture is one row whatever model scores it,
    the first one: handed in again after a new model took over, its row still names, and holds the measures of, the
    model before.

    Args:
        log: that is appended to.
        source: see `flows.intake.batches`.
        scorer: `flows.measure.measure` with its model.
        now: the time.
        retention_days: captures of days that ended longer ago are removed from the log, and not scored any more;
            none: nothing is forgotten.
        refused: folder for input files that cannot be read to their end, or hold a capture that comes too late or from
            days to come; all others are removed. None: every file stays where it is.
        report: called after each batch.

    Raises:
        ConfigError: the source does not exist.
    """
    since = FIRST if retention_days is None else day_of(now - timedelta(days=retention_days))
    until = now + AHEAD
    done = Scored()
    untimely: dict[Path | None, str] = {}
    for batch in batches(source, BATCH):
        late = [one for one in batch.captures if one.time < since]
        ahead = [one for one in batch.captures if one.time > until]
        untimely |= {one.file: f"older than {retention_days} days, which is all that the log keeps" for one in late}
        untimely |= {one.file: f"of {one.time}, which is still to come: set the camera's clock" for one in ahead}
        kept = [one for one in batch.captures if since <= one.time <= until]
        new = _unknown(kept, log)
        rows = scorer(new) if new else None
        added = log.append(rows) if rows is not None else 0
        outlived = [one for one in batch.finished if one.file in untimely]
        wrong = [Refused(one.file, one.identity, f"{one.file} is {untimely[one.file]}") for one in outlived]
        gone = (*batch.refused, *wrong)
        if refused is not None:
            scored = [one for one in batch.finished if one.file not in untimely]
            gone += _clear(source, scored, gone, refused)
        done = Scored(
            captures=done.captures + len(batch.captures),
            late=done.late + len(late),
            ahead=done.ahead + len(ahead),
            known=done.known + len(kept) - len(new),
            added=done.added + added,
            rejected=done.rejected + (len(new) - rows["rejected"].null_count if rows is not None else 0),
            refused=(*done.refused, *gone),
        )
        report(done)
    return done if retention_days is None else replace(done, forgotten=log.forget(since))


def _clear(source: Path, finished: Iterable[Finished], gone: Iterable[Refused], refused: Path) -> tuple[Refused, ...]:
    """Take input files out of the source, and say which stay because the folder does not let them go.

    Another run may have been here, and have done so already.
    """
    staying = []
    for one in (*gone, *finished):
        if not one.is_there:
            continue
        try:
            if isinstance(one, Refused):
                _move(one.file, refused / (one.file.relative_to(source) if source.is_dir() else one.file.name))
            else:
                one.file.unlink(missing_ok=True)
        except OSError as error:
            reason = f"{one.file} cannot be taken away ({error}); see to what is in its way"
            staying.append(Refused(one.file, one.identity, reason))
    return tuple(staying)


def _move(file: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    while target.exists():  # a camera may use a name again
        target = target.with_name(f"{target.stem}~{target.suffix}")
    with suppress(FileNotFoundError):
        shutil.move(file, target)


def _unknown(captures: Sequence[Capture], log: CaptureLog) -> list[Capture]:
    """Those that the log does not have, each once: scoring is slow, and a source may be read again each hour."""
    seen: set[str] = set()
    for _, those in groupby(sorted(capture.time for capture in captures), day_of):  # days between are not read
        times = list(those)
        there = log.scan(times[0], times[-1] + MICROSECOND, ["capture_id"])
        seen |= {capture_id for batch in there for capture_id in batch["capture_id"].to_pylist()}
    return [capture for capture in {capture.id: capture for capture in captures}.values() if capture.id not in seen]
