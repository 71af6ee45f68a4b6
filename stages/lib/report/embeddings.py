"""Embeddings of a table by many models: each shard is decoded once and kept, so a killed run resumes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds

from stages.lib.codec import decode
from stages.lib.fingerprint import code_version, fingerprint
from stages.lib.models.embedder import Embedder, Embeddings
from stages.lib.report.candidates import Candidate
from stages.lib.runtime import Runtime
from stages.lib.table import Table

BATCH = 128  # faces decoded at once: with the embeddings, all that is held in memory


class EmbeddingCache:
    """Embeddings on disk, one file for each model and shard.

    Embeddings are biometric data and are kept no longer than they are of use: `prune` removes every file that no
    `embed` of this object asked for.
    """

    def __init__(self, folder: Path) -> None:
        """Use a folder that holds nothing else."""
        self._folder = folder
        self._used: set[Path] = set()
        folder.mkdir(parents=True, exist_ok=True)

    def embed(
        self, table: Table, where: ds.Expression, models: Sequence[Candidate], runtime: Runtime, what: str
    ) -> list[Embeddings]:
        """Embed the rows of a table that pass a filter.

        Args:
            table: faces of 112x112 pixels.
            where: which rows.
            models: in the order of the result.
            runtime: for the progress bar.
            what: its label.

        Returns:
            Per model (N, D) unit embeddings, rows as in `table.read(columns, where)`.
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
            parts = _embed_rows(shard, where, [opened[models[n].identity] for n in missing])
            for n, part in zip(missing, parts, strict=True):
                _save(files[n][index], part)
        return [np.concatenate([np.load(file) for file in row]) for row in files]

    def prune(self) -> None:
        """Remove embeddings of models and tables that are no longer in use."""
        for file in set(self._folder.iterdir()) - self._used:
            file.unlink()

    def _file(self, model: Candidate, shard: str, where: ds.Expression) -> Path:
        return self._folder / f"{fingerprint(model.identity, shard, where, code_version())}.npy"


def _embed_rows(rows: Table, where: ds.Expression, embedders: Sequence[Embedder]) -> list[Embeddings]:
    parts: list[list[Embeddings]] = [[np.empty((0, e.dim), np.float32)] for e in embedders]
    for batch in rows.scan(["image"], where, BATCH):
        faces = np.stack([decode(image) for image in batch["image"].to_pylist()])
        for part, embedder in zip(parts, embedders, strict=True):
            part.append(embedder.embed(faces)[0])
    return [np.concatenate(part) for part in parts]


def _save(file: Path, values: Embeddings) -> None:
    temporary = file.with_suffix(".tmp")
    with temporary.open("wb") as stream:
        np.save(stream, values)
    os.replace(temporary, file)  # a killed run leaves no half file
