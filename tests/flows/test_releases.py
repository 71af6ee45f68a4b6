"""Releases appear whole or not at all, and what is in production is always one that was registered and checked."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from flows.home import Home
from flows.releases import Origin, Release, Releases
from stages.lib.deploy.session import SHIPPED, FaceModel
from stages.lib.errors import ConfigError, GateFailed, TransientError
from stages.lib.table import Table, TableError
from tests.flows.exports import judgement, make_exported

SPLITS = ("train", "val", "test", "test")

# Registers and promotes a second release, and is killed at a step of it.
KILLED = """
import os, signal, sys
from pathlib import Path
from flows import releases
from flows.home import Home
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
home, exported, step = Home(Path(sys.argv[1])), Path(sys.argv[2]), sys.argv[3]
setattr(*{"copied": (releases, "_hashes"), "decided": (releases.Releases, "_point_at")}[step], die)
origin = releases.Origin(id="second", student="small", commit="c2")
known = releases.Releases(home)
known.promote(known.register(exported, exported.parent / "reference", origin, 0.01).number, "by hand")
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def register(home: Home, exported: Path, name: str = "first") -> Release:
    origin = Origin(id=name, student="small", commit="c1")
    return Releases(home).register(exported, exported.parent / "reference", origin, 0.01)


def test_a_release_is_promoted_followed_and_rolled_back_to(home: Home, tmp_path: Path) -> None:
    releases = Releases(home)
    assert releases.champion() is None and not home.champion.exists()
    first = register(home, make_exported(tmp_path / "a", "v1"))
    assert (first.number, first.version, first.threshold, first.held) == (1, "v1", 0.5, False)
    assert releases.champion() is None, "registered is not promoted"
    releases.promote(1)
    assert FaceModel(home.champion / SHIPPED).contract.version == "v1"
    assert releases.promote(1) == first and len(releases.history()) == 1

    verdict = judgement("v2", promote=True, cosine=0.42)
    exported = make_exported(tmp_path / "b", "v2", seed=1)
    about = (exported, tmp_path / "b/reference", Origin(id="second", student="small", commit="c2"), 0.01, verdict)
    second = releases.register(*about)
    assert releases.register(*about) == second, "one build is one release, however often it is handed in"
    assert (second.number, second.threshold, second.judgement) == (2, 0.42, verdict)
    assert releases.promote(2).reason == "better"
    assert releases.champion() == second and (home.champion / "reference/profile.json").is_file()

    assert releases.roll_back("misses on the night shift") == first
    assert releases.champion() == first and FaceModel(home.champion / SHIPPED).contract.version == "v1"
    assert [event.what for event in releases.history()] == ["promoted", "promoted", "rolled_back"]
    with pytest.raises(ConfigError, match="no champion before"):
        releases.roll_back("again")
    assert releases.promote(2).number == 2, "by hand, it may come back"


def test_a_verdict_against_a_champion_that_reigns_no_more_promotes_nobody(home: Home, tmp_path: Path) -> None:
    releases = Releases(home)
    for number, name in enumerate(("v1", "v2", "v3"), start=1):
        exported = make_exported(tmp_path / name, name, seed=number)
        origin = Origin(id=name, student="small", commit=name)
        verdict = judgement(name, promote=True) if number > 1 else None
        release = releases.register(exported, exported.parent / "reference", origin, 0.01, verdict)
        assert releases.rival(release) == (None if number < 3 else "v2")
        if number < 3:
            assert releases.rival(releases.promote(number)) is None
    with pytest.raises(TransientError, match="v3 was not judged against v2"):
        releases.promote(3)
    assert not releases.overtaken(3)
    releases.hold(3, "too late")
    assert releases.overtaken(3) and releases.history()[-1].reason == "too late"
    assert releases.champion() == releases.get(2)


