"""Random draws that take one number each, so that changing a range never moves the draws that follow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

Triple = tuple[float, float, float]

_NARROW: Final = 1e-12
_FAR: Final = 40.0


def truncated(
    generator: Generator, mean: ArrayLike, deviation: ArrayLike, low: ArrayLike, high: ArrayLike
) -> NDArray[np.float64]:
    """Normal numbers kept to an interval by the inverse of the distribution function; no heap at its ends.

    Args:
        generator: one uniform number is taken from it for every value returned.
        mean: of the normal before it is cut; arguments broadcast.
        deviation: of the normal before it is cut; 0 gives the mean, clipped.
        low: lower end.
        high: upper end.

    Returns:
        Values in [low, high].
    """
    shape = np.broadcast_shapes(*map(np.shape, (mean, deviation, low, high)))
    return np.asarray(_cut(generator.uniform(size=shape), *map(np.asarray, (mean, deviation, low, high))))


def normal(generator: Generator, mean: float, deviation: float, low: float, high: float) -> float:
    """One number of `truncated`."""
    return float(_cut(generator.uniform(), mean, deviation, low, high))


def pick(generator: Generator, weights: Mapping[str, float]) -> str:
    """One key, as likely as its weight; weights need not sum to one, and one at least is positive."""
    share = np.cumsum(np.fromiter(weights.values(), float))
    return list(weights)[int(np.searchsorted(share, generator.uniform() * share[-1], side="right"))]


def triple(values: ArrayLike) -> Triple:
    """Three plain numbers, as JSON takes them."""
    first, second, third = np.asarray(values, float).tolist()
    return first, second, third


def _cut(uniform: Any, mean: Any, deviation: Any, low: Any, high: Any) -> Any:
    """Quantile `uniform` of a normal between two ends; numbers or arrays."""
    scale = np.maximum(deviation, _NARROW)
    below, above = ndtr((low - mean) / scale), ndtr((high - mean) / scale)
    # Beyond some 38 deviations the quantile is infinite.
    step = np.minimum(np.maximum(ndtri(below + (above - below) * uniform), -_FAR), _FAR)
    return np.minimum(np.maximum(mean + scale * step, low), high)
