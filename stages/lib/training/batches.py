"""The batch of each step, made one step ahead of its use: drawn, degraded, mirrored, on the device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from stages.lib.degrade import relabel, training_variant
from stages.lib.objectives.base import Batch
from stages.lib.training.data import Draw, FaceSet, draw, steps_per_epoch


@dataclass(frozen=True)
class Recipe:
    """What the loop needs beside the model and the faces; see the section `distill` of params.

    `operators` degrades faces anew at every step, each operator with its probability; where it is empty, a degraded
    face is one of its cached variants.
    """

    epochs: int
    batch: int
    lr: float
    weight_decay: float
    warmup: float
    degraded: float
    flip: float
    seed: int
    operators: Mapping[str, float] = field(default_factory=dict)


def batches(faces: FaceSet, recipe: Recipe, first: int, device: str) -> Iterator[Batch]:
    """Every batch from a step on, to the end of the recipe; while one is learned from, a thread makes the next."""
    total = recipe.epochs * steps_per_epoch(len(faces), recipe.batch)
    make = partial(batch_of, faces, recipe, device)
    with ThreadPoolExecutor(1, thread_name_prefix="batch") as ahead:
        coming = ahead.submit(make, first) if first < total else None
        for step in range(first + 1, total + 1):
            assert coming is not None
            ready = coming.result()
            coming = ahead.submit(make, step) if step < total else None
            yield ready


def batch_of(faces: FaceSet, recipe: Recipe, device: str, step: int) -> Batch:
    """The batch of a step: a function of (seed, step) and the faces alone."""
    per_epoch = steps_per_epoch(len(faces), recipe.batch)
    chosen = draw(faces, step, recipe.batch, recipe.seed, recipe.degraded, recipe.flip)
    images = torch.from_numpy(faces.images[chosen.rows]).to(device).permute(0, 3, 1, 2)
    parses = None if faces.parses is None else torch.from_numpy(faces.parses[chosen.rows]).to(device)
    if recipe.operators:
        images, parses = _degraded(faces, chosen, recipe, step // per_epoch, images, parses)
    turned = torch.from_numpy(chosen.flipped).to(device)[:, None, None]
    images = torch.where(turned[:, None], images.flip(3), images)
    if parses is not None:
        parses = torch.where(turned, parses.flip(2), parses)  # the image and its labels move together
    return Batch(
        faces=torch.from_numpy(chosen.faces).to(device),
        images=images.float().div_(255),
        labels=torch.from_numpy(faces.labels[chosen.faces]).to(device),
        templates=torch.from_numpy(faces.templates[chosen.faces]).to(device),
        generator=torch.Generator().manual_seed(seed_of(recipe.seed, step, "losses")),
        done=step / (per_epoch * recipe.epochs),
        parses=parses,
        shown=None if faces.shown is None else torch.from_numpy(faces.shown[chosen.rows]).to(device),
    )


def seed_of(seed: int, step: int, stream: Literal["losses", "layers"]) -> int:
    """32 bits, which are all that torch's CPU generator keeps of a seed, mixed of the training run's and the step."""
    return int(np.random.SeedSequence([seed, step, *stream.encode()]).generate_state(1)[0])


def _degraded(
    faces: FaceSet, chosen: Draw, recipe: Recipe, epoch: int, images: Tensor, parses: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Images and parses with new degradations of the faces that the draw wants degraded; the others are left."""
    where = np.flatnonzero(chosen.degraded)
    if not len(where):
        return images, parses
    rows, hit = chosen.faces[where], torch.from_numpy(where).to(images.device)
    landmarks, ids = faces.landmarks[rows], [faces.ids[row] for row in rows]
    done = training_variant(images[hit], ids, landmarks, recipe.operators, recipe.seed, epoch, images.device)
    images = images.index_copy(0, hit, done.images)
    if parses is not None:
        parses = parses.index_copy(0, hit, relabel(parses[hit], landmarks, done.params, parses.device))
    return images, parses
