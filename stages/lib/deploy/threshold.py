"""The thresholds that travel with a model, and what each of them rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from stages.lib.metrics.protocol import Protocol, all_pairs, pair_scores
from stages.lib.metrics.verification import target_name, verification
from stages.lib.models.contract import Threshold
from stages.lib.models.embedder import Embeddings

MIN_FALSE_MATCHES: Final = 10
"""Fewer false matches than these say little of the rate: their number alone varies by a third or more."""
MAX_IMPOSTORS: Final = 1_000_000
"""Impostor pairs that are compared, drawn by lot where there are more; they resolve FMR 1e-5."""


def compare_people(subjects: Sequence[str]) -> Protocol:
    """Every pair of faces, the impostor pairs among them up to `MAX_IMPOSTORS`.

    Args:
        subjects: (N,) the person of each face, none of whom the model was trained on.
    """
    return all_pairs(np.unique(np.asarray(subjects, np.str_), return_inverse=True)[1], MAX_IMPOSTORS, seed=0)


def impostors(pairs: Protocol) -> int:
    """How many of the pairs show two people."""
    return int(np.count_nonzero(~pairs.genuine))


def thresholds(embeddings: Embeddings, pairs: Protocol, fmr_targets: Sequence[float]) -> dict[str, Threshold]:
    """Read the lowest threshold that keeps each false match rate.

    Args:
        embeddings: (N, D) unit embeddings of clean faces, by the model that ships.
        pairs: of these faces.
        fmr_targets: false match rates in (0, 1).

    Returns:
        Target, spelt as in reports (`1e-2`) -> threshold. Left out: targets at which the pairs are too few for
        `MIN_FALSE_MATCHES`, or at which scores that are tied leave none.

    Raises:
        ValueError: targets are resolved, but nobody has two faces.
    """
    count = impostors(pairs)
    targets = [target for target in fmr_targets if target * count >= MIN_FALSE_MATCHES]
    if not targets:
        return {}
    figures = verification(pair_scores(pairs, embeddings, embeddings), pairs.genuine, fmr_targets=targets)
    return {
        name: Threshold(cosine=figures[f"threshold@{name}"], impostor_pairs=count, people=pairs.subjects)
        for name in map(target_name, targets)
        if figures[f"resolved@{name}"]
    }


def unresolved(found: Mapping[str, Threshold], pairs: Protocol, fmr_targets: Sequence[float]) -> list[str]:
    """Say of each target that `thresholds` left out why, in a clause."""
    count = impostors(pairs)
    return [
        f"no threshold at FMR {target_name(target)}: of {count} pairs of {pairs.subjects} validation people "
        f"{target * count:.3g} match falsely there, {MIN_FALSE_MATCHES} are needed"
        for target in fmr_targets
        if target_name(target) not in found
    ]
