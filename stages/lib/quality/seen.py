"""What a shipped model says of the test faces of a table, a row a face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
from numpy.typing import NDArray

from stages.lib.codec import decode
from stages.lib.deploy.session import FaceModel
from stages.lib.errors import ConfigError
from stages.lib.runtime import Runtime
from stages.lib.table import Table

BATCH = 64
TEST = ds.field("split") == "test"


@dataclass(frozen=True)
class Seen:
    """What a model says of N faces.

    Attributes:
        rows: a row a face: the columns asked for, `norm`, and of models that tell them `occlusion`, the covered share
            of the face, and `quality`.
        embeddings: (N, D) unit.
    """

    rows: pd.DataFrame
    embeddings: NDArray[np.float32]

    @property
    def technique(self) -> str:
        """Column that says how good a face is: the model's own word for it; of one that has none, the norm."""
        return "quality" if "quality" in self.rows else "norm"

    @property
    def quality(self) -> NDArray[np.float32]:
        """(N,), high is good."""
        return self.rows[self.technique].to_numpy()


def look(table: Table, columns: Sequence[str], model: FaceModel, runtime: Runtime, what: str) -> Seen:
    """Ask a model about the test faces of a table.

    Args:
        table: faces of 112x112 pixels.
        columns: of the table, to stand beside what the model says.
        model: that is asked.
        runtime: for the progress bar.
        what: its label.

    Raises:
        ConfigError: the table has no test face.
    """
    total = table.read([columns[0]], TEST).num_rows
    if not total:
        raise ConfigError(f"{table.path} has no test face to profile; raise `ingest.test_fraction`")
    rows, vectors = [], []
    batches = table.scan([*columns, "image"], TEST, BATCH)
    for batch in runtime.progress(batches, what, "batches", total=-(-total // BATCH)):
        found = model.inspect(np.stack([decode(image.as_py()) for image in batch["image"]]))
        said = {"norm": found.norms}
        said |= {} if found.occlusion is None else {"occlusion": found.occlusion.mean(axis=(1, 2))}
        said |= {} if found.quality is None else {"quality": found.quality}
        rows.append(pa.Table.from_batches([batch]).select(columns).to_pandas().assign(**said))
        vectors.append(found.embeddings)
    return Seen(pd.concat(rows, ignore_index=True), np.concatenate(vectors))
