"""Choose the samples whose teacher templates are worth copying, by a min-cut over a graph of neighbours.

A sample is worth copying if its template lies near the others of its class and far from the classes around it. Samples
that are each other's neighbours are pulled to the same answer, so the choice follows dense regions and not the
noise of single scores. With a_i in {0, 1} the energy is

    E(a) = - sum_i (r_i - gamma d_i - tau) a_i + beta sum_(i,j) w_ij |a_i - a_j|

Source: the idea is SKD, Ge et al., "Low-resolution face recognition in the wild via selective knowledge
distillation", arXiv 1811.09998, IEEE TIP 2019. Its equations could not be read: this energy is our reconstruction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

from stages.lib.errors import ConfigError
from stages.lib.executor import blocks

Floats = NDArray[np.float32] | NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Kind = Literal["graph", "unary", "random", "all"]

SCALE = 1_000_000
"""Capacities are whole numbers: scores count in millionths."""
LARGEST_WEIGHT = 100.0
"""Of gamma and beta: twice a capacity must fit 32 bits, with room to spare."""
UNIT_TOLERANCE = 1e-3
"""Of a template's length; half precision keeps within it."""


@dataclass(frozen=True)
class SelectionSettings:
    """How to select. Weights and counts have the defaults of our reconstruction.

    Attributes:
        keep_ratio: share of samples to keep, in (0, 1].
        kind: `graph` is the method. The controls are `unary` (scores without the graph), `random` and `all`.
        gamma: weight of confusability, 0..100.
        beta: weight of the pull between neighbours, 0..100.
        neighbours_of_class: the nearest other classes that a sample could be confused with, at least 1.
        neighbours: k of the mutual k nearest neighbours, at least 1.
        seed: of kind `random`.

    Raises:
        ConfigError: a value outside its range.
    """

    keep_ratio: float
    kind: Kind = "graph"
    gamma: float = 1.0
    beta: float = 0.1
    neighbours_of_class: int = 10
    neighbours: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.0 < self.keep_ratio <= 1.0:
            raise ConfigError(f"keep_ratio is {self.keep_ratio}: give a share above 0 and at most 1")
        if self.kind not in get_args(Kind):
            raise ConfigError(f"selection {self.kind!r} is unknown: choose one of {', '.join(get_args(Kind))}")
        for name in ("gamma", "beta"):
            if not 0.0 <= getattr(self, name) <= LARGEST_WEIGHT:
                raise ConfigError(f"{name} is {getattr(self, name)}: give 0 to {LARGEST_WEIGHT:g}")
        for name in ("neighbours_of_class", "neighbours"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}: give at least 1")


@dataclass(frozen=True)
class Selection:
    """What was kept, and why.

    Attributes:
        kept: (N,) bool.
        score: (N,) float32, representativeness less gamma times confusability; for `random` the lot, in (0, 1).
        tau: the score that separates worthy from unworthy, before neighbours pull.
        ratio: share kept.
        forced: share kept for no merit of its own, so that its class keeps one.
    """

    kept: Bools
    score: NDArray[np.float32]
    tau: float
    ratio: float
    forced: float


def select(templates: Floats, labels: Ints, settings: SelectionSettings) -> Selection:
    """Choose samples, at least one of each class.

    The share comes as near to `keep_ratio` as a tau in millionths allows, one sample of each class included.
    It stays off target where one sample of each class is more already, or where neighbours can only be kept or
    left together, so that the share jumps. `Selection.ratio` is the share reached. For equal shares give that
    ratio to a control: without neighbours no jump comes but from equal scores.

    Time grows with N squared times D; memory with N times (D + k).

    Args:
        templates: (N, D) unit templates of the teacher, clean faces.
        labels: (N,) whole numbers, the class of each; gaps are allowed.
        settings: how.

    Returns:
        The selection, in the order of the rows. Equal for permuted rows if no two cosines or scores are equal,
        except for kind `random`, which draws by row.

    Raises:
        ConfigError: no templates, shapes that disagree, templates not of unit length, or fewer than two classes.
    """
    check(templates, labels)
    index = np.unique(labels, return_inverse=True)[1]
    edges = csr_array((len(labels), len(labels)), dtype=np.float32)
    if settings.kind == "random":
        score = (np.random.default_rng([settings.seed, *b"kept"]).permutation(len(labels)) + 0.5) / len(labels)
    else:
        score = unary_score(templates, index, settings)
    if settings.kind == "graph":
        edges = mutual_edges(templates, settings.neighbours)
    ratio = 1.0 if settings.kind == "all" else settings.keep_ratio
    kept, tau = meet_ratio(score, index, edges, settings.beta, ratio)
    worthy = minimise(score - tau, edges, settings.beta)
    return Selection(kept, score.astype(np.float32), tau, float(kept.mean()), float((kept & ~worthy).mean()))


