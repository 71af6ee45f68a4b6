"""A comparison of training sets is worth nothing if a face loses its person on the way into one."""

import numpy as np

from stages.lib.training.data import FaceSet, draw
from tests.bench.cohort_usefulness import joined, subset


def made(people: int, shots: int, first: int) -> FaceSet:
    """Faces whose every pixel is the person's number, out of order and with two variants each."""
    labels = np.random.default_rng(people).permutation(np.repeat(np.arange(people), shots))
    pixels = np.concatenate([labels, np.repeat(labels, 2)]) + first
    images = np.broadcast_to(pixels.astype(np.uint8)[:, None, None, None], (len(pixels), 112, 112, 3))
    variants = len(labels) + np.arange(2 * len(labels)).reshape(-1, 2)
    return FaceSet(images, variants, labels, tuple(map(str, range(people))), np.empty((len(labels), 0), np.float32))


def people_shown(faces: FaceSet, degraded: float) -> set[tuple[int, int]]:
    """(label, pixel) of every face of an epoch."""
    chosen = draw(faces, 0, len(faces), seed=1, degraded=degraded, flip=0.0)
    labels = faces.labels[chosen.faces].tolist()
    return set(zip(labels, faces.images[chosen.rows, 0, 0, 0].tolist(), strict=True))


def test_every_face_keeps_its_person() -> None:
    first, second = made(people=5, shots=4, first=0), made(people=3, shots=6, first=5)
    both, some = joined(first, second), subset(first, people=3, shots=2)
    assert (len(both), len(both.subjects), len(some), len(some.subjects)) == (38, 8, 6, 3)
    for degraded in (0.0, 1.0):
        assert people_shown(both, degraded) == {(person, person) for person in range(8)}
        assert people_shown(some, degraded) == {(person, person) for person in range(3)}
