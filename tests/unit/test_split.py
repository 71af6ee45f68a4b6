"""One split a person, drawn by name and seed, in the shares that were asked for."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from stages.lib.split import split_subjects

names = st.lists(st.text(min_size=1, max_size=6), unique=True, max_size=60)
shares = st.floats(0, 1)


@given(people=names, val=shares, test=shares, seed=st.integers(0, 99), data=st.data())
def test_order_does_not_matter_and_shares_are_kept(
    people: list[str], val: float, test: float, seed: int, data: st.DataObject
) -> None:
    split = split_subjects(dict.fromkeys(people), val, test, seed)
    shuffled = data.draw(st.permutations(people))
    assert split == split_subjects(dict.fromkeys(shuffled), val, test, seed)
    count = Counter(split.values())
    assert set(split) == set(people)
    assert count["test"] == round(test * len(people))
    assert count["val"] == min(round(val * len(people)), len(people) - count["test"])


@given(
    fixed=st.dictionaries(st.text(max_size=6), st.sampled_from(["train", "val", "test", None]), max_size=60),
    val=shares,
    test=shares,
)
def test_what_the_source_fixes_stays(fixed: dict[str, str | None], val: float, test: float) -> None:
    split = split_subjects(fixed, val, test, seed=1)
    for person, wanted in fixed.items():
        if wanted in ("val", "test"):
            assert split[person] == wanted
        elif wanted == "train":
            assert split[person] in ("train", "val")  # validation comes out of the training side


def test_another_seed_is_another_split() -> None:
    people = dict.fromkeys(f"s{n}" for n in range(40))
    assert split_subjects(people, 0.1, 0.3, 1) != split_subjects(people, 0.1, 0.3, 2)
    assert Counter(split_subjects(people, 0.1, 0.3, 1).values()) == {"test": 12, "val": 4, "train": 24}
