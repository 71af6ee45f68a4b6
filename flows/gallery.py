"""Templates of enrolled people, for the match scores of captures. They are biometric: the file is the operator's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from flows.intake import Capture, batches
from flows.measure import Gallery, Template, measure
from flows.rows import EMBEDDING
from stages.lib.deploy.session import FaceModel
from stages.lib.errors import ConfigError
from stages.lib.geometry.detector import FaceDetector
from stages.lib.models.contract import Contract
from stages.lib.table import write_parquet

_SCHEMA = pa.schema([pa.field("subject_id", pa.string(), nullable=False), EMBEDDING])
_MODEL = b"model"  # key of the file's metadata: the contract's version
_BATCH = 128  # captures that are measured at once


class OtherModel(ConfigError):
    """Templates of another model than the one that is to compare them."""


def people_in(folder: Path) -> Iterator[Capture]:
    """Photographs of people, read from `PERSON/IMAGE`.

    Raises:
        ConfigError: no such folder, or a file that cannot be read.
    """
    now = datetime.now(UTC)
    for batch in batches(folder, _BATCH):
        if batch.refused:
            raise ConfigError(batch.refused[0].reason)
        for photograph in batch.captures:
            yield replace(photograph, time=now, claimed=photograph.camera)


def enrol(
    captures: Iterable[Capture], model: FaceModel, detector: FaceDetector | None = None, device: str = "cpu"
) -> Gallery:
    """Make a template of each person that captures claim to be: the mean embedding, of length 1.

    Captures without a usable face, or that claim to be nobody, are left out.

    Raises:
        ConfigError: no capture shows a face of anybody.
    """
    found: dict[str, list[Template]] = defaultdict(list)
    rest, count = iter(captures), 0
    while part := list(islice(rest, _BATCH)):
        count += len(part)
        vectors = measure(part, model, detector, keep_embeddings=True, device=device)[EMBEDDING.name].to_pylist()
        for capture, vector in zip(part, vectors, strict=True):
            if capture.claimed is not None and vector is not None:
                found[capture.claimed].append(np.asarray(vector, np.float32))
    if not found:
        raise ConfigError(f"none of {count} captures shows the face of a person whom it claims to show")
    return {person: _mean(vectors) for person, vectors in sorted(found.items())}


def write_gallery(gallery: Gallery, model: Contract, path: Path) -> None:
    """Write `subject_id` and `embedding` as Parquet, at once and whole, and whose templates they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = pa.table([list(gallery), list(gallery.values())], schema=_SCHEMA)
    write_parquet(rows.replace_schema_metadata({_MODEL: model.version}), path)


def read_gallery(path: Path, model: Contract) -> Gallery:
    """Read what `write_gallery` wrote.

    Args:
        path: the Parquet file.
        model: that the templates are compared by.

    Raises:
        ConfigError: no such file, or another one.
        OtherModel: templates of another model, which no score would be right of.
    """
    try:
        rows = pq.read_table(path, columns=_SCHEMA.names)
        made_by = (rows.schema.metadata or {}).get(_MODEL, b"an unknown model").decode()
        people = rows.cast(_SCHEMA).to_pylist()
    except (OSError, pa.ArrowException, ValueError) as error:
        raise ConfigError(f"{path} is no gallery ({error}); write it with `python -m flows enrol`") from error
    if made_by != model.version:
        raise OtherModel(f"{path}: templates of {made_by}, the model is {model.version}; `python -m flows enrol` anew")
    return {row["subject_id"]: np.asarray(row["embedding"], np.float32) for row in people}


def _mean(vectors: Sequence[Template]) -> Template:
    mean = np.mean(vectors, axis=0, dtype=np.float64)
    return np.asarray(mean / np.linalg.norm(mean), np.float32)
