from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from stages.lib import executor
from stages.lib.errors import ConfigError
from stages.lib.selection import graph
from stages.lib.selection.graph import (
    Floats,
    Ints,
    SelectionSettings,
    energy,
    meet_ratio,
    minimise,
    mutual_edges,
    select,
)

KINDS = ("graph", "unary", "random")


def faces(samples: int = 600, size: int = 16, classes: int = 30, seed: int = 0) -> tuple[Floats, Ints]:
    """Classes of unequal noise; labels with gaps."""
    draw = np.random.default_rng(seed)
    labels = np.append(np.arange(classes), draw.integers(classes, size=samples - classes))
    centres, noise = draw.standard_normal((classes, size)), draw.uniform(0.3, 1.5, (classes, 1))
    templates = centres[labels] + noise[labels] * draw.standard_normal((samples, size))
    templates /= np.linalg.norm(templates, axis=1, keepdims=True)
    return templates.astype(np.float32), 3 * labels + 7


def scores_in_loops(templates: Floats, labels: Ints, gamma: float, nearest: int) -> list[float]:
    means = {}
    for label in sorted(set(labels.tolist())):
        total = sum(row.astype(np.float64) for row in templates[labels == label])
        means[label] = total / np.linalg.norm(total)
    scores = []
    for row, (template, label) in enumerate(zip(templates, labels.tolist(), strict=True)):
        rest = [i for i in np.flatnonzero(labels == label).tolist() if i != row]
        mean = np.mean([templates[i].astype(np.float64) for i in rest], axis=0)
        representative = float(template @ mean) / float(np.linalg.norm(mean))
        others = sorted((c for c in means if c != label), key=lambda c: -float(means[label] @ means[c]))
        confusable = max(float(template @ means[c]) for c in others[:nearest])
        scores.append(representative - gamma * confusable)
    return scores


def edges_in_loops(templates: Floats, neighbours: int) -> dict[tuple[int, int], float]:
    cosine = templates.astype(np.float64) @ templates.T
    near = [
        sorted((j for j in range(len(row)) if j != i), key=lambda j: -row[j])[:neighbours]
        for i, row in enumerate(cosine.tolist())
    ]
    pairs = ((i, j) for i, listed in enumerate(near) for j in listed if i in near[j])
    return {(i, j): cosine[i, j] for i, j in pairs if cosine[i, j] > 0}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "BLOCK", 5_000)  # so that several blocks meet, the last one short


def test_scores_equal_the_plain_loops() -> None:
    templates, labels = faces(samples=100, classes=8)
    for gamma, nearest in ((1.0, 3), (0.4, 10)):  # ten is more than there are other classes
        settings = SelectionSettings(0.5, "unary", gamma=gamma, neighbours_of_class=nearest)
        expected = scores_in_loops(templates, labels, gamma, nearest)
        np.testing.assert_allclose(select(templates, labels, settings).score, expected, atol=1e-6)


def test_the_only_template_of_its_class_has_no_say_in_its_own_favour() -> None:
    turns = np.deg2rad([0.0, 10.0, 30.0, 90.0, 200.0])  # three of one class, then two people with one picture each
    templates, labels = np.stack([np.cos(turns), np.sin(turns)], axis=1), np.array([0, 0, 0, 1, 2])
    index = np.unique(labels, return_inverse=True)[1]
    found = graph.representativeness(templates, index, graph.class_sums(templates, index))
    expected = np.cos(np.deg2rad([20.0, 5.0, 25.0]))
    np.testing.assert_allclose(found[:3], expected)
    np.testing.assert_allclose(found[3:], np.median(expected))
    alone = np.arange(5)
    assert not graph.representativeness(templates, alone, graph.class_sums(templates, alone)).any()


def test_forced_are_those_that_stand_for_a_class_left_bare() -> None:
    templates, labels = faces()
    selection = select(templates, labels, SelectionSettings(0.5, "unary"))
    worthy = selection.score > selection.tau
    assert selection.forced == pytest.approx((selection.kept & ~worthy).mean())
    assert select(templates, labels, SelectionSettings(1.0)).forced == 0.0


def test_edges_join_mutual_neighbours_with_their_cosine() -> None:
    templates, _ = faces(samples=120)
    found, expected = mutual_edges(templates, 4).tocoo(), edges_in_loops(templates, 4)
    weights = dict(zip(zip(found.row.tolist(), found.col.tolist(), strict=True), found.data.tolist(), strict=True))
    assert 0 < len(expected) < 120 * 4
    assert weights == pytest.approx(expected, abs=1e-6)
    turns = np.deg2rad([0.0, 120.0, 240.0])
    assert mutual_edges(np.stack([np.cos(turns), np.sin(turns)], axis=1), 9).nnz == 0  # opposed faces do not pull


@pytest.mark.parametrize("seed", range(30))
def test_the_cut_equals_brute_force(seed: int) -> None:
    draw = np.random.default_rng(seed)
    upper = np.triu(draw.uniform(size=(10, 10)) * (draw.uniform(size=(10, 10)) < 0.4), 1)
    unary, beta = draw.normal(size=10), draw.choice([0.1, 0.5, 2.0])

    def in_loops(choice: tuple[bool, ...]) -> float:
        pull = sum(upper[i, j] for i, j in itertools.combinations(range(10), 2) if choice[i] != choice[j])
        return float(beta * pull - sum(u for u, kept in zip(unary, choice, strict=True) if kept))

    best = min(itertools.product([False, True], repeat=10), key=in_loops)
    edges = csr_array(upper + upper.T)
    kept = minimise(unary, edges, beta)
    assert tuple(kept.tolist()) == best
    assert energy(kept, unary, edges, beta) == pytest.approx(in_loops(best))


