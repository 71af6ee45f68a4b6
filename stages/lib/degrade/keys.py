"""Random numbers that belong to a face, not to a batch or a process."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Uniform = NDArray[np.float64]


def draws(seed: int, face_ids: Sequence[str], stream: str, count: int) -> Uniform:
    """Uniform numbers of each face, a function of (seed, stream, face id) alone.

    SHAKE-128 (FIPS 202) of the key is read as 64-bit words, of which the upper 53 bits are kept.

    Args:
        seed: of the run.
        face_ids: N ids.
        stream: what the numbers are for, such as an operator's name; streams are independent.
        count: numbers per face.

    Returns:
        (N, count) in [0, 1).
    """
    keys = (f"{seed}/{stream}/{face_id}".encode() for face_id in face_ids)
    data = b"".join(hashlib.shake_128(key).digest(8 * count) for key in keys)
    words = np.frombuffer(data, dtype="<u8").reshape(len(face_ids), count)
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def pick(u: Uniform, options: Sequence[str] | Sequence[int]) -> NDArray[np.generic]:
    """An option for each uniform number, all equally likely."""
    return np.asarray(options)[(u * len(options)).astype(np.intp)]


def between(u: Uniform, low: float, high: float) -> NDArray[np.float64]:
    """Uniform in [low, high] in steps of 0.001: the recorded decimals are the number that was used."""
    return np.round(low + u * (high - low), 3).astype(np.float64, copy=False)
