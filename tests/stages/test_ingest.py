"""Whatever lies in a source becomes a face or a reject with a reason, also when the run is killed half-way."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from stages import ingest
from stages.lib.codec import decode_untrusted, encode_png
from stages.lib.errors import ConfigError
from stages.lib.runtime import Runtime
from stages.lib.sources import blocks
from stages.params import Ingest, More, load

PEOPLE = 10
HOSTILE = {  # name in the source -> reason
    "p0/notes.txt": "not an image",
    "p1/half.jpg": "truncated or corrupt",
    "p2/large.png": "70x70 is larger than 4000 pixels",
    "p3/empty.png": "empty file",
    "stray.png": "lies in no person's folder",
    "p5/copy.png": "same bytes as p4/0.png, which is of another person (p4)",
}


@pytest.fixture
def params(tmp_path: Path) -> Ingest:
    """A folder of ten people with two photographs each, and six files that are no faces."""
    source = tmp_path / "source"
    random = np.random.default_rng(1)
    images = random.integers(0, 256, (PEOPLE, 2, 24, 24, 3), np.uint8)
    for person, number in np.ndindex(PEOPLE, 2):
        folder = source / f"p{person}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").write_bytes(encode_png(images[person, number]))
    jpeg = io.BytesIO()
    Image.fromarray(random.integers(0, 256, (40, 40, 3), np.uint8)).save(jpeg, "JPEG")
    (source / "p0/notes.txt").write_text("taken on a sunny day")
    (source / "p1/half.jpg").write_bytes(jpeg.getvalue()[:-300])
    (source / "p2/large.png").write_bytes(encode_png(np.zeros((70, 70), np.uint8)))
    (source / "p3/empty.png").touch()
    (source / "stray.png").write_bytes(encode_png(images[0, 0]))
    (source / "p5/copy.png").write_bytes(encode_png(images[4, 0]))
    return load().ingest.model_copy(
        update={
            "source": "folder",
            "path": str(source),
            "licence": "CC0-1.0",
            "val_fraction": 0.2,
            "max_pixels": 4000,
            "shard_mb": 0.01,
            "more": (),
        }
    )


def test_nothing_is_lost_and_people_are_in_one_split(params: Ingest, runtime: Runtime, tmp_path: Path) -> None:
    table = ingest.run(params, tmp_path / "faces", runtime)
    table.verify()
    rejects = {row["name"]: row["reason"] for row in table.rejects().to_pylist()}
    assert set(rejects) == set(HOSTILE)
    assert [name for name, reason in HOSTILE.items() if not rejects[name].startswith(reason)] == []
    rows = table.read(["face_id", "name", "subject_id", "split", "licence", "width"]).to_pylist()
    assert len(table.shards) > 1
    assert [row["face_id"] for row in rows] == sorted(row["face_id"] for row in rows)
    assert {row["name"] for row in rows} == {f"p{p}/{n}.png" for p in range(PEOPLE) for n in range(2)}
    assert {(row["licence"], row["width"]) for row in rows} == {("CC0-1.0", 24)}
    splits = defaultdict(set)
    for row in rows:
        splits[row["subject_id"]].add(row["split"])
    assert sorted(split for person in splits.values() for split in person) == ["test"] * 3 + ["train"] * 5 + ["val"] * 2
    assert pq.read_table(table.path / "pairs.parquet").num_rows == 0


def test_a_killed_run_goes_on_where_it_stopped(
    params: Ingest, runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "BLOCK", 4)  # 26 files: seven blocks
    whole = ingest.run(params, tmp_path / "whole", runtime)
    decoded: list[bytes] = []

    def die_at(place: int) -> Callable[[bytes, int], np.ndarray]:
        def decode(data: bytes, max_pixels: int) -> np.ndarray:
            if len(decoded) == place:
                raise KeyboardInterrupt
            decoded.append(data)
            return decode_untrusted(data, max_pixels)

        return decode

    monkeypatch.setattr(blocks, "decode_untrusted", die_at(14))
    with pytest.raises(KeyboardInterrupt):
        ingest.run(params, tmp_path / "faces", runtime)
    assert not (tmp_path / "faces").exists()
    decoded.clear()
    monkeypatch.setattr(blocks, "decode_untrusted", die_at(99))
    table = ingest.run(params, tmp_path / "faces", runtime)
    assert len(decoded) == 25 - 12  # three blocks of four were done; the stray file is never decoded
    assert table.content_id == whole.content_id
    assert list((runtime.scratch / "ingest").iterdir()) == []


def test_further_sources_keep_their_people_apart(params: Ingest, runtime: Runtime, tmp_path: Path) -> None:
    """Their split is as told, their names cannot clash, and the lot of the main source's people stays as it was."""
    params = params.model_copy(update={"max_pixels": 92 * 112})
    alone = ingest.run(params, tmp_path / "alone", runtime)
    orl = More(source="orl", path=None, split="transfer", optional=False)
    table = ingest.run(params.model_copy(update={"more": (orl,)}), tmp_path / "faces", runtime)
    rows = table.read(["face_id", "subject_id", "source", "name", "split"]).to_pylist()
    further = [row for row in rows if row["source"] == "orl"]
    assert len(further) == 400
    assert {row["split"] for row in further} == {"transfer"}
    assert all(row["subject_id"].startswith("orl:s") and row["name"].startswith("orl:s") for row in further)
    main = {row["face_id"]: row["split"] for row in rows if row["source"] == "folder"}
    ids = alone.read(["face_id", "split"])
    assert main == dict(zip(ids["face_id"].to_pylist(), ids["split"].to_pylist(), strict=True))
    assert table.rejects().num_rows == alone.rejects().num_rows


