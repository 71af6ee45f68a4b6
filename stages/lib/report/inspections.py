"""What many models say of a table's faces: each shard is decoded once and kept, so a killed run resumes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds

from stages.lib.deploy.ask import ask, inspect, joined, said
from stages.lib.deploy.session import Inspection
from stages.lib.fingerprint import code_version, fingerprint
from stages.lib.geometry.template import SIZE
from stages.lib.models.embedder import Embedder
from stages.lib.report.candidates import Candidate
from stages.lib.runtime import Runtime
from stages.lib.table import Table


class InspectionCache:
    """Inspections on disk, one file for each model and shard.

    Embeddings are biometric data and are kept no longer than they are of use: `prune` removes every file that no
    `inspect` of this object asked for.
    """

    def __init__(self, folder: Path) -> None:
        """Use a folder that holds nothing else."""
        self._folder = folder
        self._used: set[Path] = set()
        folder.mkdir(parents=True, exist_ok=True)

    def inspect(
        self, table: Table, where: ds.Expression, models: Sequence[Candidate], runtime: Runtime, what: str
    ) -> list[Inspection]:
        """Ask models about the rows of a table that pass a filter.

        Args:
            table: faces of 112x112 pixels.
            where: which rows.
            models: in the order of the result.
            runtime: for the progress bar.
            what: its label.

        Returns:
            Per model what it says, rows as in `table.read(columns, where)`.
        """
        files = [[self._file(model, shard.sha256, where) for shard in table.shards] for model in models]
        self._used.update(file for row in files for file in row)
        waiting = [i for i in range(len(table.shards)) if not all(row[i].is_file() for row in files)]
        opened: dict[str, Embedder] = {}
        for index in runtime.progress(waiting, what, "shards"):
            missing = [n for n, row in enumerate(files) if not row[index].is_file()]
            for model in (models[n] for n in missing):
                if model.identity not in opened:
                    opened[model.identity] = model.open()
            shard = replace(table, shards=(table.shards[index],))
            parts = _ask(shard, where, [opened[models[n].identity] for n in missing])
            for n, part in zip(missing, parts, strict=True):
                _save(files[n][index], part)
        return [joined([_load(file) for file in row]) for row in files]

    def prune(self) -> None:
        """Remove what models and tables said that are no longer in use."""
        for file in set(self._folder.iterdir()) - self._used:
            file.unlink()

    def _file(self, model: Candidate, shard: str, where: ds.Expression) -> Path:
        return self._folder / f"{fingerprint(model.identity, shard, where, code_version())}.npz"


def _ask(rows: Table, where: ds.Expression, models: Sequence[Embedder]) -> list[Inspection]:
    nobody = np.empty((0, SIZE, SIZE, 3), np.uint8)  # a shard may hold none of the rows
    parts = [[inspect(model, nobody)] for model in models]
    for _, found in ask(rows, ["face_id"], where, models):
        for part, inspection in zip(parts, found, strict=True):
            part.append(inspection)
    return [joined(part) for part in parts]


def _save(file: Path, inspection: Inspection) -> None:
    temporary = file.with_suffix(".tmp")
    with temporary.open("wb") as stream:
        np.savez(stream, **said(inspection))
    os.replace(temporary, file)  # a killed run leaves no half file


def _load(file: Path) -> Inspection:
    with np.load(file, allow_pickle=False) as arrays:
        return Inspection(**arrays)
