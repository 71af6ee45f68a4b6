"""SKD: copy the teacher's templates of the chosen faces only."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from stages.lib.losses.selective import SelectiveRegression
from stages.lib.objectives.base import Batch, Task, Term, View
from stages.lib.selection.graph import Kind, SelectionSettings, select

SELECTION = "selection.parquet"
ADAPTER = "adapter.parquet"


class Objective(Term):
    """Regression to the templates that an exact min-cut keeps, through a linear adapter (arXiv 1811.09998).

    What was kept, and the adapter, stay beside the student: the adapter's product with a raw embedding can be searched
    in a gallery that the teacher enrolled.
    """

    kept: Tensor

    @classmethod
    def needs(cls, settings: Mapping[str, Any]) -> frozenset[str]:
        return frozenset({"templates"})

    def __init__(self, task: Task, keep: Kind, keep_ratio: float, gamma: float, beta: float) -> None:
        super().__init__()
        faces = task.faces
        self._ids = faces.ids
        templates = np.asarray(faces.templates)
        self._settings = SelectionSettings(keep_ratio, keep, gamma, beta, seed=task.seed)
        if keep in ("unary", "random"):  # as many as the method keeps, which neighbours may hold off its target
            method = select(templates, faces.labels, replace(self._settings, kind="graph"))
            self._settings = replace(self._settings, keep_ratio=method.ratio)
        self._selection = select(templates, faces.labels, self._settings)
        self.register_buffer("kept", torch.from_numpy(self._selection.kept), persistent=False)
        self.regression = SelectiveRegression(task.embedding, faces.templates.shape[1])

    def forward(self, view: View, batch: Batch) -> Tensor:
        return self.regression(view.raw, batch.templates, self.kept[batch.faces])

    def artefacts(self) -> Iterator[tuple[str, pa.Table]]:
        """`face_id`, `score` and `kept` of every training face, with the settings and ratio; rows of the adapter."""
        found = self._selection
        about = {**vars(self._settings), "tau": found.tau, "ratio": found.ratio, "forced": found.forced}
        rows = pa.table({"face_id": list(self._ids), "score": found.score, "kept": found.kept})
        yield SELECTION, rows.replace_schema_metadata({"selection": json.dumps(about, sort_keys=True)})
        yield ADAPTER, pa.table({"weights": list(self.regression.adapter.weight.detach().float().cpu().numpy())})
