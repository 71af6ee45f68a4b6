"""One-to-many search in a closed set: is the most similar template the probe's own subject?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def split_gallery(subjects: Ints) -> tuple[Ints, Ints]:
    """One template for each subject that also has a probe.

    Args:
        subjects: (N,) subject of each face.

    Returns:
        Ascending rows of the gallery (the first face of every subject with at least two) and of the probes
        (the other faces of these subjects). Subjects with one face are in neither.
    """
    _, first, code, counts = np.unique(subjects, return_index=True, return_inverse=True, return_counts=True)
    searchable = counts >= 2
    is_template = np.zeros(len(subjects), dtype=np.bool_)
    is_template[first[searchable]] = True
    return np.flatnonzero(is_template), np.flatnonzero(searchable[code] & ~is_template)


def rank1(
    gallery: NDArray[np.floating],
    gallery_subject: Ints,
    probes: NDArray[np.floating],
    probe_subject: Ints,
    block: int = 1024,
) -> NDArray[np.bool_]:
    """Whether each probe's best own template scores strictly above every template of other subjects.

    A tie is a miss, so that a collapsed model (all embeddings equal) scores 0 and not the luck of the order.

    Args:
        gallery: (G, D) unit templates, one or more a subject.
        gallery_subject: (G,) their subjects.
        probes: (P, D) unit embeddings.
        probe_subject: (P,) their subjects.
        block: probes scored at once; memory is block * G, whatever P is.

    Returns:
        (P,) hits; their mean is the rank-1 identification rate.

    Raises:
        ValueError: a probe's subject has no template, or an embedding is not finite.
    """
    if not np.isin(probe_subject, gallery_subject).all():
        raise ValueError("closed-set search: every probe's subject needs a template in the gallery")
    if not (np.isfinite(gallery).all() and np.isfinite(probes).all()):
        raise ValueError("an embedding is NaN or infinite")
    hits = np.empty(len(probes), dtype=np.bool_)
    for start in range(0, len(probes), block):
        part = slice(start, start + block)
        scores = probes[part] @ gallery.T
        own = probe_subject[part, None] == gallery_subject[None, :]
        best_own = np.max(scores, axis=1, where=own, initial=-np.inf)
        hits[part] = best_own > np.max(scores, axis=1, where=~own, initial=-np.inf)
    return hits
