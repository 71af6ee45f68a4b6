"""Quality of training faces as published techniques state it, from embeddings that are there already.

High is good. CR-FIQA and SDD-FIQA read one unit embedding a face: teacher templates serve, and no network runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from stages.lib.degrade.keys import draws
from stages.lib.errors import ConfigError
from stages.lib.executor import blocks
from stages.lib.losses.quality import certainty_ratio

Floats = NDArray[np.float32] | NDArray[np.float64]
Quality = NDArray[np.float64]
Ints = NDArray[np.int64]

SDD_COSINES: Final = 24
SDD_ROUNDS: Final = 12


def cr_fiqa(embeddings: Floats, labels: Ints, centres: Floats) -> Quality:
    """(N,) certainty ratio: how near its own class a face lies, for how near the nearest other one is.

    See `certainty_ratio`.

    Args:
        embeddings: (N, D) unit.
        labels: (N,) class in [0, C).
        centres: (C, D) unit weights of a trained classifier. Not mean embeddings: each face would vote for itself,
            and the only one of its person would get the best quality of all.

    Raises:
        ConfigError: fewer than two classes.
    """
    if len(centres) < 2:
        raise ConfigError("CR-FIQA compares with the nearest other class: give at least two")
    quality = np.empty(len(embeddings))
    for rows in blocks(len(embeddings), len(centres)):
        cosine = np.asarray(embeddings[rows] @ centres.T, dtype=np.float64)
        quality[rows] = certainty_ratio(torch.from_numpy(cosine), torch.from_numpy(labels[rows])).numpy()
    return quality


def sdd_fiqa(embeddings: Floats, labels: Ints, ids: Sequence[str], seed: int) -> Quality:
    """(N,) how far a face's genuine cosines lie from its impostor cosines, in [0, 1] over all faces.

    The mean over rounds of the Wasserstein-1 distance between as many genuine and impostor cosines, drawn with
    replacement. The only face of its person has no genuine cosine: it gets NaN.

    Source: SDD-FIQA, Ou et al., CVPR 2021.

    Args:
        embeddings: (N, D) unit.
        labels: (N,) any whole numbers.
        ids: of the N faces, each another; draws belong to them, so that the order of the rows does not matter.
        seed: of the draws.

    Raises:
        ConfigError: no face has both a genuine and an impostor partner.
    """
    order = np.lexsort((np.asarray(ids), labels))  # people side by side, the faces of each by id
    start = np.searchsorted(labels[order], labels, side="left")
    count = np.searchsorted(labels[order], labels, side="right") - start
    place = np.argsort(order, kind="stable") - start  # of each face among its person's
    able = (count > 1) & (count < len(labels))
    if not able.any():
        raise ConfigError("SDD-FIQA needs people with two faces, and two people")
    quality, size = np.full(len(labels), np.nan), SDD_ROUNDS * SDD_COSINES
    for rows in blocks(len(labels), size * embeddings.shape[1]):
        first, own = start[rows, None], count[rows, None]
        near, far = np.split(draws(seed, ids[rows], "sdd_fiqa", 2 * size), 2, axis=1)
        other = (place[rows, None] + 1 + (near * (own - 1)).astype(np.int64)) % own
        genuine = order[first + other]
        impostor = order[(first + own + (far * (len(labels) - own)).astype(np.int64)) % len(labels)]
        left = embeddings[rows]
        cosines = [np.einsum("nd,nkd->nk", left, embeddings[side], dtype=np.float64) for side in (genuine, impostor)]
        quality[rows] = wasserstein(*(c.reshape(len(left), SDD_ROUNDS, SDD_COSINES) for c in cosines)).mean(axis=1)
    quality[~able] = np.nan
    return scaled(quality)


def wasserstein(one: Floats, other: Floats) -> Quality:
    """Wasserstein-1 distance of samples of one size, along the last axis: the mean gap of the sorted values."""
    return np.abs(np.sort(one, axis=-1) - np.sort(other, axis=-1)).mean(axis=-1, dtype=np.float64)


def ser_fiq(passes: Floats) -> Quality:
    """(N,) how steady an embedding is under dropout: 2 / (1 + exp(mean distance of two passes)), in (0, 1].

    Source: SER-FIQ, Terhoerst et al., CVPR 2020; distances are averaged over the pairs.

    Args:
        passes: (M, N, D) unit embeddings of M >= 2 stochastic passes.

    Raises:
        ConfigError: fewer than two passes.
    """
    if len(passes) < 2:
        raise ConfigError(f"SER-FIQ compares passes with each other and got {len(passes)}: give at least two")
    count, total = passes.shape[0], np.zeros(passes.shape[1])
    for first in range(count - 1):
        total += np.linalg.norm(passes[first] - passes[first + 1 :], axis=-1).sum(axis=0, dtype=np.float64)
    return 2.0 / (1.0 + np.exp(total / (count * (count - 1) / 2)))


def scaled(quality: Quality) -> Quality:
    """Stretched to [0, 1] over all faces, NaN left alone; zeros where all are equal."""
    low, high = np.nanmin(quality), np.nanmax(quality)
    return (quality - low) / (high - low) if high > low else quality - low
