"""How seldom a quiet window may breach, and when an alarm begins and ends."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.lib.drift.verdict import Finding, alpha_for, causes, episodes, onset_rate

STILL = (0.0, 0.5, 1.0)


@pytest.mark.parametrize(("breach", "k", "n"), [(0.06, 2, 3), (0.3, 1, 1), (0.2, 3, 5), (0.1, 2, 2)])
def test_alarms_come_as_often_as_in_a_long_simulation(breach: float, k: int, n: int) -> None:
    breaches = np.random.default_rng(5).random(200_000) < breach
    simulated = len(episodes(breaches.tolist(), [(k, n)] * len(breaches))) / len(breaches)
    assert onset_rate(breach, k, n) == pytest.approx(simulated, rel=0.05)


@pytest.mark.parametrize(("hours", "streams", "k", "n"), [(24, 5, 2, 3), (1, 20, 3, 4), (24, 1, 1, 1)])
def test_the_chance_of_a_breach_gives_the_chosen_rate(hours: int, streams: int, k: int, n: int) -> None:
    alpha = alpha_for(1.0, hours, streams, k, n)
    assert onset_rate(alpha, k, n) * streams * 30 * 24 / hours == pytest.approx(1.0, rel=1e-4)


def test_a_rate_that_nothing_reaches_gives_the_chance_that_comes_nearest() -> None:
    assert 0 < alpha_for(30.0, 24, 1, 3, 3) <= 0.5


@given(st.lists(st.booleans(), max_size=40), st.integers(1, 3), st.integers(0, 3))
def test_an_alarm_begins_at_k_of_n_and_ends_when_all_n_are_quiet(breaches: list[bool], k: int, more: int) -> None:
    n = k + more
    on, expected = False, []
    for at in range(len(breaches)):
        recent = [i for i in range(max(0, at - n + 1), at + 1) if breaches[i]]
        if not on and len(recent) >= k:
            on = True
            expected.append([recent[0], at, None])
        elif on and not recent:
            on = False
            expected[-1][2] = at
    assert [[one.since, one.raised, one.ended] for one in episodes(breaches, [(k, n)] * len(breaches))] == expected


def test_windows_of_another_rule_raise_no_alarm_and_end_none() -> None:
    breaches = [False, True, False, True, False, False, False, True]
    rules = [(2, 2)] * 3 + [(1, 2)] * 5  # a breach was likelier when two of them were asked for
    assert [(one.since, one.raised, one.ended) for one in episodes(breaches, rules)] == [(3, 3, 5), (7, 7, None)]
    assert episodes([True, True], [(2, 2), (2, 3)]) == []


def test_what_a_capture_is_like_goes_before_what_the_model_makes_of_it() -> None:
    norm = Finding("norm", "wasserstein", 9.0, 1.0, 0.001, STILL, STILL)
    blur = Finding("q_sharpness", "psi", 4.0, 1.0, 0.001, (3.0, 4.2, 5.0), (5.0, 6.1, 7.0))
    slight = Finding("q_contrast", "psi", 1.1, 1.0, 0.01, STILL, STILL)
    found = causes([[norm, slight], [norm, blur, slight], [norm, blur]])
    assert [one.column for one in found] == ["q_sharpness", "q_contrast", "norm"]
    assert found[0].words == "sharpness fell from 6.1 to 4.2 (median)"
    assert causes([[norm]])[0].column == "norm"


def test_a_change_of_few_faces_is_told_by_the_tail() -> None:
    tail = Finding("occlusion", "tail_high", 0.3, 0.1, 0.001, (0.0, 0.01, 0.4), (0.0, 0.01, 0.05))
    assert tail.words == "occlusion lies above 0.05 in 30 % of the faces, where 5 % or fewer did"


@pytest.mark.parametrize(
    ("now", "words"),
    [
        ((0.0, 0.01, 0.4), "occlusion rose from 0.05 to 0.4 (95 % quantile)"),
        ((-0.2, 0.01, 0.05), "occlusion fell from 0 to -0.2 (5 % quantile)"),
        ((0.0, 0.01, 0.05), "occlusion is distributed otherwise than before"),
    ],
)
def test_a_change_that_leaves_the_median_is_told_by_the_end_that_moved(
    now: tuple[float, float, float], words: str
) -> None:
    assert Finding("occlusion", "wasserstein", 0.6, 0.5, 0.001, now, (0.0, 0.01, 0.05)).words == words
