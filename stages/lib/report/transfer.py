"""People of another source, kept for evaluation: whether what was learned carries over to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pyarrow.dataset as ds
from numpy.typing import NDArray

from stages.lib.models.embedder import Embeddings
from stages.lib.report.candidates import Candidate
from stages.lib.report.embeddings import EmbeddingCache
from stages.lib.report.trial import Trial
from stages.lib.runtime import Runtime
from stages.lib.table import Table

SPLIT = ds.field("split") == "transfer"


def transfer_trials(aligned: Table, trial: Callable[[NDArray[np.int64]], Trial]) -> dict[str, Trial]:
    """Source -> the comparisons among its people.

    Args:
        aligned: table of clean faces.
        trial: makes one from the (K,) subject codes of the faces.
    """
    there = aligned.read(["subject_id", "source"], SPLIT)
    sources, subjects = (np.array(there[c].to_pylist(), dtype=str) for c in ("source", "subject_id"))
    codes = {str(s): np.unique(subjects[sources == s], return_inverse=True)[1] for s in np.unique(sources)}
    return {source: trial(code) for source, code in codes.items()}


def embed_transfers(
    cache: EmbeddingCache, aligned: Table, sources: Iterable[str], models: Sequence[Candidate], runtime: Runtime
) -> list[dict[str, Embeddings]]:
    """For each model, source -> (K, D) unit embeddings, rows as `transfer_trials` counts them."""
    found: list[dict[str, Embeddings]] = [{} for _ in models]
    for source in sources:
        where = SPLIT & (ds.field("source") == source)
        by_model = cache.embed(aligned, where, models, runtime, f"{source} faces")
        for entry, embeddings in zip(found, by_model, strict=True):
            entry[source] = embeddings
    return found
