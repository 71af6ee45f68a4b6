"""Pairs of all cells of a group under one threshold, and the smaller quality of the two faces."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import rankdata

from stages.lib.deploy.session import Inspection
from stages.lib.metrics.edc import error_versus_discard, error_versus_discard_refitted
from stages.lib.report.conditions import Condition, Grid
from stages.lib.report.discard import GROUPS, groups_of, mean_by_pose, mean_qualities, measure_discard, qualities_of
from stages.lib.report.trial import Trial

ROWS = np.array([5, 3, 0, 1, 2, 4, 6, 7])  # the grid has 8 of 9 clean faces, in another order
CELLS = (("blur", 1), ("box_only", 2), ("misalignment", 1))


@pytest.fixture
def grid() -> Grid:
    clean = Condition("clean", "clean", 0, ROWS, None)
    cells = [
        Condition(f"{operator}-{severity}", operator, severity, ROWS, np.arange(8) + 8 * place)
        for place, (operator, severity) in enumerate(CELLS)
    ]
    return Grid((Condition("clean_all", "clean", 0, np.arange(9), None), clean, *cells), 8, 1)


@pytest.fixture
def trial() -> Trial:
    return Trial.of(np.array([0, 0, 0, 1, 1, 2, 2, 2]), 100, 20, 0)


def test_areas_equal_pairs_gathered_in_loops(grid: Grid, trial: Trial) -> None:
    draw = np.random.default_rng(3)
    pairs = trial.protocol
    names = ("clean", *(cell.name for cell in grid.degraded))
    scores = {name: draw.uniform(size=len(pairs.left)).astype(np.float32) for name in names}
    clean, degraded = ({"norm": draw.uniform(5, 9, count).astype(np.float32)} for count in (9, 24))
    found, curves = measure_discard(scores, clean, degraded, grid, trial, 0.3)
    assert tuple(found) == GROUPS
    assert [(curve.technique, curve.group) for curve in curves] == [("norm", group) for group in GROUPS]
    impostors = np.concatenate([scores[name][~pairs.genuine] for name in names])
    every = np.sort(np.concatenate(list(scores.values())))
    threshold = next(t for t in every if np.mean(impostors >= t) <= 0.3)  # one for both groups
    of_cells = {"aligned": names[:2], "misaligned": ("clean", *names[2:]), "quality misaligned": names[2:]}
    for group, members in of_cells.items():
        mated, quality, others = [], [], []
        for name in members:
            cell = next(c for c in grid.conditions if c.name == name)
            said = "clean" if group == "quality misaligned" else name
            for left, right, genuine, score in zip(pairs.left, pairs.right, pairs.genuine, scores[said], strict=True):
                probe = clean["norm"][ROWS[right]] if cell.probes is None else degraded["norm"][cell.probes[right]]
                told = min(clean["norm"][ROWS[left]], probe)
                if genuine:
                    mated.append(score)
                    quality.append(told)
                else:
                    others.append((score, told))
        refitted, _ = error_versus_discard_refitted(*map(np.array, (mated, quality, *zip(*others, strict=True))), 0.3)
        curve = error_versus_discard(np.array(mated, float), np.array(quality, float), float(threshold))
        values = found[group].values
        assert values["fnmr_undiscarded"] == pytest.approx(np.mean(np.array(mated) < threshold))
        assert values["norm_npauc@0.2"] == pytest.approx(curve.normalised_area(0.2))
        assert values["norm_npauc@0.3"] == pytest.approx(curve.normalised_area(0.3))
        assert values["norm_npauc_refitted@0.3"] == pytest.approx(refitted.normalised_area(0.3))
        best = error_versus_discard(np.array(mated, float), np.array(mated, float), float(threshold))
        assert values["oracle_npauc@0.3"] == pytest.approx(best.normalised_area(0.3))
        assert values["oracle_npauc@0.3"] <= values["norm_npauc@0.3"]
        ranks = np.corrcoef(rankdata(quality), rankdata(mated))[0, 1]
        assert values["norm_correlation"] == pytest.approx(ranks)
        assert {len(own) for own in found[group].replicates.values()} == {20}


def test_quality_is_held_against_the_norm_pair_by_pair(grid: Grid, trial: Trial) -> None:
    draw = np.random.default_rng(5)
    scores = {c.name: draw.uniform(size=len(trial.protocol.left)).astype(np.float32) for c in grid.conditions[1:]}
    sides = [{t: draw.uniform(size=count).astype(np.float32) for t in ("norm", "quality")} for count in (9, 24)]
    worth = measure_discard(scores, *sides, grid, trial, 0.3)[0]["misaligned"]
    for figures in (worth.values, worth.replicates):
        gap = figures["quality_npauc@0.2"] - figures["norm_npauc@0.2"]
        np.testing.assert_allclose(figures["beyond_norm_npauc@0.2"], gap)
    assert worth.values["resolved"] == 0.0  # fewer than twenty pairs can miss
    same = measure_discard(scores, *({**s, "quality": s["norm"]} for s in sides), grid, trial, 0.3)[0]["aligned"]
    assert not np.nan_to_num(same.replicates["beyond_norm_npauc@0.3"]).any()


def test_a_group_without_cells_is_absent(grid: Grid) -> None:
    straight = Grid(grid.conditions[:3], 8, 1)
    assert set(groups_of(straight)) == {"aligned"}
    assert groups_of(Grid(grid.conditions[:2], 8, 1)) == {}


def test_means_are_of_the_faces_of_the_grid(grid: Grid, trial: Trial) -> None:
    said = [Inspection(np.empty((n, 2)), np.arange(n, dtype=np.float32), None, np.arange(n) / n) for n in (9, 24)]
    means = mean_qualities(*map(qualities_of, said), grid, trial)
    assert means["clean"].values == {"norm_mean": 3.5, "quality_mean": pytest.approx(3.5 / 9)}
    assert means["box_only-2"].values == {"norm_mean": 11.5, "quality_mean": pytest.approx(11.5 / 24)}
    assert qualities_of(Inspection(np.empty((1, 2)), np.ones(1))).keys() == {"norm"}


def test_means_by_pose_are_of_the_turned_faces(trial: Trial) -> None:
    turned = replace(trial, probes=np.array([1, 4, 6]))
    told = {None: {"norm": np.arange(8.0)}, "fasseg": {"norm": -np.arange(8.0)}}
    found = mean_by_pose(told, {None: {"yaw_15-30": turned}, "fasseg": {"transfer_fasseg_yaw_60-90": turned}})
    assert {name: m.values["norm_mean"] for name, m in found.items()} == {
        "yaw_15-30": pytest.approx(11 / 3),
        "transfer_fasseg_yaw_60-90": pytest.approx(-11 / 3),
    }
    drawn = turned.weights[:, turned.subject[turned.probes]]
    expected = (drawn * [1, 4, 6]).sum(axis=1) / drawn.sum(axis=1)
    np.testing.assert_allclose(found["yaw_15-30"].replicates["norm_mean"], expected)
