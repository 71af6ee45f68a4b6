"""Who has a say in what a face is worth: never itself, and each on the right side."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stages.lib.quality.others import OtherPictures

PEOPLE = np.array([2, 0, 1, 0, 2, 1, 1, 0, 3])


def test_a_face_is_held_against_the_others_of_its_person_and_not_against_itself() -> None:
    templates = np.random.default_rng(0).normal(size=(9, 5)).astype(np.float32)
    unit = torch.from_numpy(np.random.default_rng(1).normal(size=(9, 5)).astype(np.float32))
    others, labels = OtherPictures(templates, PEOPLE, 4), torch.from_numpy(PEOPLE)
    assert others.known(labels).tolist() == [True] * 8 + [False]
    found = others.mean_cosines(unit, torch.from_numpy(templates), labels)
    for face in range(8):
        for person in range(4):
            theirs = [row for row in range(9) if PEOPLE[row] == person and row != face]
            expected = np.mean([float(unit[face].numpy() @ templates[row]) for row in theirs])
            assert found[face, person].item() == pytest.approx(expected, abs=1e-5)
    alone = others.mean_cosine(unit[8:], torch.from_numpy(templates[8:]), labels[8:])
    assert alone.item() == pytest.approx(0.0, abs=1e-5)


def test_genuine_and_impostor_partners_are_drawn_from_the_right_people() -> None:
    """Every cosine to the own person is 1 and to another 0, so any wrong partner, or the face itself, would show."""
    marks = 1e-3 * np.eye(9)  # a product with itself is above 1
    templates = np.concatenate([np.eye(4)[PEOPLE], marks], axis=1).astype(np.float32)
    rows = torch.tensor([3, 0, 6, 5])
    drawn = OtherPictures(templates, PEOPLE, 4).draw(
        torch.from_numpy(templates)[rows], rows, torch.from_numpy(PEOPLE)[rows], 200, torch.Generator().manual_seed(0)
    )
    for cosines, expected in zip(drawn, (1.0, 0.0), strict=True):
        np.testing.assert_array_equal(cosines, np.full((4, 200), expected))


def test_all_others_are_drawn() -> None:
    templates, rows = np.eye(9, dtype=np.float32), torch.tensor([2])
    everyone = torch.arange(1.0, 10.0)[None]
    genuine, impostor = OtherPictures(templates, PEOPLE, 4).draw(
        everyone, rows, torch.tensor([1]), 500, torch.Generator().manual_seed(0)
    )
    assert set(genuine.flatten().tolist()) == {6.0, 7.0}
    assert set(impostor.flatten().tolist()) == {1.0, 2.0, 4.0, 5.0, 8.0, 9.0}


@pytest.mark.parametrize(("labels", "people", "tell"), [([0, 1, 1], 2, True), ([0, 1], 2, False), ([0, 0], 1, False)])
def test_somebody_with_two_faces_and_somebody_else_are_needed(labels: list[int], people: int, tell: bool) -> None:
    assert OtherPictures(np.eye(3, dtype=np.float32)[: len(labels)], np.array(labels), people).tell is tell
