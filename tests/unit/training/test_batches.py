"""Batches follow from seed and step; what is degraded anew takes its labels along."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from stages.lib.classes import Label
from stages.lib.degrade import training_variant
from stages.lib.training.batches import Recipe, batch_of, batches, seed_of
from stages.lib.training.data import FaceSet, draw

Make = Callable[..., FaceSet]
RECIPE = Recipe(epochs=2, batch=3, lr=1e-3, weight_decay=0.0, warmup=0.0, degraded=1.0, flip=0.0, seed=5)
MASKED = replace(RECIPE, operators={"mask": 1.0})


def test_batches_made_ahead_are_those_of_their_steps(make_faces: Make) -> None:
    faces = make_faces(count=8)
    recipe = replace(RECIPE, degraded=0.5, flip=0.5)
    made = list(batches(faces, recipe, 1, "cpu"))
    assert len(made) == 2 * 2 - 1
    for step, batch in enumerate(made, 1):
        again = batch_of(faces, recipe, "cpu", step)
        assert torch.equal(batch.images, again.images) and torch.equal(batch.faces, again.faces)
        assert batch.done == step / 4
        np.testing.assert_array_equal(batch.templates, faces.templates[batch.faces])
    assert list(batches(faces, recipe, 4, "cpu")) == []


def test_losses_and_layers_draw_otherwise_in_every_run_and_step(make_faces: Make) -> None:
    """Torch's CPU generator keeps 32 bits of a seed, so that a shifted one would be none."""
    faces, runs = make_faces(count=8), [replace(RECIPE, seed=seed) for seed in (1, 2, 1 << 40)]
    drawn = [torch.rand(4, generator=batch_of(faces, run, "cpu", step).generator) for run in runs for step in (0, 1)]
    assert len({tuple(values.tolist()) for values in drawn}) == len(drawn)
    again = torch.rand(4, generator=batch_of(faces, runs[0], "cpu", 0).generator)
    assert torch.equal(again, drawn[0])
    assert seed_of(1, 0, "losses") != seed_of(1, 0, "layers")


def test_a_mask_drawn_anew_is_labelled_and_changes_by_epoch(make_faces: Make) -> None:
    faces = make_faces(count=6, variants=0, parsed=True)
    batch = batch_of(faces, MASKED, "cpu", 0)
    chosen = draw(faces, 0, 3, 5, 1.0, 0.0).faces
    bare = torch.from_numpy(faces.images[chosen]).permute(0, 3, 1, 2)
    ids = [faces.ids[face] for face in chosen]
    expected = training_variant(bare, ids, faces.landmarks[chosen], MASKED.operators, 5, 0)
    np.testing.assert_allclose(batch.images, expected.images.float() / 255)
    assert batch.parses is not None
    masked = batch.parses == int(Label.MASK)
    share = masked.float().mean((1, 2))
    assert ((share > 0.02) & (share < 0.6)).all()
    untouched = torch.from_numpy(faces.parses[chosen] if faces.parses is not None else np.empty(0))
    assert torch.equal(batch.parses[~masked], untouched[~masked])

    later = {step: batch_of(faces, MASKED, "cpu", step) for step in (2, 3)}  # the second epoch shows each face again
    again = {int(face): image for b in later.values() for face, image in zip(b.faces, b.images, strict=True)}
    assert not any(torch.equal(again[int(f)], i) for f, i in zip(batch.faces, batch.images, strict=True))


def test_clean_faces_stay_clean_and_flips_come_last(make_faces: Make) -> None:
    faces = make_faces(count=6, variants=0)
    plain = batch_of(faces, replace(MASKED, degraded=0.0), "cpu", 1)
    np.testing.assert_allclose(plain.images.permute(0, 2, 3, 1) * 255, faces.images[plain.faces], atol=1e-4)
    straight, mirrored = (batch_of(faces, replace(MASKED, flip=flip), "cpu", 1) for flip in (0.0, 1.0))
    assert torch.equal(straight.images.flip(3), mirrored.images)


def test_templates_of_what_is_shown_follow_the_row(make_faces: Make) -> None:
    faces = make_faces(count=6, variants=2)
    assert batch_of(faces, RECIPE, "cpu", 0).shown is None
    shown = np.arange(len(faces.images), dtype=np.float32)[:, None]
    batch = batch_of(replace(faces, shown=shown), RECIPE, "cpu", 0)
    assert batch.shown is not None
    for row, image in zip(batch.shown[:, 0].long(), batch.images, strict=True):
        np.testing.assert_allclose(image.permute(1, 2, 0) * 255, faces.images[row], atol=1e-4)
