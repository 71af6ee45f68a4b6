"""Retraining without training: guards, remedies, the clone, and promotion that a failure leaves undone or done."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from dvc.repo import Repo
from filelock import FileLock

import flows as flows  # switches the telemetry off before DVC and Prefect are imported
from flows import dvc, retrain
from flows.home import VARIABLE, Home
from flows.releases import Release, Releases
from flows.retrain import NotNow, RetrainSettings, Wish, attempts_of, begin, prepare, remedy, retrain_once, summary
from flows.rows import MEASURES
from stages.lib.challenge import Judgement
from stages.lib.errors import ConfigError, TransientError
from stages.lib.table import Table
from stages.params import PATH, SEVERITIES, load
from tests.flows.exports import judgement, make_exported

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SETTINGS = RetrainSettings()
PIPELINE = """
stages:
  ingest:
    cmd: python make.py data/faces ${ingest.path} data/released
    deps: [make.py, "${ingest.path}"]
    params: [ingest]
    outs: [data/faces]
  teach:
    cmd: python make.py data/templates
    deps: [make.py]
    params: [teach]
    outs: [data/templates]
"""
MAKE = """
import pathlib, sys
out, *folders = map(pathlib.Path, sys.argv[1:])
found = [file.name for folder in folders for file in folder.rglob("*") if file.suffix == ".jpg"]
out.write_text(" ".join(sorted(found)))
"""


@dataclass
class World:
    """A repository, a home with a champion and an alarm, and a build and a judge that are made up."""

    home: Home
    root: Path
    tables: Path
    promote: bool = True
    fails: int = 0
    built: list[tuple[list[str], Path]] = field(default_factory=list)
    meanwhile: Callable[[], object] = lambda: None

    def build(self, stages: list[str], clone: Path) -> None:
        self.built.append((stages, clone))
        if self.fails:
            self.fails -= 1
            raise RuntimeError("out of power")
        version = f"v{len(Releases(self.home).all()) + 1}"
        made = make_exported(clone / "made", version, seed=len(self.built))
        shutil.copytree(made, clone / "data/exported/unified")
        shutil.copytree(made.parent / "reference", clone / "data/reference")
        shutil.copytree(self.tables, clone / "data/aligned")

    def judged(self, champion: Release, exported: Path) -> Judgement:
        assert champion.folder.is_dir() and (exported / "model.onnx").is_file()
        self.meanwhile()
        version = f"v{len(Releases(self.home).all()) + 1}"
        return judgement(version, promote=self.promote, champion=champion.version)

    def retrain(self, now: datetime = NOW, **wish: Any) -> Release:
        return retrain_once(self.home, self.root, Wish(**wish), SETTINGS, self.build, self.judged, now)

    def alarm(self, name: str, *columns: str) -> str:
        self.home.alerts.mkdir(parents=True, exist_ok=True)
        about = {"id": name, "causes": [{"column": column} for column in columns]}
        (self.home.alerts / f"{name}.json").write_text(json.dumps(about))
        return name

    def release_faces(self, *names: str) -> None:
        for name in names:
            path = self.home.released / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(name.encode())


def git(root: Path, *arguments: str) -> str:
    author = ("-c", "user.name=toy", "-c", "user.email=toy@example.com")
    return subprocess.run(["git", *author, *arguments], cwd=root, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The params of this repository over a pipeline of two quick stages, both up to date."""
    root = tmp_path_factory.mktemp("retrain") / "repository"
    (root / "data/source").mkdir(parents=True)
    shutil.copyfile(PATH, root / "params.yaml")
    for name, text in {"dvc.yaml": PIPELINE, "make.py": MAKE, ".gitignore": "/data/source/*\n!.gitkeep\n"}.items():
        (root / name).write_text(text)
    (root / "data/source/.gitkeep").touch()
    (root / "data/source/own.jpg").write_text("a face that Git does not carry")
    git(root.parent, "init", "-q", str(root))
    Repo.init(str(root)).close()
    for stage in ("ingest", "teach"):
        dvc.reproduce(root, stage, lambda _: None)
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "toy")
    return root


@pytest.fixture
def world(repository: Path, tmp_path: Path, face_rows: Callable[..., Any], make_table: Callable[..., Table]) -> World:
    root = Path(shutil.copytree(repository, tmp_path / "repository"))
    home, table = Home(tmp_path / "home"), make_table(face_rows(), "aligned")
    exported = make_exported(root / "data", "v1")
    (root / "data/exported/unified").parent.mkdir(exist_ok=True)
    shutil.copytree(exported, root / "data/exported/unified", dirs_exist_ok=True)
    for name in ("aligned", "grid"):
        shutil.copytree(table.path, root / "data" / name)
    retrain.first_release(home, root)
    return World(home, root, table.path)


