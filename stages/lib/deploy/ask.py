"""Asking models about the faces of a table, a batch at a time; every image is decoded once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from stages.lib.codec import decode
from stages.lib.deploy.session import Inspection
from stages.lib.models.contract import Faces
from stages.lib.models.embedder import Embedder
from stages.lib.table import Table

BATCH = 128  # faces decoded at once: with what is said of them, all that is held in memory


@runtime_checkable
class Inspector(Protocol):
    """A model that says more than an embedding; `deploy.session.FaceModel` is one."""

    def inspect(self, faces: Faces) -> Inspection: ...


def inspect(model: Embedder | Inspector, faces: Faces) -> Inspection:
    """All that a model says of aligned faces (N, 112, 112, 3), in one pass."""
    return model.inspect(faces) if isinstance(model, Inspector) else Inspection(*model.embed(faces))


def ask(
    table: Table, columns: Sequence[str], where: ds.Expression | None, models: Sequence[Embedder | Inspector]
) -> Iterator[tuple[pa.RecordBatch, list[Inspection]]]:
    """Show models the rows of a table that pass a filter, `BATCH` at a time.

    Args:
        table: faces of 112x112 pixels.
        columns: of the table, to stand beside what is said.
        where: which rows.
        models: that are asked.

    Yields:
        The columns asked for, and what each model says of these rows.
    """
    for batch in table.scan([*columns, "image"], where, BATCH):
        faces = np.stack([decode(image) for image in batch["image"].to_pylist()])
        yield batch.select(columns), [inspect(model, faces) for model in models]


def joined(parts: Sequence[Inspection]) -> Inspection:
    """One inspection of the faces of many."""
    return Inspection(**{name: np.concatenate([vars(part)[name] for part in parts]) for name in said(parts[0])})


def said(inspection: Inspection) -> dict[str, Any]:
    """Name of an attribute -> value, of all that the model can tell."""
    return {name: values for name, values in vars(inspection).items() if values is not None}
