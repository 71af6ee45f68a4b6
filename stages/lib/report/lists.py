"""Published pair lists, such as LFW's: used where all their people are test people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stages.lib.metrics.bootstrap import bootstrap_verification, subject_weights
from stages.lib.metrics.protocol import Protocol, pair_scores
from stages.lib.metrics.verification import fold_accuracy, verification
from stages.lib.models.embedder import Embeddings
from stages.lib.report.trial import Measurement
from stages.lib.table import Table

Ints = NDArray[np.int64]
MIN_SHARE = 0.5  # of the listed pairs; with fewer the name of the list would promise too much


@dataclass(frozen=True)
class PairList:
    """A published list, as far as its faces are in the table.

    Attributes:
        name: of the protocol.
        protocol: the pairs, as rows of the clean test faces.
        fold: (P,) as published.
        listed: pairs on the published list; `protocol` may hold fewer.
    """

    name: str
    protocol: Protocol
    fold: Ints
    listed: int

    @property
    def folds(self) -> int:
        """Number of folds; accuracy by folds needs two."""
        return len(np.unique(self.fold))


def read_lists(pairs: Path, aligned: Table, faces: pa.Table, subject: Ints) -> tuple[list[PairList], list[str]]:
    """The lists that came with a source, as far as they may be reported, and a sentence for each that may not.

    Args:
        pairs: Parquet of the PAIRS schema; it may be missing.
        aligned: table of clean faces.
        faces: `face_id` of the clean test faces.
        subject: (N,) their subject codes.
    """
    if not pairs.is_file():
        return [], []
    everyone = aligned.read(["face_id", "split"])
    split = dict(zip(everyone["face_id"].to_pylist(), everyone["split"].to_pylist(), strict=True))
    row = {face: index for index, face in enumerate(faces["face_id"].to_pylist())}
    used, skipped = usable_lists(pq.read_table(pairs), split, row, subject)
    return used, [f"List {reason}" for reason in skipped]


def usable_lists(
    pairs: pa.Table, split: Mapping[str, str], row: Mapping[str, int], subject: Ints
) -> tuple[list[PairList], list[str]]:
    """Sort out the lists that may be reported.

    Args:
        pairs: rows of the PAIRS schema.
        split: face id -> split, of every aligned face.
        row: face id -> row of the clean test face.
        subject: (N,) subject codes of the clean test faces.

    Returns:
        The lists that can be used, and a sentence for each that cannot.
    """
    used, skipped = [], []
    for name in sorted(set(pairs["protocol"].to_pylist())):
        rows = pairs.filter(pa.compute.equal(pairs["protocol"], name))
        faces = list(zip(rows["face_a"].to_pylist(), rows["face_b"].to_pylist(), strict=True))
        there = np.array([a in split and b in split for a, b in faces])
        seen = np.array([{split.get(a), split.get(b)} <= {None, "test"} for a, b in faces])
        if not seen.all():
            skipped.append(
                f"{name}: {np.count_nonzero(~seen)} of {len(faces)} pairs show training or validation people"
            )
        elif there.mean() < MIN_SHARE:
            skipped.append(f"{name}: only {np.count_nonzero(there)} of {len(faces)} pairs have both faces in the table")
        else:
            left, right = np.array([[row[a], row[b]] for (a, b), ok in zip(faces, there, strict=True) if ok]).T
            same = rows["same"].to_numpy(zero_copy_only=False)[there]
            protocol = Protocol(left, right, same, subject[left], subject[right], int(subject.max()) + 1)
            used.append(PairList(name, protocol, rows["fold"].to_numpy()[there].astype(np.int64), len(faces)))
    return used, skipped


def measure_list(embeddings: Embeddings, pairs: PairList, replicates: int, seed: int) -> Measurement:
    """EER and, where the list has folds, accuracy at the threshold that is best on the other folds.

    Args:
        embeddings: (N, D) unit embeddings of the clean test faces.
        pairs: the list.
        replicates: resamples of the people, for the EER.
        seed: of the resamples.
    """
    scores = pair_scores(pairs.protocol, embeddings, embeddings)
    values = {"eer": verification(scores, pairs.protocol.genuine, fmr_targets=())["eer"]}
    weights = subject_weights(pairs.protocol.subjects, replicates, seed)
    resampled = {"eer": bootstrap_verification(scores, pairs.protocol, weights, ())["eer"]}
    if pairs.folds > 1:
        values["accuracy"], values["accuracy_sd"] = fold_accuracy(scores, pairs.protocol.genuine, pairs.fold)
    return Measurement(values, resampled, scores)
