from __future__ import annotations

import hashlib

import numpy as np

from stages.lib.degrade.keys import draws


def test_the_numbers_are_the_documented_hash_of_the_key() -> None:
    word = int.from_bytes(hashlib.shake_128(b"5/blur/abc").digest(16)[8:], "little")
    assert draws(5, ["abc"], "blur", 2)[0, 1] == (word >> 11) / 2**53


def test_numbers_belong_to_the_face_the_seed_and_the_stream() -> None:
    ids = [f"f{i}" for i in range(50)]
    u = draws(1, ids, "blur", 3)
    assert np.array_equal(draws(1, ids[::-1], "blur", 3)[::-1], u)
    assert np.array_equal(draws(1, ids[7:8], "blur", 3), u[7:8])
    assert np.array_equal(draws(1, ids, "blur", 9)[:, :3], u), "a longer draw must extend a shorter one"
    for other in (draws(2, ids, "blur", 3), draws(1, ids, "noise", 3)):
        assert not np.isin(other, u).any()


def test_the_numbers_are_uniform() -> None:
    u = np.sort(draws(3, [str(i) for i in range(20_000)], "x", 1)[:, 0])
    assert u[0] >= 0 and u[-1] < 1
    deviation = np.abs(u - (np.arange(20_000) + 0.5) / 20_000).max()
    assert deviation < 1.63 / np.sqrt(20_000), "Kolmogorov-Smirnov at the 1 % level"
