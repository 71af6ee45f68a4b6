"""One model in one condition: all figures, and the same figures in every resample of the people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.lib.metrics.bootstrap import Replicates, bootstrap_mean, bootstrap_verification, subject_weights
from stages.lib.metrics.identification import rank1, split_gallery
from stages.lib.metrics.protocol import Protocol, all_pairs, pair_scores
from stages.lib.metrics.verification import rates_at, target_name, verification
from stages.lib.models.embedder import Embeddings

Ints = NDArray[np.int64]
NOT_RESAMPLED = ("threshold@", "resolved@")  # settings of a run, not figures that an interval speaks of


@dataclass(frozen=True)
class Trial:
    """The comparisons that every model and every condition makes on one set of faces.

    Attributes:
        subject: (N,) subject codes in [0, S).
        protocol: the pairs of templates and probes.
        weights: (B, S) of the identity bootstrap, shared so that all differences are paired.
        gallery: (G,) rows of the enrolled faces, one a subject.
        probes: (Q,) rows that search the gallery.
    """

    subject: Ints
    protocol: Protocol
    weights: Ints
    gallery: Ints
    probes: Ints

    @classmethod
    def of(cls, subject: Ints, max_impostors: int, replicates: int, seed: int) -> Trial:
        """Draw the pairs and the resamples.

        Args:
            subject: (N,) subject of each face, any integers.
            max_impostors: most impostor pairs.
            replicates: resamples of the people.
            seed: of both draws.
        """
        _, codes = np.unique(subject, return_inverse=True)
        protocol = all_pairs(codes, max_impostors, seed)
        return cls(codes, protocol, subject_weights(protocol.subjects, replicates, seed), *split_gallery(codes))


@dataclass(frozen=True)
class Measurement:
    """Figures of one model in one condition.

    Attributes:
        values: name -> figure; rates are shares.
        replicates: name -> (B,) the same figure in each resample of the people.
        scores: (P,) cosine of each pair of the trial's protocol; empty where they were dropped.
    """

    values: dict[str, float]
    replicates: dict[str, Replicates]
    scores: NDArray[np.float32]


def measure(
    templates: Embeddings, probes: Embeddings, trial: Trial, fmr_targets: Sequence[float], frozen: float | None = None
) -> Measurement:
    """Verification, identification and their resamples.

    Args:
        templates: (N, D) unit embeddings of the clean faces.
        probes: (N, D) of the same faces in the condition under test.
        trial: the comparisons.
        fmr_targets: false match rates at which FNMR is read.
        frozen: threshold set on this model's clean faces; its FMR and FNMR here are what a deployment feels. None
            where it is set here, at the first target.
    """
    scores = pair_scores(trial.protocol, templates, probes)
    values = verification(scores, trial.protocol.genuine, fmr_targets=fmr_targets)
    if frozen is None:
        frozen = values[f"threshold@{target_name(fmr_targets[0])}"]
    values["fmr@frozen"], values["fnmr@frozen"] = rates_at(scores, trial.protocol.genuine, frozen)
    replicates = bootstrap_verification(scores, trial.protocol, trial.weights, fmr_targets, frozen)
    if len(trial.probes):
        subject = trial.subject
        hits = rank1(templates[trial.gallery], subject[trial.gallery], probes[trial.probes], subject[trial.probes])
        values["rank1"] = float(hits.mean())
        replicates["rank1"] = bootstrap_mean(hits.astype(np.float64), subject[trial.probes], trial.weights)
    kept = {name: r for name, r in replicates.items() if not name.startswith(NOT_RESAMPLED)}
    return Measurement(values, kept, scores)


def mean_over(measurements: Sequence[Measurement]) -> Measurement:
    """The plain mean of several conditions of one model, resample by resample."""
    names = measurements[0].replicates
    return Measurement(
        {name: float(np.mean([m.values[name] for m in measurements])) for name in names},
        {name: np.mean([m.replicates[name] for m in measurements], axis=0) for name in names},
        np.empty(0, np.float32),
    )