def test_remedies_name_operators_and_measures_that_exist() -> None:
    assert {operator for remedy in retrain.REMEDIES.values() for operator in remedy} <= set(SEVERITIES)
    assert set(retrain.REMEDIES) <= set(MEASURES)


def test_a_remedy_raises_what_the_cause_is_like_and_lowers_nothing() -> None:
    params = load()
    degraded = params.distill.model_copy(update={"degraded": 0.8})
    raised = remedy(params.model_copy(update={"distill": degraded}), ["occlusion", "norm"], 0.5)
    assert raised == {
        "synthesize.probabilities.mask": 0.5,
        "synthesize.probabilities.occlusion": 0.5,
        "distill.degraded": 0.8,
    }
    assert remedy(params, ["q_face_size"], 0.3)["synthesize.probabilities.low_resolution"] == 0.4
    assert remedy(params, ["norm", "quality"], 0.5) == {}


def test_a_challenger_is_built_in_a_clone_with_what_was_released_and_only_what_is_stale_runs(world: World) -> None:
    world.release_faces("ann/1.jpg", "bob/2.jpg")
    wish = Wish(alarm=world.alarm("a1", "occlusion"), changes={"distill.epochs": 2})
    before = (world.root / "params.yaml").read_text()
    attempt = begin(world.home, Releases(world.home), world.root, wish, SETTINGS, NOW)
    clone = prepare(world.home, world.root, attempt)
    params = load(clone / "params.yaml")
    assert (params.synthesize.probabilities["mask"], params.distill.epochs) == (0.5, 2)
    assert (params.ingest.more[0], params.ingest.more[1].source) == (load(PATH).ingest.more[0], "folder")
    assert "# of the people" in (clone / "params.yaml").read_text(), "comments stay"
    assert (world.root / "params.yaml").read_text() == before

    assert dvc.reproduce(clone, "teach", lambda _: None) == "restored"
    assert dvc.reproduce(clone, "ingest", lambda _: None) == "ran"
    assert (clone / "data/faces").read_text() == "1.jpg 2.jpg own.jpg"
    snapshot = Path(str(params.ingest.more[1].path))
    assert (clone / f"{snapshot}.dvc").is_file(), "the revision of the data is known to DVC"

    world.release_faces("ann/3.jpg")
    other = begin(world.home, Releases(world.home), world.root, wish.model_copy(update={"force": True}), SETTINGS, NOW)
    assert other.id != attempt.id and other.released != attempt.released


def test_a_better_challenger_is_promoted_and_tagged_and_the_next_one_starts_from_it(world: World) -> None:
    alarm = world.alarm("a1", "q_sharpness")
    second = world.retrain(alarm=alarm)
    assert world.built[0][0] == ["export@unified", "reference"]
    assert Releases(world.home).champion() == second and second.threshold == 0.45
    shown = git(world.root, "show", "champion-2:params.yaml")
    assert "motion_blur: 0.5" in shown and git(world.root, "status", "--porcelain", "params.yaml") == ""
    assert git(world.root, "rev-parse", "champion-2^{commit}").strip() == second.origin.commit
    assert not world.built[0][1].exists(), "its results are in DVC's cache"
    assert "| overall | 10 | 20.00 % | 10.00 % | -10.00 (-20.00 to -5.00) |" in summary(second)

    with pytest.raises(ConfigError, match="the same inputs were tried before: see release 2"):
        world.retrain(alarm=alarm)
    later = NOW + timedelta(days=8)
    with pytest.raises(ConfigError, match="names nothing that training can see more of"):
        world.retrain(later, alarm=world.alarm("a2", "norm"))
    third = world.retrain(later, alarm=world.alarm("a3", "occlusion"))
    assert {"synthesize.probabilities.blur", "synthesize.probabilities.mask"} <= third.origin.changes.keys()
    assert Releases(world.home).champion() == third


def test_a_challenger_of_a_champion_that_was_rolled_back_is_held_and_may_be_tried_again(world: World) -> None:
    releases = Releases(world.home)
    world.retrain(changes={"distill.epochs": 1})
    world.meanwhile = lambda: releases.roll_back("misses at night")
    with pytest.raises(NotNow, match="release 3 was judged against a champion that is not in production any more"):
        world.retrain(force=True, changes={"distill.epochs": 2})
    world.meanwhile = lambda: None
    assert releases.champion() == releases.get(1) and releases.overtaken(3)
    assert "not in production any more" in git(world.root, "tag", "--list", "--format=%(contents)", "held-3")
    with pytest.raises(NotNow, match="wait until"):
        world.retrain(changes={"distill.epochs": 2})
    again = world.retrain(force=True, changes={"distill.epochs": 2})
    assert releases.champion() == again and again.number == 4 and len(attempts_of(world.home)) == 3
    with pytest.raises(ConfigError, match="the same inputs were tried before: see release 4"):
        world.retrain(force=True, changes={"distill.epochs": 2})


