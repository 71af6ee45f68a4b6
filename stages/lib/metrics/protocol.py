"""Which faces are compared: every genuine pair and a bounded, seeded sample of impostor pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Protocol:
    """P comparisons of a template (left, always the clean face) with a probe (right, possibly degraded).

    One protocol serves every condition and every model, so that differences are paired.

    Attributes:
        left: (P,) rows of the template faces.
        right: (P,) rows of the probe faces; `left < right`.
        genuine: (P,) whether both faces show the same subject.
        subject_left: (P,) subject codes in [0, subjects): the place among the sorted distinct subjects.
        subject_right: (P,) as above.
        subjects: number of distinct subjects.
    """

    left: Ints
    right: Ints
    genuine: NDArray[np.bool_]
    subject_left: Ints
    subject_right: Ints
    subjects: int

    def only(self, chosen: NDArray[np.bool_]) -> Protocol:
        """Some of the (P,) pairs; subjects keep their codes, so that resamples of them serve both."""
        return Protocol(
            self.left[chosen],
            self.right[chosen],
            self.genuine[chosen],
            self.subject_left[chosen],
            self.subject_right[chosen],
            self.subjects,
        )


def all_pairs(subjects: Ints, max_impostors: int, seed: int) -> Protocol:
    """Every genuine pair, then all impostor pairs or a uniform sample of them without replacement.

    Impostor pairs are numbered without being listed, so memory grows with the pairs returned (and at most 160
    bytes for each impostor pair asked for while drawing), never with N squared.

    Args:
        subjects: (N,) subject of each face; any integers.
        max_impostors: most impostor pairs to return.
        seed: of the sample; without effect where all pairs fit.

    Raises:
        ValueError: `max_impostors` is negative.
    """
    if max_impostors < 0:
        raise ValueError(f"max_impostors={max_impostors}: give 0 or more")
    distinct, code = np.unique(subjects, return_inverse=True)
    order = np.argsort(code, kind="stable").astype(np.int64)
    faces = len(order)
    group_end = np.cumsum(np.bincount(code, minlength=len(distinct)))[code[order]]
    position = np.arange(faces, dtype=np.int64)

    # With faces grouped by subject, a face's later partners are first its own subject's, then all impostors.
    genuine_left, genuine_right = _partners(position, position + 1, group_end)
    impostors = int(np.sum(faces - group_end))
    number = _sample(impostors, max_impostors, seed)
    ends = np.cumsum(faces - group_end)
    impostor_left = np.searchsorted(ends, number, side="right")
    impostor_right = faces - (ends[impostor_left] - number)

    first = order[np.concatenate([genuine_left, impostor_left])]
    second = order[np.concatenate([genuine_right, impostor_right])]
    left, right = np.minimum(first, second), np.maximum(first, second)
    genuine = np.arange(len(left)) < len(genuine_left)
    return Protocol(left, right, genuine, code[left], code[right], len(distinct))


def pair_scores(
    protocol: Protocol, templates: NDArray[np.float32], probes: NDArray[np.float32], block: int = 65536
) -> NDArray[np.float32]:
    """Cosine of each pair, `block` pairs at a time.

    Args:
        protocol: P pairs.
        templates: (N, D) unit embeddings of the clean faces.
        probes: (N, D) unit embeddings of the same faces in the condition under test.
        block: pairs gathered at once; bounds memory only.

    Returns:
        (P,) scores in [-1, 1].
    """
    scores = np.empty(len(protocol.left), dtype=np.float32)
    for start in range(0, len(scores), block):
        part = slice(start, start + block)
        scores[part] = np.vecdot(templates[protocol.left[part]], probes[protocol.right[part]])
    return scores


def _partners(rows: Ints, first: Ints, end: Ints) -> tuple[Ints, Ints]:
    """All (row, partner) with first[row] <= partner < end[row]."""
    counts = end - first
    offset = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(rows, counts), np.repeat(first, counts) + offset


def _sample(population: int, size: int, seed: int) -> Ints:
    """Ascending distinct integers below `population`: all of them, or a uniform sample of `size`."""
    if population <= size:
        return np.arange(population, dtype=np.int64)
    drawn = np.random.default_rng(seed).choice(population, size, replace=False, shuffle=False)
    return np.sort(drawn).astype(np.int64)