@pytest.mark.parametrize("step", ["copied", "decided"])
def test_a_kill_leaves_the_old_champion_or_the_new_one(step: str, home: Home, tmp_path: Path) -> None:
    releases = Releases(home)
    releases.promote(register(home, make_exported(tmp_path / "a", "v1")).number)
    exported = make_exported(tmp_path / "b", "v2", seed=1)
    done = subprocess.run([sys.executable, "-c", KILLED, str(home.root), str(exported), step], check=False)
    assert done.returncode == -signal.SIGKILL
    assert FaceModel(home.champion / SHIPPED).contract.version == "v1"
    assert [one.number for one in releases.all()] == ([1] if step == "copied" else [1, 2])

    champion = releases.champion()
    assert champion is not None and champion.number == (1 if step == "copied" else 2)
    second = register(home, exported, "second")
    assert second.number == 2
    releases.promote(2, "by hand")
    assert FaceModel(home.champion / SHIPPED).contract.version == "v2"
    assert [event.release for event in releases.history()] == [1, 2]
    assert not list(home.releases.glob(".*building"))


def test_what_is_not_what_was_registered_does_not_serve(home: Home, tmp_path: Path) -> None:
    releases = Releases(home)
    releases.promote(register(home, make_exported(tmp_path / "a", "v1")).number)
    exported = make_exported(tmp_path / "b", "v2", seed=1)
    with np.load(exported / "golden.npz") as golden:
        np.savez(exported / "golden.npz", **{**golden, "embeddings": -golden["embeddings"]})
    with pytest.raises(GateFailed, match="cosine"):
        releases.promote(register(home, exported, "other machine").number)

    third = register(home, make_exported(tmp_path / "c", "v3"), "third")
    (third.folder / "reference/profile.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"reference/profile\.json is not what was registered"):
        releases.promote(third.number)
    champion = releases.champion()
    assert champion is not None and champion.number == 1


def test_what_does_not_belong_together_is_not_registered(home: Home, tmp_path: Path) -> None:
    exported = make_exported(tmp_path / "a", "v1", thresholds={"1e-3": 0.6})
    with pytest.raises(ConfigError, match="no threshold at FMR 1e-2, only 1e-3"):
        register(home, exported)
    (tmp_path / "a/reference/profile.json").write_text(json.dumps({"model": "v0"}))
    origin = Origin(id="x", student="small", commit="c")
    with pytest.raises(ConfigError, match="the reference speaks of v0"):
        Releases(home).register(exported, tmp_path / "a/reference", origin, 1e-3)
    (exported / "golden.npz").unlink()
    (tmp_path / "a/reference/profile.json").write_text(json.dumps({"model": "v1"}))
    with pytest.raises(ConfigError, match=r"golden\.npz is missing"):
        Releases(home).register(exported, tmp_path / "a/reference", origin, 1e-3)
    assert Releases(home).all() == []


def test_the_protocol_stays_as_it_was_first_and_nobody_learns_from_it(
    home: Home, face_rows: Callable[..., pa.Table], make_table: Callable[..., Table]
) -> None:
    releases = Releases(home)
    aligned = make_table(face_rows(SPLITS), "aligned")
    releases.freeze_protocol(aligned.path, make_table(face_rows(["test"]), "grid").path)
    releases.freeze_protocol(make_table(face_rows(["test"]), "later").path, aligned.path)
    assert releases.protocol()[0].content_id == aligned.content_id

    releases.refuse_known_people(aligned.path)
    rows = face_rows(SPLITS).to_pylist()
    renamed = [{**row, "subject_id": f"folder:{row['subject_id']}", "source": "folder"} for row in rows]
    moved = [{**row, "split": "train"} for row in renamed]
    with pytest.raises(ConfigError, match="2 test people of the frozen protocol are learnt from, such as 'p2'"):
        releases.refuse_known_people(make_table(pa.Table.from_pylist(moved, face_rows().schema), "moved").path)
    hidden = [{**row, "subject_id": f"x{row['subject_id']}"} for row in moved]
    with pytest.raises(ConfigError, match="6 test faces of the frozen protocol"):
        releases.refuse_known_people(make_table(pa.Table.from_pylist(hidden, face_rows().schema), "hidden").path)

    shard = home.releases / "protocol/aligned/shard-00000.parquet"
    content = shard.read_bytes()
    shard.unlink()
    shard.write_bytes(content[:-1] + b"x")
    with pytest.raises(TableError, match="has changed"):
        releases.protocol()
