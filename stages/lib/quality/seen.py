"""What a shipped model says of the test faces of a table, a row a face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from stages.lib.deploy.ask import ask, joined
from stages.lib.deploy.session import FaceModel
from stages.lib.errors import ConfigError
from stages.lib.runtime import Runtime
from stages.lib.table import TEST, Table


@dataclass(frozen=True)
class Seen:
    """What a model says of N faces.

    Attributes:
        rows: a row a face: the columns asked for, `norm`, and of models that tell them `occlusion`, the covered share
            of the face, and `quality`.
        embeddings: (N, D) unit.
        technique: column that says how good a face is for this model: its own word for it; of one that has none, or
            judges faces for another model, the norm.
    """

    rows: pd.DataFrame
    embeddings: NDArray[np.float32]
    technique: str

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
    if not table.read([columns[0]], TEST).num_rows:
        raise ConfigError(f"{table.path} has no test face to profile; raise `ingest.test_fraction`")
    asked = ask(table, columns, TEST, [model])
    rows, answers = zip(*runtime.progress(asked, what, "batches"), strict=True)
    found = joined([answer for (answer,) in answers])
    said = {"norm": found.norms}
    said |= {} if found.occlusion is None else {"occlusion": found.occlusion.mean(axis=(1, 2))}
    said |= {} if found.quality is None else {"quality": found.quality}
    shown = pa.Table.from_batches(rows).to_pandas().assign(**said)
    return Seen(shown, found.embeddings, model.contract.own_quality)