def test_neighbours_pull_a_doubtful_sample_in_but_not_a_bad_one() -> None:
    chain = csr_array(np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], dtype=np.float64))
    assert minimise(np.array([0.5, -0.1, 0.5]), chain, 0.1).tolist() == [True, True, True]
    assert minimise(np.array([0.5, -0.3, 0.5]), chain, 0.1).tolist() == [True, False, True]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.8])
def test_share_is_met_with_one_of_each_class(kind: Any, ratio: float) -> None:
    templates, labels = faces()
    selection = select(templates, labels, SelectionSettings(ratio, kind, beta=0.02))
    assert selection.ratio == selection.kept.mean() == pytest.approx(ratio, abs=0.01)
    assert set(labels[selection.kept]) == set(labels)


def test_share_that_neighbours_make_jump_comes_as_near_as_it_can() -> None:
    score, classes = np.linspace(0.1, 0.9, 10), np.arange(10) % 2
    welded = csr_array(1.0 - np.eye(10))  # all or none, and one of each class instead of none
    assert meet_ratio(score, classes, welded, 10.0, 0.5)[0].nonzero()[0].tolist() == [8, 9]
    assert meet_ratio(score, classes, welded, 10.0, 0.7)[0].all()


@pytest.mark.parametrize("kind", KINDS)
def test_class_of_which_nothing_is_worthy_keeps_its_best(kind: Any) -> None:
    templates, labels = faces(classes=200)
    selection = select(templates, labels, SelectionSettings(0.01, kind))  # less than one of each class
    assert selection.ratio == 200 / 600
    for label in set(labels.tolist()):
        of_class = np.flatnonzero(labels == label)
        assert selection.kept[of_class].argmax() == selection.score[of_class].argmax()


def test_unary_is_thresholding() -> None:
    templates, labels = faces()
    selection = select(templates, labels, SelectionSettings(0.5, "unary"))
    worthy = selection.score > selection.tau
    added = selection.kept & ~worthy
    assert selection.kept[worthy].all()
    assert not np.isin(labels[added], labels[worthy]).any()  # they stand for classes left without any
    assert select(templates, labels, SelectionSettings(0.5, beta=0.0)).kept.tolist() == selection.kept.tolist()


def test_the_graph_changes_the_choice_and_lowers_the_energy() -> None:
    templates, labels = faces()
    chosen, plain = (select(templates, labels, SelectionSettings(0.5, kind)) for kind in ("graph", "unary"))
    edges, unary = mutual_edges(templates, 5), chosen.score - chosen.tau
    assert (chosen.kept != plain.kept).any()
    assert energy(chosen.kept, unary, edges, 0.1) < energy(plain.kept, unary, edges, 0.1)


def test_order_of_the_rows_does_not_matter() -> None:
    templates, labels = faces()
    order = np.random.default_rng(1).permutation(len(labels))
    settings = SelectionSettings(0.5, beta=0.02)
    one, other = select(templates, labels, settings), select(templates[order], labels[order], settings)
    assert one.kept[order].tolist() == other.kept.tolist()
    assert one.tau == other.tau


def test_controls_keep_all_or_draw_by_seed() -> None:
    templates, labels = faces()
    assert select(templates, labels, SelectionSettings(0.2, "all")).kept.all()
    settings = SelectionSettings(0.5, "random", seed=1)
    drawn, again, other = (
        select(templates, labels, used).kept.tolist() for used in (settings, settings, replace(settings, seed=2))
    )
    assert drawn == again != other


@pytest.mark.parametrize(
    ("change", "fix"),
    [
        ({"keep_ratio": 0.0}, "above 0 and at most 1"),
        ({"keep_ratio": 1.01}, "above 0 and at most 1"),
        ({"keep_ratio": float("nan")}, "above 0 and at most 1"),
        ({"kind": "best"}, "graph, unary, random, all"),
        ({"beta": -0.1}, "beta .* give 0 to 100"),
        ({"gamma": 1e9}, "gamma .* give 0 to 100"),
        ({"neighbours": 0}, "neighbours .* at least 1"),
    ],
)
def test_settings_out_of_range_name_the_range(change: dict[str, Any], fix: str) -> None:
    with pytest.raises(ConfigError, match=fix):
        SelectionSettings(**({"keep_ratio": 0.5} | change))


def test_input_that_cannot_be_used_names_the_fix() -> None:
    templates, labels = faces(samples=40)
    broken = templates.copy()
    broken[3] *= 2.0
    for bad_templates, bad_labels, fix in (
        (templates[:0], labels[:0], "at least one row"),
        (broken, labels, r"1 of 40 .*row 3 has 2\).*divide each by its norm"),
        (templates * np.nan, labels, "40 of 40 .*divide each by its norm"),
        (templates, labels[:-1], r"give \(40,\) whole numbers"),
        (templates, labels / 2, r"give \(40,\) whole numbers"),
        (templates, labels * 0, "at least two classes"),
    ):
        with pytest.raises(ConfigError, match=fix):
            select(bad_templates, bad_labels, SelectionSettings(0.5))
