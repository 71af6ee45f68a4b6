"""Lining up the grid, quality bands, published lists and verdicts, against plain loops."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from stages.lib.metrics.protocol import pair_scores
from stages.lib.report.bands import fnmr_by_band
from stages.lib.report.conditions import grid_of
from stages.lib.report.curves import POINTS, thinned_det
from stages.lib.report.lists import measure_list, usable_lists
from stages.lib.report.pool import differences, pooled
from stages.lib.report.trial import Measurement, Trial
from stages.lib.table import PAIRS


def _unit(rng: np.random.Generator, subject: np.ndarray, dim: int = 8, spread: float = 0.7) -> np.ndarray:
    centre = rng.normal(size=(subject.max() + 1, dim))
    raw = centre[subject] + spread * rng.normal(size=(len(subject), dim))
    return (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)


def test_cells_hold_the_same_faces_in_the_same_order():
    clean = pa.array(["a", "b", "c", "d"])
    rows = [("b", "blur", 2), ("c", "blur", 2), ("a", "blur", 1), ("c", "blur", 1), ("b", "blur", 1), ("x", "blur", 1)]
    table = pa.table(dict(zip(("parent_id", "d_operator", "d_severity"), zip(*rows, strict=True), strict=True)))
    grid = grid_of(clean, table)
    assert [c.name for c in grid.conditions] == ["clean_all", "clean", "blur-1", "blur-2"]
    assert (grid.faces, grid.incomplete) == (2, 1)  # a lacks blur 2, d was never degraded, x is no test face
    for cell in grid.degraded:
        for template, probe in zip(cell.templates, cell.probes, strict=True):
            assert rows[probe] == (clean[template].as_py(), cell.operator, cell.severity)


def test_without_a_grid_only_clean_faces_are_compared():
    empty = pa.table({"parent_id": pa.array([], pa.string()), "d_operator": [], "d_severity": []})
    grid = grid_of(pa.array(["a", "b"]), empty)
    assert [c.name for c in grid.conditions] == ["clean_all", "clean"]
    assert grid.faces == 2


def test_bands_count_every_genuine_pair_once_a_probe():
    rng = np.random.default_rng(1)
    subject = np.repeat(np.arange(9), 5)
    faces = _unit(rng, subject)
    trial = Trial.of(subject, 1000, 30, 0)
    quality = {"q_sharpness": rng.normal(size=len(subject)), "q_constant": np.ones(len(subject))}
    scores = pair_scores(trial.protocol, faces, faces)
    bands = fnmr_by_band(scores, trial, quality, threshold=0.5)
    assert [b.column for b in bands] == ["q_sharpness"] * 4
    for band in bands:
        missed = []
        for i in range(len(subject)):
            for probe in range(len(subject)):
                inside = band.low <= quality["q_sharpness"][probe] <= band.high
                if i != probe and subject[i] == subject[probe] and inside:
                    missed.append(float(faces[min(i, probe)] @ faces[max(i, probe)]) < 0.5)
        assert band.pairs == len(missed)
        assert band.fnmr.value == pytest.approx(np.mean(missed))
        assert band.fnmr.low <= band.fnmr.value <= band.fnmr.high
    assert sum(b.pairs for b in bands) == 2 * trial.protocol.genuine.sum()


def test_lists_are_used_skipped_or_cut_with_a_reason():
    rng = np.random.default_rng(2)
    subject = np.repeat(np.arange(4), 3)
    names = [f"t{i}" for i in range(12)]
    row = {name: i for i, name in enumerate(names)}
    split = dict.fromkeys(names, "test") | {"trained": "train"}
    some = [("good", names[i], names[j], bool(subject[i] == subject[j]), i % 2) for i in range(12) for j in range(i)]
    mostly_gone = [
        ("gone", "nobody", "noone", False, 0),
        ("gone", "nobody", "t0", False, 0),
        ("gone", "t1", "t0", True, 0),
    ]
    rows = [*some, ("good", "nobody", "t0", False, 0), ("leak", "trained", "t0", False, 0), *mostly_gone]
    table = pa.Table.from_pylist([dict(zip(PAIRS.names, r, strict=True)) for r in rows], schema=PAIRS)
    used, skipped = usable_lists(table, split, row, subject)
    assert [(pairs.name, len(pairs.protocol.left), pairs.listed) for pairs in used] == [
        ("good", len(some), len(some) + 1)
    ]
    assert skipped == [
        "gone: only 1 of 3 pairs have both faces in the table",
        "leak: 1 of 1 pairs show training or validation people",
    ]
    faces = _unit(rng, subject, spread=0.05)
    assert measure_list(faces, used[0], 10, 0).values == {"eer": 0.0, "accuracy": 1.0, "accuracy_sd": 0.0}


def test_thinned_curves_keep_their_ends_and_lie_on_the_curve():
    rng = np.random.default_rng(3)
    scores = np.concatenate([rng.normal(1, 1, 4000), rng.normal(-1, 1, 6000)]).astype(np.float32)
    genuine = np.arange(10_000) < 4000
    curve = thinned_det("x", scores, genuine)
    assert 100 < len(curve.fmr) <= POINTS
    assert curve.fmr.min() == pytest.approx(1 / 6000)
    for fmr, fnmr in zip(curve.fmr[::20], curve.fnmr[::20], strict=True):
        threshold = np.sort(scores[~genuine])[::-1][round(fmr * 6000) - 1]
        assert fnmr <= np.mean(scores[genuine] < threshold) + 1e-9


def _measured(eer: float, rank1: float, jitter: np.ndarray) -> Measurement:
    values = {"eer": eer, "rank1": rank1}
    return Measurement(values, {k: v + jitter for k, v in values.items()}, np.empty(0, np.float32))


def test_verdicts_know_which_way_is_good():
    jitter = np.random.default_rng(4).normal(0, 0.01, 100)
    control = [_measured(0.20, 0.5, jitter), _measured(0.22, 0.5, jitter)]
    better = differences([_measured(0.10, 0.7, jitter), _measured(0.12, 0.7, jitter)], control)
    assert (better["eer"].verdict, better["rank1"].verdict) == ("better", "better")
    assert better["eer"].estimate.value == pytest.approx(-0.10)
    worse = differences([_measured(0.30, 0.3, jitter), _measured(0.32, 0.3, jitter)], control)
    assert (worse["eer"].verdict, worse["rank1"].verdict) == ("worse", "worse")
    unclear = differences([_measured(0.10, 0.5, jitter), _measured(0.32, 0.5, jitter)], control)
    assert (unclear["eer"].verdict, unclear["rank1"].verdict) == ("unclear", "unclear")  # the seeds disagree; no gap


def test_the_mean_over_seeds_is_wider_than_one_seed():
    jitter = np.random.default_rng(5).normal(0, 0.01, 400)
    apart = [_measured(0.1, 0.5, jitter), _measured(0.3, 0.5, jitter)]
    both, one = pooled(apart)["eer"], pooled(apart[:1])["eer"]
    assert both.value == pytest.approx(0.2)
    assert both.high - both.low > 3 * (one.high - one.low)