def check(templates: Floats, labels: Ints) -> None:
    """Raise ConfigError for input that `select` cannot use."""
    if templates.ndim != 2 or not templates.size:
        raise ConfigError(f"templates are {templates.shape}: give (N, D) with at least one row, one a training sample")
    if labels.shape != templates.shape[:1] or labels.dtype.kind not in "iu":
        raise ConfigError(
            f"labels are {labels.dtype} {labels.shape}: give ({len(templates)},) whole numbers, one a template"
        )
    lengths = np.sqrt(np.einsum("nd,nd->n", templates, templates, dtype=np.float64))
    wrong = ~(np.abs(lengths - 1.0) <= UNIT_TOLERANCE)  # True for NaN too
    if wrong.any():
        row = int(wrong.argmax())
        raise ConfigError(
            f"{wrong.sum()} of {len(templates)} templates are not of unit length (row {row} has {lengths[row]:.4g}): "
            "divide each by its norm"
        )
    if (labels == labels[0]).all():
        raise ConfigError(f"all labels are {labels[0]}: give at least two classes, or nothing can be confused")


def unary_score(templates: Floats, index: Ints, settings: SelectionSettings) -> NDArray[np.float64]:
    """(N,) representativeness less gamma times confusability, in [-1 - gamma, 1 + gamma].

    Args:
        templates: (N, D) unit.
        index: (N,) class in [0, C), each class with at least one sample.
        settings: gamma and the count of nearest classes.
    """
    sums = class_sums(templates, index)
    means = normalised(sums)
    near = nearest(means, settings.neighbours_of_class)[0]
    return representativeness(templates, index, sums) - settings.gamma * confusability(templates, index, means, near)


def class_sums(templates: Floats, index: Ints) -> NDArray[np.float64]:
    """(C, D) sums of the classes' templates."""
    count = len(index)
    members = csr_array((np.ones(count), (index, np.arange(count))), shape=(index.max() + 1, count))
    return np.asarray(members @ templates, dtype=np.float64)


def normalised(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, D) rows of length 1; templates that cancelled each other out stay zeros."""
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float32).tiny)


def representativeness(templates: Floats, index: Ints, sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) cosine of each template with the mean of the others of its class.

    The mean leaves out the template itself, which would else speak for itself: most where a class has few, and
    entirely where it has one. The only one of its class gets the median of the rest (0 if there is none), so that
    nothing but its confusability tells it from others.
    """
    value = np.empty(len(index))
    for rows in blocks(len(index), sums.shape[1]):
        others = normalised(sums[index[rows]] - templates[rows])
        value[rows] = np.einsum("nd,nd->n", templates[rows], others)
    alone = np.bincount(index)[index] == 1
    value[alone] = 0.0 if alone.all() else np.median(value[~alone])
    return value


def confusability(templates: Floats, index: Ints, means: NDArray[np.float64], near: Ints) -> NDArray[np.float64]:
    """(N,) largest cosine of each template with the means of the classes (C, K) `near` its own."""
    value = np.empty(len(index))
    for rows in blocks(len(index), near.shape[1] * means.shape[1]):
        value[rows] = np.einsum("nd,nkd->nk", templates[rows], means[near[index[rows]]]).max(axis=1)
    return value


