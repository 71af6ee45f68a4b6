"""What captures like these cost in misses: FNMR by what is measured of a face, learnt from the degradation grid.

A model's own quality tells little of some conditions, and bands of it price them too low. The measures of a capture
tell more: how sharp and how bright it is, and how much of the face is covered. Which of them costs this model what, its
test people say, whose faces the grid shows in every condition.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from stages.lib.errors import ConfigError
from stages.lib.executor import blocks
from stages.lib.metrics.bootstrap import Ints
from stages.lib.npz import load_arrays, save_arrays

KNOTS: Final = (0.01, 0.25, 0.5, 0.75, 0.99)
"""Quantiles of a measure at which its slope may change; beyond the outer ones nothing is known, and nothing changes."""
STRENGTH: Final = 10.0  # of the fit against its penalty; on the grid, people left out, more changed nothing
FEWEST_PEOPLE: Final = 10

Floats = NDArray[np.float64]
Measures = Mapping[str, NDArray[np.float32]] | Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Price:
    """A logistic regression of misses on piecewise linear functions of each measure, and the same of resamples.

    Attributes:
        columns: C measures.
        knots: (C, K) at which slopes change.
        coefficients: (1 + B, 1 + C (K - 1)) intercept and slopes: of all people, and of B resamples of them.
    """

    columns: tuple[str, ...]
    knots: Floats
    coefficients: Floats

    def expected(self, faces: Measures) -> Floats | None:
        """(1 + B,) share of mated pairs with these probes that is expected to miss; none: no face tells all measures.

        The first of all people and these faces; the others of resamples of the people and of the faces, whose mean is
        drawn by its standard error. Faces seed their own draw, so a window and its baseline are drawn apart.

        Args:
            faces: (N,) of each measure; a face that lacks one does not count.
        """
        values = np.stack([np.asarray(faces[name], np.float64) for name in self.columns], axis=1)
        values = values[np.isfinite(values).all(axis=1)]
        if not len(values):
            return None
        values = values[np.lexsort(values.T)]  # a log gives its captures in no order
        fits, total, squares = len(self.coefficients), 0.0, 0.0
        for rows in blocks(len(values), fits):  # a baseline may hold any number of faces
            logits = self.coefficients[:, :1] + self.coefficients[:, 1:] @ _basis(values[rows], self.knots).T
            missed = 1 / (1 + np.exp(-logits))
            total, squares = total + missed.sum(axis=1), squares + (missed**2).sum(axis=1)
        mean = np.asarray(total / len(values))
        spread = np.sqrt(np.maximum(squares / len(values) - mean**2, 0.0))
        drawn = np.random.default_rng(crc32(values.tobytes())).standard_normal(fits)
        drawn[0] = 0.0
        return np.clip(mean + drawn * spread / np.sqrt(len(values)), 0.0, 1.0)

    def save(self, path: Path) -> None:
        """Write to an .npz file that appears whole or not at all."""
        save_arrays(path, columns=np.array(self.columns), knots=self.knots, coefficients=self.coefficients)

    @classmethod
    def load(cls, path: Path) -> Price:
        """Read what `save` wrote.

        Raises:
            ConfigError: the file holds no price.
        """
        names = ("columns", "knots", "coefficients")
        columns, knots, coefficients = load_arrays(path, names, "price", "run the stage reference")
        return cls(tuple(map(str, columns)), knots.astype(np.float64), coefficients.astype(np.float64))


def learn(measures: Measures, missed: NDArray[np.bool_], subject: Ints, weights: Ints) -> Price:
    """Learn what each measure costs.

    Args:
        measures: (P,) of the probe of each mated pair, from clean faces to the worst of the grid. A measure that is
            the same of almost all of them is left out.
        missed: (P,) whether the pair's score lies below the threshold.
        subject: (P,) whose pair it is, in [0, S).
        weights: (B, S) how often each resample has drawn a person, from `bootstrap.subject_weights`.

    Raises:
        ConfigError: fewer than `FEWEST_PEOPLE`, or all pairs miss or none, or no measure differs.
    """
    people = len(np.unique(subject))
    if people < FEWEST_PEOPLE:
        raise ConfigError(f"mated pairs of {people} people tell no price: give {FEWEST_PEOPLE} at least")
    knots = {name: np.quantile(values.astype(np.float64), KNOTS) for name, values in measures.items()}
    columns = tuple(name for name, at in knots.items() if at[0] < at[-1])
    if not columns or missed.all() or not missed.any():
        raise ConfigError("all pairs miss or none, or no measure of theirs differs: they tell no price")
    at = np.stack([knots[name] for name in columns])
    basis = _basis(np.stack([measures[name].astype(np.float64) for name in columns], axis=1), at)
    with threadpool_limits(1):  # the systems are small: threads only wait for each other, and long where others work
        every = _fit(basis, missed, np.ones(len(missed)))
        drawn = [_fit(basis, missed, own[subject].astype(np.float64), every) for own in weights]
    return Price(columns, at, np.stack([every, *drawn]))


def _basis(values: Floats, knots: Floats) -> Floats:
    """(N, C (K - 1)): the part of each measure that lies between two knots, in spans of the measure.

    Args:
        values: (N, C).
        knots: (C, K) rising.
    """
    parts = np.clip(values[:, :, None], knots[None, :, :-1], knots[None, :, 1:]) - knots[None, :, :-1]
    return (parts / (knots[:, -1:] - knots[:, :1])[None]).reshape(len(values), -1)


def _fit(basis: Floats, missed: NDArray[np.bool_], weights: Floats, otherwise: Floats | None = None) -> Floats:
    """Intercept and slopes; those given where a resample has one kind of pairs only."""
    from sklearn.linear_model import LogisticRegression  # takes seconds to import, and who reads a price fits none

    inside = weights > 0
    if otherwise is not None and len(np.unique(missed[inside])) < 2:
        return otherwise
    model = LogisticRegression(C=STRENGTH, solver="newton-cholesky", max_iter=100)
    model.fit(basis[inside], missed[inside], sample_weight=weights[inside])
    return np.concatenate([model.intercept_, model.coef_[0]])