def test_faces_that_are_released_no_more_are_learnt_from_no_more(world: World) -> None:
    stated = load(PATH).ingest.more
    world.release_faces("ann/1.jpg")
    first = world.retrain(force=True)
    assert first.origin.changes["ingest.more"][-1]["source"] == "folder"
    shutil.rmtree(world.home.released)
    params_of = world.retrain(force=True).origin.changes
    assert "ingest.more" not in params_of
    assert [more.source for more in load(world.root / "params.yaml").ingest.more] == [more.source for more in stated]


def test_clones_of_failed_attempts_go_when_another_one_begins(world: World) -> None:
    world.fails = 1
    with pytest.raises(RuntimeError):
        world.retrain(changes={"distill.epochs": 1})
    (left,) = [path for path in world.home.challengers.iterdir() if path.is_dir()]
    world.retrain(force=True, changes={"distill.epochs": 2})
    assert not left.exists(), "it holds faces"


def test_a_worse_challenger_is_held_with_the_reason(world: World) -> None:
    world.promote = False
    held = world.retrain(changes={"distill.epochs": 1})
    assert held.held and held.reason == "worse"
    champion = Releases(world.home).champion()
    assert champion is not None and champion.number == 1
    assert [event.what for event in Releases(world.home).history()] == ["promoted", "held"]
    assert "\n  epochs: 1\n" in git(world.root, "show", "held-2:params.yaml")


def test_guards(world: World) -> None:
    with pytest.raises(ConfigError, match=r"a9\.json holds no alarm"):
        world.retrain(alarm="a9")
    with pytest.raises(ConfigError, match=r"synthesize\.probabilities\.fog"):
        world.retrain(changes={"synthesize.probabilities.fog": 0.5})
    world.home.challengers.mkdir(exist_ok=True)
    with FileLock(world.home.challengers / ".lock"), pytest.raises(NotNow, match="another retraining"):
        world.retrain(force=True)
    assert world.built == [] and attempts_of(world.home) == [], "what is wrong starts no cool-down"
    assert world.retrain(changes={"distill.epochs": 1}).number == 2
    with pytest.raises(ConfigError, match="the same inputs were tried before: see release 2"):
        world.retrain(NOW + timedelta(days=60), changes={"distill.epochs": 1})
    with pytest.raises(NotNow, match="began on 2026-03-01: wait until 2026-03-08"):
        world.retrain(NOW + timedelta(days=6), changes={"distill.epochs": 2})
    assert world.retrain(NOW + timedelta(days=6), force=True, changes={"distill.epochs": 2}).number == 3
    empty = Home(world.root / "empty")
    with pytest.raises(ConfigError, match="no champion to challenge"):
        retrain_once(empty, world.root, Wish(), SETTINGS, world.build, world.judged, NOW)


def test_the_flow_says_what_was_decided_or_that_it_is_not_the_time(
    world: World, monkeypatch: pytest.MonkeyPatch, server: None
) -> None:
    monkeypatch.setenv(VARIABLE, str(world.home.root))
    world.home.settings.write_text("retrain: {cool_down_days: 2}\n")
    monkeypatch.setattr(retrain, "build_flow", lambda stages, jobs, repo: world.build(stages, Path(repo)))
    monkeypatch.setattr(
        retrain, "judge_on_protocol", lambda book, champion, exported, how: world.judged(champion, exported)
    )
    said = retrain.retrain(changes={"distill.epochs": 1}, repo=str(world.root))
    champion = Releases(world.home).champion()
    assert champion is not None and (champion.number, champion.reason) == (2, said)
    started = attempts_of(world.home)[0].started
    refused = retrain.retrain(changes={"distill.epochs": 2}, repo=str(world.root))
    assert f"wait until {started + timedelta(days=2):%Y-%m-%d}" in refused


def test_what_was_killed_goes_on_in_its_clone_and_a_failed_tag_promotes_nobody(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.fails = 1
    with pytest.raises(RuntimeError, match="out of power"):
        world.retrain(changes={"distill.epochs": 1})
    run = retrain._git

    def no_fetch(where: Path, *arguments: str) -> str:
        if arguments[0] == "fetch":
            raise TransientError("git fetch failed")
        return run(where, *arguments)

    monkeypatch.setattr(retrain, "_git", no_fetch)
    with pytest.raises(TransientError):  # the cool-down does not keep the same attempt waiting
        world.retrain(NOW + timedelta(hours=1), changes={"distill.epochs": 1})
    champion = Releases(world.home).champion()
    assert champion is not None and champion.number == 1

    monkeypatch.setattr(retrain, "_git", run)
    second = world.retrain(NOW + timedelta(hours=2), changes={"distill.epochs": 1})
    assert Releases(world.home).champion() == second and len(world.built) == 2
    assert world.built[0][1] == world.built[1][1]
    (attempt,) = attempts_of(world.home)
    assert (attempt.release, attempt.started) == (2, NOW)
