"""Score captures as they come: what the shipped model and the covariates say of each, into the capture log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

import pyarrow as pa
from prefect import flow, get_run_logger

from flows.captures import CaptureLog, day_of, open_log
from flows.gallery import read_gallery
from flows.home import Home
from flows.intake import Capture, batches
from flows.measure import measure as measure
from flows.settings import WatchSettings
from stages.lib.deploy.session import SHIPPED, FaceModel
from stages.lib.geometry.detector import FaceDetector, find_yunet
from stages.params import load

BATCH: Final = 128  # captures that are scored and logged at once
EXPORTED: Final = Path("data/exported")
FOREVER: Final = 36_500  # days
MICROSECOND: Final = timedelta(microseconds=1)

Measure = Callable[[Sequence[Capture]], pa.Table]


@dataclass(frozen=True)
class Scored:
    """What became of the captures of a source.

    Attributes:
        captures: that were read.
        late: of these, from days that the log does not keep any more.
        known: of these, in the log already.
        added: rows that the log has more.
        rejected: of the captures that were scored, without a face to measure.
        forgotten: rows whose days were removed from the log.
    """

    captures: int = 0
    late: int = 0
    known: int = 0
    added: int = 0
    rejected: int = 0
    forgotten: int = 0

    def __str__(self) -> str:
        return ", ".join(f"{count} {name}" for name, count in vars(self).items())


@flow(name="score")
def score(
    source: str | None = None,
    model: str | None = None,
    log: str | None = None,
    gallery: str | None = None,
    settings: WatchSettings | None = None,
    remove: bool = False,
) -> str:
    """Score new captures and append them to the capture log.

    See `score_into` for what is read again, removed and forgotten.

    Args:
        source: a folder or a Parquet file as `flows.intake.batches` reads it; none: the inbox.
        model: an exported .onnx file; none: the champion, or before there is one, the model of the pipeline.
        log: a folder or the URL of a database; none: the watch's own folder.
        gallery: a Parquet file of templates, for match scores.
        settings: `retention_days` and `keep_embeddings` are used; none: nothing is forgotten.
        remove: input files once they are in the log.

    Returns:
        How many captures there were, and what became of them.

    Raises:
        ConfigError: the model, the gallery or an input file is missing or not what it should be.
        TransientError: the log's database does not answer.
    """
    retention = settings.retention_days if settings else FOREVER  # a run by hand deletes nothing unasked
    home, settings = Home.from_environment(), settings or WatchSettings()
    params = load()
    shipped = Path(model) if model else shipped_model(home, params.reference.student)
    served = FaceModel(shipped)
    weights = find_yunet(params.align.weights)
    scorer = partial(
        measure,
        model=served,
        detector=FaceDetector(weights, params.align.score_threshold) if weights else None,
        gallery=read_gallery(Path(gallery), served.contract) if gallery else None,
        keep_embeddings=settings.keep_embeddings,
        max_residual=params.align.max_residual,
        max_pixels=params.ingest.max_pixels,
    )
    home.inbox.mkdir(parents=True, exist_ok=True)  # an inbox that no camera has used yet is empty, and no error
    logger = get_run_logger()
    logger.info("scoring with %s, version %s", shipped, served.contract.version)
    done = score_into(
        open_log(log or home.captures),
        Path(source) if source else home.inbox,
        scorer,
        retention,
        datetime.now(UTC),
        remove,
        lambda so_far: logger.info("%s", so_far),
    )
    return str(done)


def shipped_model(home: Home, student: str) -> Path:
    """The model file in production: the champion's, or that of the pipeline before there is a champion."""
    champion = home.champion / SHIPPED
    return champion if champion.is_file() else EXPORTED / student / SHIPPED


def score_into(
    log: CaptureLog,
    source: Path,
    scorer: Measure,
    retention_days: int,
    now: datetime,
    remove: bool = False,
    report: Callable[[Scored], None] = lambda _: None,
) -> Scored:
    """Score the captures of a source that the log does not have, append them, and forget old days.

    A batch is in the log before the next one is scored. Killed at any point, a rerun leaves neither loss nor
    duplicate: an input file is removed only when all its captures are in the log and on the disk. A capture is one
    row whatever model scores it, the first one: handed in again after a new model took over, its row still names,
    and holds the measures of, the model before.

    Args:
        log: that is appended to.
        source: see `flows.intake.batches`.
        scorer: `flows.measure.measure` with its model.
        retention_days: captures of days that ended longer ago are removed from the log, and not scored any more.
        now: the time.
        remove: input files once they are in the log, or too old for it.
        report: called after each batch.

    Raises:
        ConfigError: an input file cannot be read; see `flows.intake.batches`.
    """
    since = day_of(now - timedelta(days=retention_days))
    done = Scored()
    for batch in batches(source, BATCH):
        kept = [capture for capture in batch.captures if capture.time >= since]
        new = _unknown(kept, log)
        rows = scorer(new) if new else None
        added = log.append(rows) if rows is not None else 0
        if remove:
            for path in batch.finished:
                path.unlink(missing_ok=True)  # another run may have been here
        done = Scored(
            captures=done.captures + len(batch.captures),
            late=done.late + len(batch.captures) - len(kept),
            known=done.known + len(kept) - len(new),
            added=done.added + added,
            rejected=done.rejected + (len(new) - rows["rejected"].null_count if rows is not None else 0),
        )
        report(done)
    return replace(done, forgotten=log.forget(since))


def _unknown(captures: Sequence[Capture], log: CaptureLog) -> list[Capture]:
    """Those that the log does not have, each once: scoring is slow, and a source may be read again each hour."""
    if not captures:
        return []
    times = [capture.time for capture in captures]
    there = log.scan(min(times), max(times) + MICROSECOND, ["capture_id"])
    seen = {capture_id for batch in there for capture_id in batch["capture_id"].to_pylist()}
    return [capture for capture in {capture.id: capture for capture in captures}.values() if capture.id not in seen]
