"""By how much a window of faces differs from a reference, for one window or for many resamples at once.

All is read off two cumulative counts over the same sorted values, so that a batch of B resamples of P values costs
a few passes over (B, P). A resample is told by how often it has each value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stages.lib.drift.reference import Reference

Floats = NDArray[np.float64]
Ints = NDArray[np.int64] | NDArray[np.int32]
Values = NDArray[np.float32] | NDArray[np.float64]

METRICS: Final = ("psi", "wasserstein", "tail_low", "tail_high")
"""What is told of each column, in the order of a result's last axis; of all, high means far."""
EMBEDDING: Final = "embedding"
EMBEDDING_METRICS: Final = ("mean_distance", "covariance_distance")
BINS: Final = 10
_TWENTIETHS: Final = np.array([*range(2, 20, 2), 1, 19])  # the edges of the bins, then the tails


def compare(values: Floats, window: Ints, reference: Ints) -> Floats:
    """Distances of windows from references over the same values.

    - `psi`: population stability index over the bins between the reference's deciles, each with its upper edge;
      where deciles are equal their bins are one. Both shares of a bin get half a face of the smaller side, so an
      empty bin has a price and equal shares have none (Siddiqi, Credit Risk Scorecards, 2006; its distribution:
      Yurdakul and Naranjo, Journal of Risk Model Validation 14, 2020).
    - `wasserstein`: area between both distribution functions (Vallender, Theory Probab. Appl. 18, 1974) in standard
      deviations of the reference; 0 where it has none: its tails tell of any change.
    - `tail_low`, `tail_high`: share of the window strictly below the reference's 5 % quantile, and above its 95 %.

    A quantile is the least value with at least that share at or below it.

    Args:
        values: (P,) rising.
        window: (B, P) how often each window has each value, at least one in all; int32 halves the time, where faces of
            window and reference multiply to less than 2^31.
        reference: (B, P) the same of each reference.

    Returns:
        (B, 4) in the order of `METRICS`.
    """
    n, m = (counts.sum(axis=1, keepdims=True, dtype=counts.dtype) for counts in (window, reference))
    below_n, below_m = (counts.cumsum(axis=1, dtype=counts.dtype) for counts in (window, reference))
    first, last = (np.searchsorted(values, values, side) for side in ("left", "right"))
    at = _quantiles(below_m, -(-m * _TWENTIETHS // 20))
    edges, low, high = last[at[:, :-2]] - 1, first[at[:, -2:-1]], last[at[:, -1:]] - 1

    under = np.where(low > 0, np.take_along_axis(below_n, np.maximum(low - 1, 0), axis=1), 0) / n
    over = 1.0 - np.take_along_axis(below_n, high, axis=1) / n
    psi = _psi(edges, below_n, below_m, n, m)
    area = _area(values, below_n, below_m, n, m)
    return np.stack([psi, area * _inverse_sd(values, reference, m), under[:, 0], over[:, 0]], axis=1)


def measure(window: Mapping[str, Values], reference: Reference) -> dict[tuple[str, str], float]:
    """Distances of one window from the reference, by (column, metric).

    Args:
        window: (N,) of each column; what is not finite is left out, and a column without any value is not told.
        reference: whose columns are compared.
    """
    found: dict[tuple[str, str], float] = {}
    for column, own in reference.columns.items():
        theirs = np.asarray(window.get(column, ()), np.float64)
        theirs, own = theirs[np.isfinite(theirs)], own[np.isfinite(own)]
        if len(theirs):
            values = np.concatenate([theirs, own])
            order = np.argsort(values, kind="stable")
            ours = (order < len(theirs))[None].astype(np.int64)
            distances = compare(values[order], ours, 1 - ours)[0]
            found |= {(column, metric): float(x) for metric, x in zip(METRICS, distances, strict=True)}
    return found


def embedding_distances(gram: Floats, window: Ints, reference: Ints) -> Floats:
    """How far the mean and the covariance of windows of embeddings are from those of references.

    `mean_distance` is the cosine distance of the means, in [0, 2]; `covariance_distance` the Frobenius distance of
    the covariances over the norm of the reference's. Both need no more than scalar products of the embeddings: with
    weights w of rows x, <mean, mean'> = w G w', and <cov, cov'> = w (G * G) w' less terms of the means. So the price
    does not grow with the length of an embedding. (Frobenius, and not the Fréchet distance of Dowson and Landau, J.
    Multivariate Anal. 12, 1982: that wants a matrix root for each resample, and full-rank covariances, which a window
    of fewer faces than dimensions has not.)

    Args:
        gram: (P, P) scalar products of P embeddings.
        window: (B, P) how often each window has each embedding.
        reference: (B, P) the same of each reference.

    Returns:
        (B, 2) in the order of `EMBEDDING_METRICS`.
    """
    w, r = (counts / counts.sum(axis=1, keepdims=True) for counts in (window, reference))
    on_w, on_r, squared = w @ gram, r @ gram, gram * gram
    ww, rr, wr = (np.einsum("bp,bp->b", a, b) for a, b in ((on_w, w), (on_r, r), (on_w, r)))
    cosine = wr / np.sqrt(np.maximum(ww * rr, np.finfo(float).tiny))

    def second(a: Floats, on_a: Floats, b: Floats, on_b: Floats, product: Floats) -> Floats:
        """<cov a, cov b>, by scalar products of second moments and means."""
        moments = np.einsum("bp,bp->b", a @ squared, b)
        crossed = np.einsum("bp,bp->b", a, on_b**2) + np.einsum("bp,bp->b", b, on_a**2)
        return np.asarray(moments - crossed + product**2)

    own = second(r, on_r, r, on_r, rr)
    apart = second(w, on_w, w, on_w, ww) - 2 * second(w, on_w, r, on_r, wr) + own
    relative = np.sqrt(np.maximum(apart, 0.0) / np.maximum(own, np.finfo(float).tiny))
    return np.stack([1.0 - cosine, relative], axis=1)


def measure_embeddings(window: NDArray[np.float32], reference: NDArray[np.float32]) -> dict[tuple[str, str], float]:
    """Distances of one window of (N, D) embeddings from (M, D) of the reference, by (`embedding`, metric)."""
    both = np.concatenate([window, reference])
    ours = (np.arange(len(both)) < len(window))[None].astype(np.int64)
    distances = embedding_distances(scalar_products(both), ours, 1 - ours)[0]
    return {(EMBEDDING, metric): float(x) for metric, x in zip(EMBEDDING_METRICS, distances, strict=True)}


def scalar_products(embeddings: NDArray[np.float32]) -> Floats:
    """(N, N) of all pairs of (N, D) embeddings."""
    exact = embeddings.astype(np.float64)
    return np.asarray(exact @ exact.T)


def _quantiles(below: Ints, ranks: Ints) -> Ints:
    """(B, Q) first position at which each row of cumulative counts reaches each rank: one search over all rows."""
    rows, width = below.shape
    shift = np.arange(rows, dtype=below.dtype)[:, None] * (below[:, -1].max() + 1)
    found = np.searchsorted((below + shift).ravel(), (ranks + shift).ravel())
    return found.reshape(ranks.shape) - np.arange(rows)[:, None] * width


def _psi(edges: Ints, below_n: Ints, below_m: Ints, n: Ints, m: Ints) -> Floats:
    """(B,) from the positions of the bins' upper edges; the last bin has none."""
    counts = [np.take_along_axis(below, edges, axis=1) for below in (below_n, below_m)]
    shares = [np.diff(c, axis=1, prepend=0, append=all_) / all_ for c, all_ in zip(counts, (n, m), strict=True)]
    bins = np.ones((len(edges), BINS), np.bool_)
    bins[:, 1:-1] = np.diff(edges, axis=1) > 0
    half = 0.5 / np.minimum(n, m)
    p, q = ((share + half) / (1.0 + half * bins.sum(axis=1, keepdims=True)) for share in shares)
    return np.asarray(np.where(bins, (p - q) * np.log(p / q), 0.0).sum(axis=1))


def _area(values: Floats, below_n: Ints, below_m: Ints, n: Ints, m: Ints) -> Floats:
    """(B,) between both distribution functions; whole numbers as long as may be, for they are quick and exact."""
    apart = below_n[:, :-1] * m
    apart -= below_m[:, :-1] * n
    np.abs(apart, out=apart)
    return np.asarray((apart @ np.diff(values)) / (n * m)[:, 0])


def _inverse_sd(values: Floats, reference: Ints, m: Ints) -> Floats:
    """(B,) one over each reference's standard deviation; 0 where all its values are equal."""
    centred = values - values.mean()
    mean, square = (reference @ np.stack([centred, centred**2], axis=1) / m).T
    variance = square - mean**2
    inverse = np.zeros(len(variance))
    np.divide(1.0, np.sqrt(np.maximum(variance, 0.0)), out=inverse, where=variance > 1e-12 * square)
    return inverse