def nearest(unit: Floats, count: int) -> tuple[Ints, Floats]:
    """Indices and cosines, both (N, min(count, N - 1)), of the nearest other rows; in no order."""
    total = len(unit)
    count = min(count, total - 1)
    index, cosine = np.empty((total, count), np.int64), np.empty((total, count), unit.dtype)
    for rows in blocks(total, total):
        products = unit[rows] @ unit.T
        own = np.arange(total)[rows]
        products[np.arange(len(own)), own] = -np.inf
        index[rows] = np.argpartition(products, total - count, axis=1)[:, total - count :]
        cosine[rows] = np.take_along_axis(products, index[rows], axis=1)
    return index, cosine


def mutual_edges(templates: Floats, neighbours: int) -> csr_array:
    """Symmetric (N, N) weights max(0, cosine) of samples that are among each other's k nearest."""
    index, cosine = nearest(templates, neighbours)
    total, count = index.shape
    rows = np.repeat(np.arange(total), count)
    directed = csr_array((cosine.clip(min=0.0).ravel(), (rows, index.ravel())), shape=(total, total))
    return csr_array(directed.minimum(directed.T))  # an edge in one direction only meets a zero


def energy(kept: Bools, unary: Floats, edges: csr_array, beta: float) -> float:
    """E of a choice: (N,) `kept`, (N,) `unary` = score - tau, symmetric (N, N) `edges`."""
    pairs = edges.tocoo()
    parted = kept[pairs.row] != kept[pairs.col]
    return float(-unary[kept].sum() + beta * pairs.data[parted].sum() / 2.0)  # each edge is stored twice


def minimise(unary: Floats, edges: csr_array, beta: float) -> Bools:
    """(N,) the choice of least energy, exact up to the rounding of capacities to millionths.

    Gains are capacities from the source, costs capacities to the sink, and edges join samples both ways: the
    source's side of a minimal cut is the choice. Of equally good choices it takes the smallest, which is unique
    and shrinks as tau grows.
    """
    total = len(unary)
    source, sink = total, total + 1
    gain = np.rint(SCALE * unary).astype(np.int32)
    worthy, unworthy = np.flatnonzero(gain > 0), np.flatnonzero(gain < 0)
    pairs = edges.tocoo()
    rows = np.concatenate([pairs.row, np.full(len(worthy), source), unworthy])
    columns = np.concatenate([pairs.col, worthy, np.full(len(unworthy), sink)])
    pull = np.rint(SCALE * beta * pairs.data).astype(np.int32)
    capacity = np.concatenate([pull, gain[worthy], -gain[unworthy]])
    network = csr_array((capacity, (rows, columns)), shape=(total + 2, total + 2))
    residual = network - maximum_flow(network, source, sink).flow
    residual.eliminate_zeros()  # a full arc left in would still be walked
    kept = np.zeros(total + 2, dtype=bool)
    kept[breadth_first_order(residual, source, return_predecessors=False)] = True
    return kept[:total]


def meet_ratio(score: Floats, index: Ints, edges: csr_array, beta: float, ratio: float) -> tuple[Bools, float]:
    """The choice whose share is nearest to `ratio`, and its tau.

    Bisection is sound: as tau grows the choice only shrinks, and a class that runs empty keeps its best sample.
    """
    best_of_class = tops(score, index)
    wanted = round(ratio * len(score))
    low, high = math.floor(SCALE * score.min()) - 1, math.ceil(SCALE * score.max())
    found, found_tau = np.ones(len(score), dtype=bool), low  # below every score all are kept
    tau = high
    while high - low > 1 and found.sum() != wanted:
        kept = one_of_each(minimise(score - tau / SCALE, edges, beta), index, best_of_class)
        if abs(kept.sum() - wanted) < abs(found.sum() - wanted):
            found, found_tau = kept, tau
        low, high = (tau, high) if kept.sum() > wanted else (low, tau)
        tau = (low + high) // 2
    return found, found_tau / SCALE


def tops(score: Floats, index: Ints) -> Ints:
    """(C,) the row with the highest score of each class."""
    order = np.lexsort((score, index))
    return order[np.append(np.flatnonzero(np.diff(index[order])), len(order) - 1)]


def one_of_each(kept: Bools, index: Ints, best_of_class: Ints) -> Bools:
    """(N,) the choice, with the best sample of each class of which none was kept."""
    bare = np.bincount(index[kept], minlength=len(best_of_class)) == 0
    filled = kept.copy()
    filled[best_of_class[bare]] = True
    return filled