def test_people_whom_a_further_source_keeps_for_test_are_never_trained_on(
    params: Ingest, runtime: Runtime, tmp_path: Path
) -> None:
    """Also: a segmentation of another size than its image is no label of it."""
    folder = tmp_path / "fasseg"
    folder.mkdir()
    index = ["image,label,subset,split,person,yaw,pitch"]
    parse = np.full((24, 24, 3), (255, 0, 0), np.uint8)
    parse[8], parse[16] = (0, 0, 255), (0, 255, 0)  # eyes and mouth
    for person, split in (("a", "train"), ("b", "test"), ("c", "test")):
        image = np.random.default_rng(ord(person)).integers(0, 256, (24, 24, 3), np.uint8)
        (folder / f"{person}.png").write_bytes(encode_png(image))
        (folder / f"{person}-map.png").write_bytes(encode_png(parse[: 20 if person == "c" else 24]))
        index.append(f"{person}.png,{person}-map.png,multipose01,{split},{person},0,0")
    (folder / "index.csv").write_text("\n".join(index))
    for split, expected in (("train", {"fasseg:a": "train", "fasseg:b": "transfer"}), ("transfer", None)):
        more = More(source="fasseg", path=str(folder), split=split, optional=False)
        table = ingest.run(params.model_copy(update={"more": (more,)}), tmp_path / split, runtime)
        further = [
            row for row in table.read(["subject_id", "split", "source"]).to_pylist() if row["source"] == "fasseg"
        ]
        found = {row["subject_id"]: row["split"] for row in further}
        assert found == (expected or dict.fromkeys(("fasseg:a", "fasseg:b"), "transfer"))
        reasons = {row["name"]: row["reason"] for row in table.rejects().to_pylist()}
        assert reasons["fasseg:c.png"] == "its segmentation is of another size"
    own = ingest.run(params.model_copy(update={"source": "fasseg", "path": str(folder)}), tmp_path / "own", runtime)
    assert {(row["subject_id"], row["split"]) for row in own.read(["subject_id", "split"]).to_pylist()} == {
        ("a", "train"), ("b", "test"),
    }  # fmt: skip


def test_only_an_optional_source_may_be_missing(
    params: Ingest, runtime: Runtime, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = More(source="orl", path=str(tmp_path / "nowhere"), split="transfer", optional=True)
    table = ingest.run(params.model_copy(update={"more": (gone,)}), tmp_path / "faces", runtime)
    assert "ingest: without orl, which is optional" in capsys.readouterr().err
    assert set(table.read(["source"])["source"].to_pylist()) == {"folder"}
    needed = gone.model_copy(update={"optional": False})
    with pytest.raises(ConfigError, match="nowhere"):
        ingest.run(params.model_copy(update={"more": (needed,)}), tmp_path / "faces", runtime)


def test_a_source_without_a_face_is_refused(params: Ingest, runtime: Runtime, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no usable face among 26 entries"):
        ingest.run(params.model_copy(update={"max_pixels": 100}), tmp_path / "faces", runtime)
    assert not (tmp_path / "faces").exists()
    with pytest.raises(ConfigError, match="does not exist"):
        ingest.run(params.model_copy(update={"path": str(tmp_path / "nowhere")}), tmp_path / "faces", runtime)
