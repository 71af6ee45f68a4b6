"""Pairs by pose and by which faces are degraded, against plain loops; what each method is for."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from stages.lib.degrade import OPERATORS
from stages.lib.deploy.session import Inspection
from stages.lib.report.ablation import AIMS, aims_of
from stages.lib.report.answers import Answers
from stages.lib.report.candidates import Candidate
from stages.lib.report.conditions import Condition, Grid, family_of, is_transfer
from stages.lib.report.discard import qualities_of
from stages.lib.report.exam import Exam, Rules
from stages.lib.report.examine import examine
from stages.lib.report.pose import BUCKETS, pose_trials
from stages.lib.report.trial import Trial, measure
from stages.lib.report.words import condition_label
from stages.params import Objectives


def _turned(seed: int) -> tuple[Trial, pa.Table, np.ndarray]:
    """Twelve people with sixteen faces each; every third yaw is known, to 15 degrees as in a turntable."""
    rng = np.random.default_rng(seed)
    subject = np.repeat(np.arange(12), 16)
    yaw = 15.0 * rng.integers(-6, 7, len(subject))
    known = np.arange(len(subject)) % 3 == 0
    faces = pa.table({"yaw": pa.array(yaw, pa.float32(), mask=~known), "q_yaw": np.where(known, 7.0, yaw)})
    return Trial.of(subject, 8000, 20, 0), faces, np.abs(yaw)


def test_a_bucket_holds_the_pairs_of_a_frontal_face_and_one_turned_so_far():
    trial, faces, yaw = _turned(1)
    found, notes = pose_trials(trial, faces, "transfer_x_", "x")
    assert list(found) == [f"transfer_x_yaw_{low}-{high}" for low, high in BUCKETS]
    assert notes == ["Yaw of x: unknown to the source for 128 of 192 faces, so measured in them"]
    pairs = list(zip(trial.protocol.left, trial.protocol.right, strict=True))
    for bucket, (low, high) in zip(found.values(), BUCKETS, strict=True):
        more = [max(yaw[a], yaw[b]) for a, b in pairs]
        less = [min(yaw[a], yaw[b]) for a, b in pairs]
        lowest = -1 if low == 0 else low
        want = [p for p, m, n in zip(pairs, more, less, strict=True) if lowest < m <= high and n <= 15]
        assert list(zip(bucket.protocol.left, bucket.protocol.right, strict=True)) == want
        assert bucket.weights is trial.weights
        assert np.array_equal(bucket.protocol.subject_left, trial.subject[bucket.protocol.left])


def test_the_search_by_pose_enrols_the_first_frontal_face_of_everyone():
    trial, faces, yaw = _turned(2)
    found, _ = pose_trials(trial, faces, "", "x")
    enrolled = [next(i for i in range(192) if trial.subject[i] == s and yaw[i] <= 15) for s in range(12)]
    for bucket, (low, high) in zip(found.values(), BUCKETS, strict=True):
        assert bucket.gallery.tolist() == enrolled
        inside = [i for i in range(192) if (yaw[i] > low or low == 0) and yaw[i] <= high]
        assert bucket.probes.tolist() == [i for i in inside if i not in enrolled]


def test_scarce_buckets_are_named_and_a_table_without_yaw_has_none():
    trial, faces, _ = _turned(3)
    some = faces.set_column(0, "yaw", pa.array(np.where(np.arange(192) < 32, 40.0, 0.0)))  # four people only
    found, notes = pose_trials(trial, some, "", "x")
    assert list(found) == ["yaw_0-15"]
    assert "left out are 15 to 30° (0 of 0), 30 to 45° (0 of 0), 45 to 60°" in notes[0]
    assert pose_trials(trial, faces.select([]), "", "x")[0] == {}


def answers(model: Candidate, clean: np.ndarray, degraded: np.ndarray) -> Answers:
    said = [Inspection(side, np.arange(len(side), dtype=np.float32)) for side in (clean, degraded)]
    return Answers(model, *said, {}, {}, *map(qualities_of, said))


def test_probe_degraded_pairs_are_all_mixed_and_both_degraded_pairs_never_a_face_with_itself():
    """Clean faces lie along one axis and each degraded face along one of its own, so means tell what was compared."""
    subject = np.repeat(np.arange(6), 4)
    faces = len(subject)
    rows = np.arange(faces)
    cells = [Condition(f"mask-{s}", "mask", s, rows, rows + s * faces) for s in (0, 1)]
    grid = Grid(
        (Condition("clean_all", "clean", 0, rows, None), Condition("clean", "clean", 0, rows, None), *cells), 24, 0
    )
    trial = Trial.of(subject, 1000, 5, 0)
    rules = Rules(0, 5, 1000, (0.01,), ("mask",))
    axes = np.eye(1 + 2 * faces, dtype=np.float32)
    clean, degraded = axes[np.zeros(faces, int)], axes[1:]
    model = Candidate("m", "peer", None, (), "", lambda: None, 0.0, 0)
    exam = Exam(grid, trial, trial, [], {}, {None: {}}, {}, rules)
    found = examine(answers(model, clean, degraded), exam, {}).conditions
    means = {n: (found[n].values["genuine_mean"], found[n].values["impostor_mean"]) for n in found}
    assert means["clean"] == (1.0, 1.0)
    assert means["mask-0"] == means["mask-1"] == (0.0, 0.0)  # each pair has one clean face and one degraded
    assert means["both_mask-0"] == means["both_mask-1"] == (0.0, 0.0)  # 1 for a face against itself
    compared = [(clean, clean), (clean, degraded[rows]), (degraded[rows], degraded[rows])]
    assert {len(measure(*sides, trial, (0.01,)).scores) for sides in compared} == {len(trial.protocol.left)}
    assert np.all(trial.protocol.left != trial.protocol.right)


def test_a_model_is_held_to_the_threshold_that_its_file_states():
    subject = np.repeat(np.arange(6), 4)
    rows = np.arange(len(subject))
    cell = Condition("blur-2", "blur", 2, rows, rows)
    clean_cells = (Condition("clean_all", "clean", 0, rows, None), Condition("clean", "clean", 0, rows, None))
    trial, rules = Trial.of(subject, 1000, 5, 0), Rules(0, 5, 1000, (0.01,), ())
    exam = Exam(Grid((*clean_cells, cell), 24, 0), trial, trial, [], {}, {None: {}}, {}, rules)
    faces = np.random.default_rng(0).normal(size=(24, 8)).astype(np.float32)
    faces /= np.linalg.norm(faces, axis=1, keepdims=True)
    pairs, genuine = trial.protocol, trial.protocol.genuine
    scores = (faces[pairs.left] * faces[pairs.right]).sum(axis=1)
    stating = Candidate("m", "student", 1, (), "", lambda: None, 0.0, 0, thresholds={"1e-2": 0.1})
    silent = Candidate("m", "peer", None, (), "", lambda: None, 0.0, 0)
    for model, threshold in ((stating, 0.1), (silent, measure(faces, faces, trial, (0.01,)).values["threshold@1e-2"])):
        for name, found in examine(answers(model, faces, faces), exam, {}).conditions.items():
            if name != "degraded_mean":
                assert found.values["fmr@frozen"] == pytest.approx((scores[~genuine] >= threshold).mean())


@pytest.mark.parametrize(
    ("condition", "label", "family"),
    [
        ("low_resolution-4", "low resolution 4", "low_resolution"),
        ("both_mask-2", "mask 2, both faces", "mask"),
        ("yaw_45-60", "yaw 45 to 60°", "pose"),
        ("transfer_fasseg_yaw_60-90", "transfer to fasseg, yaw 60 to 90°", "pose"),
        ("transfer_orl", "transfer to orl", ""),
        ("clean", "clean, people of the grid", ""),
    ],
)
def test_names_of_conditions_are_read_back(condition: str, label: str, family: str) -> None:
    assert (condition_label(condition), family_of(condition)) == (label, family)
    assert is_transfer(condition) == (condition == "transfer_orl")


def test_every_objective_but_identity_is_there_for_something() -> None:
    assert set(AIMS) <= set(Objectives.model_fields)
    assert aims_of(["identity", "consistency", "template", "selective"]) == ("low_resolution", "mask")
    assert {a for aims in AIMS.values() for a in aims} <= {*OPERATORS, "pose"}
