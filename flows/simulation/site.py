"""The people of a simulated site: one face of each is enrolled, the others are what cameras see."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from flows.gallery import enrol
from flows.home import Home
from flows.intake import Capture
from flows.measure import Gallery
from stages import align, ingest
from stages.lib.codec import Pixels, decode
from stages.lib.deploy.session import FaceModel
from stages.lib.errors import ConfigError
from stages.lib.fingerprint import fingerprint
from stages.lib.geometry.pose import pose_from_landmarks
from stages.lib.runtime import Runtime
from stages.lib.table import TEST, Table
from stages.params import load

ENROLMENT: Final = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Site:
    """Where the people come from.

    Attributes:
        table: folder of a table of aligned faces; its test people are the site's.
        prefix: of their names, so that nobody takes them for the people of another table with the same names.
    """

    table: Path
    prefix: str = "site-"


@dataclass(frozen=True)
class People:
    """P people and their F aligned faces.

    Attributes:
        names: (P,).
        images: (F, 112, 112, 3) uint8 RGB.
        landmarks: (F, 5, 2) float32, in pixels of `images`.
        enrolled: (P,) row of the face that stands in the gallery, and is never seen by a camera.
        seen: for each person the rows of the other faces, at least one.
    """

    names: tuple[str, ...]
    images: Pixels
    landmarks: NDArray[np.float32]
    enrolled: NDArray[np.int64]
    seen: tuple[NDArray[np.int64], ...]


def site_table(home: Home, runtime: Runtime, identities: int = 60, shots: int = 8, seed: int = 7) -> Table:
    """Render and align people who are in no other table, by the stages themselves; a second call finds them.

    They differ from the cohort of `params.yaml` in their seed alone.

    Args:
        home: the table lies in its folder `site`.
        runtime: where to render.
        identities: people.
        shots: pictures of each.
        seed: of people and pictures.

    Raises:
        ConfigError: the seed is that of `ingest.cohort`, whose people are learnt from and tested on.
    """
    params = load()
    if seed == params.ingest.cohort.seed:
        raise ConfigError(f"seed {seed} makes the people of ingest.cohort, who are no strangers: choose another")
    # ingest wants somebody to train on: one person more, whom no camera sees
    people = {"seed": seed, "identities": identities + 1, "test_identities": identities, "shots": shots}
    cohort = params.ingest.cohort.model_copy(update=people)
    recipe = params.ingest.model_copy(update={"source": "cohort", "more": (), "cohort": cohort})
    key = fingerprint(recipe.model_dump_json(), params.align.model_dump_json())
    aligned, faces = home.root / "site" / key, runtime.scratch / "site" / key
    if not aligned.is_dir():
        aligned.parent.mkdir(parents=True, exist_ok=True)
        faces.parent.mkdir(parents=True, exist_ok=True)
        ingest.run(recipe, faces, runtime)
        align.run(params.align, faces, aligned, runtime)
        shutil.rmtree(faces)
    return Table.open(aligned)


@cache
def people_of(site: Site) -> People:
    """Read a site's people; those with a single face are left out.

    Enrolled is the face without a mask that looks most nearly into the camera.

    Raises:
        ConfigError: nobody has two faces.
    """
    columns = ["subject_id", "image", "landmarks", "mask_worn"]
    rows = [row for batch in Table.open(site.table).scan(columns, TEST) for row in batch.to_pylist()]
    subjects = np.array([row["subject_id"] for row in rows], np.str_)
    landmarks = np.array([row["landmarks"] for row in rows], np.float32).reshape(-1, 5, 2)
    aside = np.abs(pose_from_landmarks(landmarks)[:, :2]).sum(axis=1)
    masked = np.array([bool(row["mask_worn"]) for row in rows])
    order = np.lexsort((aside, masked, subjects))
    names, starts = np.unique(subjects[order], return_index=True)
    each = [(name, faces) for name, faces in zip(names, np.split(order, starts[1:]), strict=True) if len(faces) > 1]
    if not each:
        raise ConfigError(f"{site.table}: no test person has two faces, to enrol one and see one; give another table")
    return People(
        tuple(f"{site.prefix}{name}" for name, _ in each),
        np.stack([decode(row["image"]) for row in rows]),
        landmarks,
        np.array([faces[0] for _, faces in each]),
        tuple(np.sort(faces[1:]) for _, faces in each),
    )


def gallery_of(site: Site, model: FaceModel) -> Gallery:
    """Templates of all people of a site, each of one clean face."""
    people = people_of(site)
    captures = [
        Capture(
            name=name,
            time=ENROLMENT,
            camera="enrolment",
            image=encode_bmp(people.images[face]),
            landmarks=tuple(people.landmarks[face].ravel().tolist()),
            claimed=name,
        )
        for name, face in zip(people.names, people.enrolled, strict=True)
    ]
    return enrol(captures, model)


def encode_jpeg(pixels: Pixels, quality: int) -> bytes:
    """Encode RGB (height, width, 3) as a camera does."""
    return cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def encode_bmp(pixels: Pixels) -> bytes:
    """Encode RGB (height, width, 3) without loss, in a tenth of the time that a PNG takes."""
    return cv2.imencode(".bmp", pixels[..., ::-1])[1].tobytes()
