"""Two models whose errors are chosen cell by cell: the verdict, and its figures against plain loops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from stages.lib import challenge
from stages.lib.challenge import Judgement, judge
from stages.lib.codec import encode_png
from stages.lib.deploy.session import Inspection
from stages.lib.errors import ConfigError
from stages.lib.metrics.bootstrap import subject_weights
from stages.lib.table import Table, conform

PEOPLE, SHOTS, CELLS, FMR = 20, 3, 3, 0.05  # a cell is 0 for clean faces, else the severity of a noise


class Stub:
    """Reads person, shot and cell from a face's colour and embeds the person, off by so much in each cell.

    The harder the cell, the lower the quality.
    """

    def __init__(self, version: str, off: Sequence[float], seed: int = 0) -> None:
        self.contract: Any = SimpleNamespace(version=version, own_quality="quality")
        self.off, self.seed = off, seed

    def inspect(self, faces: np.ndarray) -> Inspection:
        about = faces[:, 0, 0].astype(int)
        raw = np.stack([self.one(*face) for face in about]).astype(np.float32)
        quality = 1 - (about[:, 2] + about[:, 1] / 10) / CELLS
        return Inspection(raw, np.ones(len(raw), np.float32), None, quality.astype(np.float32))

    def one(self, person: int, shot: int, cell: int) -> np.ndarray:
        own = np.random.default_rng([1, person]).normal(size=16)
        other = np.random.default_rng([2, person, shot, cell, self.seed]).normal(size=16)
        raw = own + self.off[cell] * other
        return raw / np.linalg.norm(raw)


def face(person: int, shot: int, cell: int) -> dict[str, Any]:
    parent = f"{person:03d}-{shot}"
    row = {
        "face_id": f"{parent}-{cell}" if cell else parent,
        "subject_id": f"p{person}",
        "source": "made",
        "name": parent,
        "licence": "CC0-1.0",
        "split": "test",
        "image": encode_png(np.full((112, 112, 3), (person, shot, cell), np.uint8)),
        "width": 112,
        "height": 112,
    }
    made = {"parent_id": parent, "d_operator": "noise", "d_severity": cell, "d_params": "{}", "d_seed": 1}
    return row | made if cell else row


Tables = tuple[Table, Table]


@pytest.fixture
def tables(make_table: Callable[..., Table]) -> Tables:
    def table(name: str, cells: Sequence[int]) -> Table:
        rows = [face(p, s, c) for p in range(PEOPLE) for s in range(SHOTS) for c in cells]
        return make_table(conform(pa.Table.from_pylist(rows)), name)

    return table("aligned", [0]), table("grid", range(1, CELLS))


def judged(tables: Tables, champion: Stub, challenger: Stub, **given: Any) -> Judgement:
    return judge(champion, challenger, *tables, **{"fmr": FMR, "in_use": 0.5, "bands": 3, "replicates": 200, **given})


def test_a_model_is_not_better_than_itself(tables: Tables) -> None:
    found = judged(tables, Stub("a", [0.3, 0.6, 1.2]), Stub("a", [0.3, 0.6, 1.2]))
    assert not found.promote and "not surely better" in found.reason
    everything = [found.overall, found.clean, *found.bands, *found.cells]
    assert {(one.difference, one.low, one.high) for one in everything} == {(0.0, 0.0, 0.0)}
    assert [one.name for one in found.cells] == ["noise-1", "noise-2"]
    assert set(found.migration.shares.values()) == {0.0}


def test_a_surely_better_challenger_is_promoted(tables: Tables) -> None:
    found = judged(tables, Stub("noisy", [0.8, 1.2, 2.0]), Stub("clear", [0.2, 0.4, 0.8], seed=1))
    assert found.promote, found.reason
    assert found.overall.high < 0 and found.champion_threshold != found.challenger_threshold
    assert found.migration.genuine_gained > found.migration.genuine_lost
    assert Judgement.model_validate_json(found.model_dump_json()) == found


def test_one_that_is_better_overall_and_worse_on_the_worst_faces_is_held(tables: Tables) -> None:
    found = judged(tables, Stub("even", [1.1, 1.4, 0.5]), Stub("brittle", [0.1, 0.1, 2.5], seed=1))
    assert found.overall.better and found.bands[0].worse and not found.promote
    assert "surely worse: band 1, quality below" in found.reason and "not surely better" not in found.reason


def test_one_that_is_worse_on_clean_faces_is_held(tables: Tables) -> None:
    found = judged(tables, Stub("even", [0.3, 1.6, 1.6]), Stub("odd", [0.9, 0.2, 0.2], seed=1), bands=1)
    assert found.overall.better and "surely worse: clean" in found.reason and not found.promote


def refused(scores: np.ndarray, weights: np.ndarray, fmr: float) -> float:
    """The highest impostor that must not pass if no more than a share of their weight may."""
    accepted = 0
    for i in np.argsort(scores)[::-1]:  # no two scores are equal here
        accepted += weights[i]
        if accepted > fmr * weights.sum():
            return float(scores[i])
    return -1.0


def test_figures_are_those_of_loops(tables: Tables) -> None:
    models = [Stub("a", [0.5, 0.9, 1.4]), Stub("b", [0.4, 1.0, 1.1], seed=1)]
    found = judged(tables, *models, replicates=30, seed=3, in_use=0.4)
    faces = [(p, s) for p in range(PEOPLE) for s in range(SHOTS)]
    pairs = [(a, b, cell) for cell in range(CELLS) for a, b in combinations(faces, 2)]
    genuine = np.array([a[0] == b[0] for a, b, _ in pairs])
    scores = [np.array([m.one(*a, 0) @ m.one(*b, cell) for a, b, cell in pairs], np.float32) for m in models]
    names = sorted(f"p{p}" for p in range(PEOPLE))
    code = {p: names.index(f"p{p}") for p in range(PEOPLE)}
    left, right = (np.array([code[pair[side][0]] for pair in pairs]) for side in (0, 1))
    quality = np.array([1 - (cell + b[1] / 10) / CELLS for _, b, cell in pairs], np.float32)
    edges = np.quantile(quality[genuine].astype(float), [1 / 3, 2 / 3])
    groups = {
        "overall": genuine,
        "clean": genuine & np.array([cell == 0 for *_, cell in pairs]),
        "lowest": genuine & (quality < edges[0]),
    }

    def fnmr(of: np.ndarray, weights: np.ndarray, group: np.ndarray) -> float:
        both = weights[left] * weights[right]
        missed = of[group] <= refused(of[~genuine], both[~genuine], FMR)
        drawn = weights[left[group]]
        return float((drawn * missed).sum() / drawn.sum())

    for one, group in zip((found.overall, found.clean, found.bands[0]), groups.values(), strict=True):
        rates = [fnmr(of, np.ones(PEOPLE, int), group) for of in scores]
        assert (one.champion, one.challenger) == pytest.approx(rates)
        assert one.difference == pytest.approx(rates[1] - rates[0])
        resampled = [fnmr(scores[1], w, group) - fnmr(scores[0], w, group) for w in subject_weights(PEOPLE, 30, seed=3)]
        assert (one.low, one.high) == pytest.approx(tuple(np.quantile(resampled, [0.025, 0.975])))
        assert (one.pairs, one.people) == (group.sum(), PEOPLE)

    moved = found.migration
    before = scores[0] >= 0.4
    assert moved.fmr == pytest.approx(before[~genuine].mean())
    after = scores[1] > refused(scores[1][~genuine], np.ones((~genuine).sum()), moved.fmr)
    assert (moved.genuine, moved.impostors) == (genuine.sum(), (~genuine).sum())
    assert (moved.genuine_lost, moved.genuine_gained) == (
        (genuine & before & ~after).sum(),
        (genuine & after & ~before).sum(),
    )
    assert (moved.impostors_stopped, moved.impostors_let_in) == (
        (~genuine & before & ~after).sum(),
        (~genuine & after & ~before).sum(),
    )
    assert moved.people_touched == len(set(left[before != after]))


def test_how_many_impostors_are_looked_at_first_changes_nothing(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = Stub("a", [0.5, 0.9, 1.4]), Stub("b", [0.4, 1.0, 1.1], seed=1)
    found = judged(tables, *models)
    monkeypatch.setattr(challenge, "FIRST_LOOK", 0.01)
    assert judged(tables, *models) == found


def test_what_cannot_be_judged_is_refused(tables: Tables, make_table: Callable[..., Table]) -> None:
    model = Stub("a", [0.3, 0.6, 1.2])
    with pytest.raises(ConfigError, match="no threshold at FMR 1e-4"):
        judged(tables, model, model, fmr=1e-4)
    learnt = conform(pa.Table.from_pylist([{**face(0, 0, 0), "split": "train"}]))
    with pytest.raises(ConfigError, match="no test face to judge by"):
        judged((make_table(learnt, "learnt", shards=1), tables[1]), model, model)
