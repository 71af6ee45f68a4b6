"""Training faces as a memory-mapped array: Parquet is read once, steps then cost no decoding."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import torch
from numpy.typing import NDArray

from stages.lib.classes import UNKNOWN, Label
from stages.lib.codec import Pixels, decode, decode_classes
from stages.lib.errors import ConfigError
from stages.lib.geometry.template import SIZE
from stages.lib.losses.segmentation import pixel_counts, without_covers_alone
from stages.lib.runtime import Runtime
from stages.lib.table import Table

BATCH = 128  # of what is looked at between two epochs


@dataclass(frozen=True)
class FaceSet:
    """Faces of one split with their training variants.

    Attributes:
        images: uint8 (R, 112, 112, 3) RGB, memory-mapped: N clean faces, then their variants.
        variants: int64 (N, V) rows of `images`; every face has the same number.
        labels: int64 (N,) class of each clean face, 0..classes-1, by sorted subject.
        subjects: the classes' names.
        templates: float32 (N, D) the teacher's unit templates of the clean faces.
        parses: uint8 (R, 112, 112) `Label` of every pixel of `images`, `UNKNOWN` all over where a face has no
            segmentation; memory-mapped. None where nobody asked.
        shown: float32 (R, D) the teacher's unit templates of `images`, variants included. None where nobody asked.
        ids: (N,) ids of the clean faces, the keys of their degradations.
        landmarks: float32 (N, 5, 2) of the clean faces, in pixels.
    """

    images: NDArray[np.uint8]
    variants: NDArray[np.int64]
    labels: NDArray[np.int64]
    subjects: tuple[str, ...]
    templates: NDArray[np.float32]
    parses: NDArray[np.uint8] | None = None
    shown: NDArray[np.float32] | None = None
    ids: tuple[str, ...] = ()
    landmarks: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 5, 2), np.float32))

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Draw:
    """What one step sees: rows of a FaceSet and how each is shown."""

    faces: NDArray[np.int64]  # (B,) clean faces, for labels and templates
    rows: NDArray[np.int64]  # (B,) rows of `images`
    degraded: NDArray[np.bool_]  # (B,) whether a degradation is to be shown; of no variants, `rows` holds clean faces
    flipped: NDArray[np.bool_]  # (B,)


def load_faces(
    clean: Table,
    variants: Table | None,
    templates: Table | None,
    split: str,
    workspace: Path,
    runtime: Runtime,
    needs: frozenset[str] = frozenset(),
    source: str | None = None,
) -> FaceSet:
    """Build, or take up from an earlier run, the arrays of a split.

    Args:
        clean: aligned faces.
        variants: their random degradations; none for clean training.
        templates: `face_id` and `template` of every clean face; none where no objective asks.
        split: train, val, or transfer.
        workspace: scratch folder whose name changes with the three tables.
        runtime: for the progress bar.
        needs: `parses` unpacks the segmentations too, `shown` reads the variants' templates.
        source: only faces of this one; None takes all.

    Raises:
        ConfigError: the split is empty, or a face has no template or too few variants.
    """
    where, kind = ds.field("split") == split, split
    if source is not None:
        where, kind = where & (ds.field("source") == source), f"{split}-{source}"
    about = clean.read(["face_id", "subject_id", "landmarks"], where)
    ids = about["face_id"].to_pylist()
    if not ids:
        raise ConfigError(f"{clean.path} has no face in split {kind!r}; see the fractions of `ingest`")
    position = {face: i for i, face in enumerate(ids)}
    parents: list[int] = []
    copies: list[str] = []
    if variants is not None:
        known = variants.read(["parent_id", "face_id"], where)
        parents = [position[p] for p in known["parent_id"].to_pylist()]
        copies = known["face_id"].to_pylist()

    def unpacked(column: str, name: str, depth: tuple[int, ...], read: Callable[[bytes | None], Pixels]) -> Pixels:
        scans = [clean.scan([column], where)]
        if variants is not None:
            scans.append(variants.scan([column], where))
        values = (value.as_py() for scan in scans for batch in scan for value in batch[column])
        shape = (len(ids) + len(parents), SIZE, SIZE, *depth)
        return _unpacked(workspace / f"{name}.npy", shape, map(read, values), runtime)

    images = unpacked("image", kind, (3,), _pixels)
    parses = unpacked("segmentation", f"{kind}-parses", (), _parse) if "parses" in needs else None
    subjects, labels = np.unique(about["subject_id"].to_pylist(), return_inverse=True)
    return FaceSet(
        images,
        _variant_rows(np.asarray(parents, np.int64), len(ids)),
        labels.astype(np.int64),
        tuple(subjects.tolist()),
        np.empty((len(ids), 0), np.float32) if templates is None else _templates(templates, ids),
        parses,
        _templates(templates, ids + copies) if templates is not None and "shown" in needs else None,
        tuple(ids),
        np.stack(about["landmarks"].to_numpy()).reshape(-1, 5, 2),
    )


def as_seen(faces: FaceSet, rows: NDArray[np.int64], device: str) -> Iterator[tuple[NDArray[np.int64], torch.Tensor]]:
    """Rows of the images, `BATCH` at a time, and these as encoders take them: float (B, 3, 112, 112) in [0, 1]."""
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        yield part, torch.from_numpy(faces.images[part]).to(device).permute(0, 3, 1, 2).float().div_(255)


def draw(faces: FaceSet, step: int, batch: int, seed: int, degraded: float, flip: float) -> Draw:
    """Draw the batch of a step from (seed, step) alone, so that any step can be resumed at.

    An epoch is a permutation of the faces; the last, smaller batch is left out unless it is the
    only one.
    """
    size = min(batch, len(faces))
    epoch, place = divmod(step, steps_per_epoch(len(faces), batch))
    order = _order(len(faces), seed, epoch)
    chosen = order[place * size : (place + 1) * size]
    random = np.random.default_rng([seed, epoch, place + 1])  # place 0 would repeat the bits of the order
    rows = chosen.astype(np.int64)
    variant = random.integers(max(1, faces.variants.shape[1]), size=size)
    shown = random.random(size) < degraded
    if faces.variants.shape[1]:
        rows = np.where(shown, faces.variants[chosen, variant], rows)
    return Draw(chosen.astype(np.int64), rows, shown, random.random(size) < flip)


@lru_cache(maxsize=1)
def _order(faces: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(faces)


def steps_per_epoch(faces: int, batch: int) -> int:
    """Whole batches in an epoch, at least one."""
    return max(1, faces // batch)


def _unpacked(path: Path, shape: tuple[int, ...], pixels: Iterator[Pixels], runtime: Runtime) -> Pixels:
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        # a file of its own for each process: students that start together must not write into one another's faces
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        array = np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)
        for row, image in enumerate(runtime.progress(pixels, f"unpack {path.stem}", "faces", total=shape[0])):
            array[row] = image
        array.flush()
        os.replace(temporary, path)
    loaded: Pixels = np.load(path, mmap_mode="r")
    return loaded


def _pixels(data: bytes | None) -> Pixels:
    return decode(data or b"")


def _parse(data: bytes | None) -> Pixels:
    return np.full((SIZE, SIZE), UNKNOWN, np.uint8) if data is None else decode_classes(data)


def class_pixels(faces: FaceSet) -> tuple[int, ...]:
    """Pixels of each `Label` in the faces and in their variants, which wear further masks, save lone covers.

    Raises:
        ConfigError: the faces were loaded without their segmentations, or a pixel is of no class.
    """
    if faces.parses is None:
        raise ConfigError("the faces were loaded without their segmentations")
    parts = (torch.from_numpy(np.array(faces.parses[i : i + 1024])) for i in range(0, len(faces.parses), 1024))
    return tuple(torch.stack([pixel_counts(without_covers_alone(part), len(Label)) for part in parts]).sum(0).tolist())


def _variant_rows(parents: NDArray[np.int64], faces: int) -> NDArray[np.int64]:
    counts = np.bincount(parents, minlength=faces)
    if counts.min() != counts.max():
        raise ConfigError("faces have unequal numbers of training variants; run `synthesize` again")
    order = np.argsort(parents, kind="stable")
    return (faces + order).reshape(faces, -1).astype(np.int64)


def _templates(templates: Table, ids: list[str]) -> NDArray[np.float32]:
    position = {face: i for i, face in enumerate(ids)}
    table = templates.read(["face_id", "template"], ds.field("face_id").isin(ids))
    if table.num_rows != len(ids):
        raise ConfigError(
            f"{templates.path} lacks {len(ids) - table.num_rows} of {len(ids)} templates; run `teach` again, for "
            "degraded faces with `teach.variants`"
        )
    values = np.stack(table["template"].to_numpy()).astype(np.float32)
    rows = np.empty_like(values)
    rows[[position[face] for face in table["face_id"].to_pylist()]] = values
    return rows
