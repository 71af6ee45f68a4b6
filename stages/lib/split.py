"""Train, validation and test by subject: an identity is in one of them only."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping


def split_subjects(
    fixed: Mapping[str, str | None], val_fraction: float, test_fraction: float, seed: int
) -> dict[str, str]:
    """Give every subject a split that depends on the set of names, the seed and the shares, never on an order.

    Args:
        fixed: subject -> split that the source's protocol fixes, or None.
        val_fraction: share of all people; where the source fixes a split, of those outside test, taken from
            `train`.
        test_fraction: share of the people that the source leaves open.
        seed: another seed gives another split.

    Returns:
        subject -> `train`, `val` or `test`.
    """
    open_ = _shuffled([s for s, split in fixed.items() if split is None], seed)
    test = set(open_[: round(test_fraction * len(open_))])
    test |= {s for s, split in fixed.items() if split == "test"}
    val = {s for s, split in fixed.items() if split == "val"}
    rest = _shuffled([s for s in fixed if s not in test | val], seed)
    wanted = round(val_fraction * (len(open_) if len(open_) == len(fixed) else len(rest)))
    val |= set(rest[: max(0, wanted - len(val))])
    return {s: "test" if s in test else "val" if s in val else "train" for s in fixed}


def _shuffled(subjects: list[str], seed: int) -> list[str]:
    return sorted(subjects, key=lambda s: hashlib.sha256(f"{seed}:{s}".encode()).digest())
