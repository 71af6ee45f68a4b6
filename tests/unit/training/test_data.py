"""The batch of a step follows from the seed and the step; arrays hold each face beside its own variants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.lib.classes import COVERS, UNKNOWN, Label
from stages.lib.codec import decode, decode_classes, encode_png
from stages.lib.errors import ConfigError
from stages.lib.runtime import Runtime
from stages.lib.table import Table, conform
from stages.lib.training import data
from stages.lib.training.data import FaceSet, class_pixels, draw, load_faces, steps_per_epoch

Make = Callable[..., Any]


def faces_of(count: int, variants: int) -> FaceSet:
    """A set without pixels: `draw` looks at numbers only."""
    return FaceSet(
        np.empty((0, 0, 0, 3), np.uint8),
        count * (1 + np.arange(variants)) + np.arange(count)[:, None],
        np.zeros(count, np.int64),
        (),
        np.empty((count, 0), np.float32),
    )


@given(
    count=st.integers(1, 40),
    batch=st.integers(1, 16),
    variants=st.integers(0, 3),
    seed=st.integers(0, 2**31 - 1),
    epoch=st.integers(0, 3),
)
def test_an_epoch_shows_every_face_once(count: int, batch: int, variants: int, seed: int, epoch: int) -> None:
    faces, steps = faces_of(count, variants), steps_per_epoch(count, batch)
    draws = [draw(faces, epoch * steps + place, batch, seed, 0.5, 0.5) for place in range(steps)]
    shown = np.concatenate([d.faces for d in draws])
    assert len(set(shown.tolist())) == len(shown) == steps * min(batch, count)
    assert len(shown) > count - batch  # only a last, smaller batch is left out
    for step in draws:
        np.testing.assert_array_equal(step.rows % count, step.faces)  # a face, or a variant of that face


def test_a_draw_follows_from_seed_and_step() -> None:
    faces = faces_of(64, 3)

    def take(step: int, seed: int = 5, degraded: float = 0.5, flip: float = 0.5) -> list[list[int]]:
        d = draw(faces, step, 16, seed, degraded, flip)
        return [d.faces.tolist(), d.rows.tolist(), d.flipped.tolist()]

    assert take(6) == take(6)
    assert take(6) != take(7)
    assert take(6) != take(6, seed=6)
    assert take(6)[2] != take(7)[2]  # within one epoch
    assert take(0)[0] != take(4)[0]  # the same place, an epoch later
    assert take(3, degraded=0.0)[1] == take(3)[0]
    assert min(take(3, degraded=1.0)[1]) >= 64
    assert not any(take(3, flip=0.0)[2])
    assert all(take(3, flip=1.0)[2])
    many = [draw(faces, step, 64, 1, 0.25, 0.75) for step in range(100)]
    assert np.mean([d.rows != d.faces for d in many]) == pytest.approx(0.25, abs=0.02)
    assert np.mean([d.flipped for d in many]) == pytest.approx(0.75, abs=0.02)
    assert {int(row) // 64 for d in many for row in d.rows} == {0, 1, 2, 3}


@dataclass(frozen=True)
class Tables:
    """The three tables that training reads."""

    clean: Table
    variants: Table
    templates: Table

    def load(self, split: str, workspace: Path, runtime: Runtime) -> FaceSet:
        return load_faces(self.clean, self.variants, self.templates, split, workspace, runtime)


def darker(rows: pa.Table, variant: int) -> pa.Table:
    """One degraded copy of each face; its pixels are those of its parent over `2 + variant`."""
    ids = rows["face_id"].to_pylist()
    count = len(ids)
    columns = {
        "face_id": [f"{face}-dark-{variant}" for face in ids],
        "parent_id": ids,
        "image": [encode_png(decode(image) // (2 + variant)) for image in rows["image"].to_pylist()],
        "d_operator": ["dark"] * count,
        "d_severity": [0] * count,
        "d_params": ["[]"] * count,
        "d_seed": [1] * count,
    }
    kept = rows.drop_columns([name for name in columns if name in rows.column_names])
    for name, values in columns.items():
        kept = kept.append_column(name, pa.array(values))
    return conform(kept)


@pytest.fixture
def tables(face_rows: Make, make_table: Make) -> Tables:
    rows = face_rows()
    degraded = pa.concat_tables([darker(rows, variant) for variant in (0, 1)]).sort_by("face_id")
    brightness = rows["q_brightness"].to_numpy()
    vectors = np.stack([np.cos(brightness), np.sin(brightness)], axis=1).astype(np.float32)
    templates = pa.table(
        {"face_id": rows["face_id"], "template": pa.FixedSizeListArray.from_arrays(vectors.ravel(), 2)}
    )
    return Tables(
        make_table(rows, "clean"), make_table(degraded, "variants"), make_table(templates, "templates", shards=3)
    )


def test_parses_lie_beside_their_faces(tables: Tables, make_table: Make, runtime: Runtime, tmp_path: Path) -> None:
    def parsed(table: Table, name: str) -> Table:
        rows = table.read(table.columns)
        parse = {n: encode_png(np.full((112, 112), n % len(Label), np.uint8)) for n in range(rows.num_rows)}
        column = pa.array([parse[n] if n % 2 else None for n in range(rows.num_rows)], pa.binary())
        rows = rows.set_column(rows.column_names.index("segmentation"), "segmentation", column)
        return make_table(rows, name)

    clean, variants = parsed(tables.clean, "parsed"), parsed(tables.variants, "parsed-variants")
    faces = load_faces(clean, variants, tables.templates, "train", tmp_path / "arrays", runtime, frozenset({"parses"}))
    assert faces.parses is not None and faces.parses.shape == faces.images.shape[:3]
    for table, wanted in ((clean, range(len(faces))), (variants, faces.variants.ravel().tolist())):
        rows = table.read(["image", "segmentation"], pc.field("split") == "train").to_pylist()
        shown = {row["image"]: row["segmentation"] for row in rows}
        for place in wanted:
            parse = shown[encode_png(faces.images[place])]
            expected = np.full((112, 112), UNKNOWN) if parse is None else decode_classes(parse)
            np.testing.assert_array_equal(faces.parses[place], expected)
    seen = faces.parses[~np.isin(faces.parses, COVERS).all(axis=(1, 2))]  # of a cover alone, nothing else is known
    counted = np.bincount(seen.ravel(), minlength=256)[: len(Label)]
    assert class_pixels(faces) == tuple(counted.tolist())
    assert sum(counted) > 0


def test_faces_lie_beside_their_variants_and_templates(tables: Tables, runtime: Runtime, tmp_path: Path) -> None:
    faces = tables.load("train", tmp_path / "arrays", runtime)
    rows = tables.clean.read(["image", "subject_id", "q_brightness"], pc.field("split") == "train")
    clean = np.stack([decode(image) for image in rows["image"].to_pylist()])
    np.testing.assert_array_equal(faces.images[: len(faces)], clean)
    for variant in (0, 1):
        np.testing.assert_array_equal(faces.images[faces.variants[:, variant]], clean // (2 + variant))
    assert [faces.subjects[label] for label in faces.labels] == rows["subject_id"].to_pylist()
    brightness = rows["q_brightness"].to_numpy()
    np.testing.assert_allclose(faces.templates, np.stack([np.cos(brightness), np.sin(brightness)], axis=1), rtol=1e-6)


def test_unpacking_is_done_once_and_again_after_a_kill(
    tables: Tables, runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def die(image: bytes) -> np.ndarray:
        calls.append(len(calls))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return decode(image)

    monkeypatch.setattr(data, "decode", die)
    with pytest.raises(KeyboardInterrupt):
        tables.load("train", tmp_path / "arrays", runtime)
    first = tables.load("train", tmp_path / "arrays", runtime)
    assert len(calls) == 4 + len(first.images)
    again = tables.load("train", tmp_path / "arrays", runtime)
    assert len(calls) == 4 + len(first.images)
    np.testing.assert_array_equal(first.images, again.images)
    whole = tables.load("train", tmp_path / "other", runtime)
    np.testing.assert_array_equal(first.images, whole.images)


def test_what_does_not_fit_is_refused(tables: Tables, runtime: Runtime, tmp_path: Path, make_table: Make) -> None:
    with pytest.raises(ConfigError, match="no face in split 'holdout'"):
        tables.load("holdout", tmp_path / "arrays", runtime)
    names = tables.variants.columns
    fewer = tables.variants.read(names).slice(1)
    lost = tables.templates.read(["face_id", "template"]).slice(1)
    split = tables.clean.read(["split"])["split"][0].as_py()  # of the face that loses something
    with pytest.raises(ConfigError, match="unequal numbers of training variants"):
        replace(tables, variants=make_table(fewer, "fewer")).load(split, tmp_path / "a", runtime)
    with pytest.raises(ConfigError, match=r"lacks 1 of \d+ templates"):
        replace(tables, templates=make_table(lost, "lost")).load(split, tmp_path / "b", runtime)
