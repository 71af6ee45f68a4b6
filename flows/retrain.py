"""Retraining: a challenger is built in a clone, judged against the champion, and promoted or held.

Nothing is trained on but what the pipeline has and what an operator has put into `released`. The working tree is left
alone: what a challenger needs other settings for is written in its clone, whose commit comes back as a tag
(`champion-3`, `held-4`). A killed run goes on where it stopped when it is started again with the same arguments.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from filelock import FileLock, Timeout
from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.events import emit_event
from pydantic import Field, JsonValue

from flows import dvc
from flows.baselines import RunAt, read_profile
from flows.build import build as build_flow
from flows.home import ALIGNED, EXPORTED, GRID, REFERENCE, Home
from flows.releases import Origin, Release, Releases, threshold_of
from flows.settings import RetrainSettings, WatchSettings
from stages import reference
from stages.lib.challenge import Compared, Judgement, judge
from stages.lib.deploy.session import SHIPPED, FaceModel
from stages.lib.errors import ConfigError, TransientError
from stages.lib.fingerprint import fingerprint, sha256_file
from stages.lib.folders import new_file, new_folder
from stages.lib.frozen import Frozen
from stages.lib.metrics.verification import target_name
from stages.lib.runtime import Runtime
from stages.params import Params, load
from stages.profiles import assign

RELEASED: Final = Path("data/released")
"""Where a clone keeps what the operator released, in a folder that its content names."""
REMEDIES: Final[Mapping[str, tuple[str, ...]]] = {
    "q_sharpness": ("blur", "motion_blur", "low_resolution"),
    "q_brightness": ("exposure", "noise"),
    "q_overexposed": ("exposure",),
    "q_underexposed": ("exposure", "noise"),
    "q_contrast": ("exposure", "noise"),
    "occlusion": ("mask", "occlusion"),
    "q_face_size": ("low_resolution",),
    "q_interocular": ("low_resolution",),
    "q_roll": ("misalignment",),
    "q_pitch": ("misalignment",),
    "q_yaw": ("misalignment",),
    "q_alignment_residual": ("misalignment", "wrong_landmarker"),
    "q_blocks": ("jpeg",),
}
"""What an alarm names -> degradations that a challenger sees more of. Norm and quality alone name no cause."""
AUTHOR: Final = ("-c", "user.name=retrain", "-c", "user.email=retrain@localhost")

OVERTAKEN: Final = "judged against a champion that is not in production any more"

Build = Callable[[list[str], Path], object]
Judge = Callable[[Release, Path], Judgement]


class NotNow(TransientError):
    """A retraining is at work, or the last one was too short a time ago: the same call may pass later."""


class Wish(Frozen):
    """What is asked of a retraining.

    Attributes:
        alarm: id of the alarm that asks for it; its causes say what is trained more of.
        student: that is trained; none: the champion's.
        changes: dotted keys of `params.yaml` for the challenger, over the remedy.
        force: do not wait for the cool-down.
    """

    alarm: str | None = None
    student: str | None = None
    changes: dict[str, JsonValue] = Field(default_factory=dict)
    force: bool = False


class Attempt(Frozen):
    """A retraining, from its start on.

    Attributes:
        id: of what it is made from: the same inputs are the same attempt.
        student: that is trained.
        alarm: that asked for it.
        changes: dotted keys of `params.yaml` that its clone sets.
        released: hash of the released faces, if there are any.
        started: when it was begun.
        ended: when it was decided.
        release: what it became.
    """

    id: str
    student: str
    alarm: str | None
    changes: dict[str, JsonValue]
    released: str | None
    started: datetime
    ended: datetime | None = None
    release: int | None = None


@flow(name="retrain")
def retrain(
    alarm: str | None = None,
    student: str | None = None,
    changes: dict[str, JsonValue] | None = None,
    force: bool = False,
    repo: str = ".",
) -> str:
    """Build a challenger, judge it against the champion on the frozen protocol, and promote or hold it.

    Args:
        alarm: id of the alarm that asks for it; its causes say what is trained more of.
        student: that is trained; none: the champion's.
        changes: dotted keys of `params.yaml` for the challenger, over the remedy.
        force: do not wait for the cool-down.
        repo: folder of the DVC repository.

    Returns:
        What was decided, in words; also where it is not the time to retrain, which is no failure of the run.

    Raises:
        ConfigError: no champion, no such alarm, or one that is dealt with; nothing to train otherwise.
        flows.build.BuildFailed: a stage of the challenger did not finish.
    """
    home = Home.from_environment()
    how = WatchSettings.of(home).retrain

    def build(stages: list[str], clone: Path) -> object:
        return build_flow(stages=stages, jobs=how.jobs, repo=str(clone))

    def judged(champion: Release, exported: Path) -> Judgement:
        return judge_on_protocol(Releases(home), champion, exported, how)

    try:
        wish = Wish(alarm=alarm, student=student, changes=changes or {}, force=force)
        release = retrain_once(home, Path(repo).resolve(), wish, how, build, judged)
    except NotNow as refusal:
        get_run_logger().info("%s", refusal)
        return str(refusal)
    publish(release)
    return release.reason


def retrain_once(
    home: Home,
    root: Path,
    wish: Wish,
    settings: RetrainSettings,
    build: Build,
    judged: Judge,
    now: datetime | None = None,
) -> Release:
    """All that `retrain` does, without Prefect.

    Args:
        home: state of the watch.
        root: the DVC repository.
        wish: what is asked for.
        settings: how the challenger is built.
        build: brings stages of the clone up to date.
        judged: holds an exported folder against the champion.
        now: of the cool-down.

    Raises:
        NotNow: another one is at work, the cool-down is not over, or the champion changed meanwhile.
        ConfigError: as `retrain`.
    """
    with _one_at_a_time(home):
        releases = Releases(home)
        attempt = begin(home, releases, root, wish, settings, now or datetime.now(UTC))
        _sweep(home, releases, attempt)
        release = releases.of(attempt.id)
        if release is None:
            release = _challenge(home, releases, root, attempt, build, judged)
        _settle(home, releases, root, release)
        _write(home, attempt.model_copy(update={"ended": datetime.now(UTC), "release": release.number}))
        shutil.rmtree(home.challengers / attempt.id, ignore_errors=True)  # its results are in DVC's cache
        if releases.overtaken(release.number):
            raise NotNow(f"release {release.number} was {OVERTAKEN}: retrain anew")
    return release


def first_release(
    home: Home, root: Path, fmr: float = 1e-2, student: str | None = None, say: Callable[[str], None] = lambda _: None
) -> Release:
    """Put the model of the pipeline into production, and freeze the protocol that its challengers are judged on.

    Args:
        home: state of the watch.
        root: the DVC repository, whose `data` is up to date.
        fmr: false match rate to run at; the model must state a threshold for it.
        student: that ships; none: `reference.student`.
        say: takes a line for people.

    Raises:
        ConfigError: there is a champion already, or something is not built.
    """
    releases = Releases(home)
    if champion := releases.champion():
        raise ConfigError(f"release {champion.number} is in production: what follows it comes from `retrain`")
    name = student or load(root / "params.yaml").reference.student
    exported = root / EXPORTED / name
    contract = FaceModel(exported / SHIPPED).contract
    origin = Origin(id=contract.version, student=name, commit=_git(root, "rev-parse", "HEAD"))
    with _priced(home, root, exported, fmr, threshold_of(contract, fmr)) as profile:
        release = releases.register(exported, profile, origin, fmr)
    if _git(root, "status", "--porcelain", "--", "params.yaml", "dvc.lock"):
        say("no tag in Git: commit params.yaml and dvc.lock, which no commit holds as this model was built with them")
    else:
        _git(root, *AUTHOR, "tag", "--force", "--annotate", f"champion-{release.number}", "--message", release.reason)
    releases.freeze_protocol(root / ALIGNED, root / GRID)
    return releases.promote(release.number)


def judge_on_protocol(releases: Releases, champion: Release, exported: Path, settings: RetrainSettings) -> Judgement:
    """Hold what was exported against the champion, at the champion's false match rate."""
    aligned, grid = releases.protocol()
    return judge(
        FaceModel(champion.folder / SHIPPED, settings.threads),
        FaceModel(exported / SHIPPED, settings.threads),
        aligned,
        grid,
        champion.fmr,
        champion.threshold,
        settings.bands,
        settings.replicates,
        settings.seed,
    )


def begin(home: Home, releases: Releases, root: Path, wish: Wish, settings: RetrainSettings, now: datetime) -> Attempt:
    """Pass the guards and note the start; a killed attempt with the same inputs is taken up again.

    Raises:
        NotNow, ConfigError: as `retrain_once`.
    """
    attempts, alarm = attempts_of(home), wish.alarm
    causes = _causes(home, alarm) if alarm else ()
    params, released = load(root / "params.yaml"), _digest(home.released)
    asked = wish.model_dump_json(exclude={"force"})
    key = fingerprint(asked, released, _git(root, "rev-parse", "HEAD"), sha256_file(root / "params.yaml"))
    by_id = {one.id: one for one in attempts}
    while key in by_id and (before := by_id[key].release) and releases.overtaken(before):
        key = fingerprint(key, before)
    if same := by_id.get(key):
        if same.ended:
            raise ConfigError(f"the same inputs were tried before: see release {same.release}")
        return same
    wait = timedelta(days=settings.cool_down_days)
    if not wish.force and attempts and now - attempts[-1].started < wait:
        last = attempts[-1].started
        raise NotNow(f"the last retraining began on {last:%Y-%m-%d}: wait until {last + wait:%Y-%m-%d}, or force it")
    champion = releases.champion()
    if champion is None:
        raise ConfigError(f"{home.releases} has no champion to challenge: run `python -m flows release`")
    name = wish.student or champion.origin.student
    wanted = _changes(params, champion, name, wish.changes, causes, released, settings.probability)
    _check(root / "params.yaml", wanted)  # before the start is noted, from which the cool-down counts
    if alarm and wanted == champion.origin.changes:  # by hand, other params or code in the working tree may be meant
        raise ConfigError(f"{alarm} names nothing that training can see more of: give changes, or release faces")
    attempt = Attempt(id=key, student=name, alarm=alarm, changes=wanted, released=released, started=now)
    _write(home, attempt)
    return attempt


def attempts_of(home: Home) -> list[Attempt]:
    """Every retraining, by its start."""
    found = (Attempt.model_validate_json(path.read_text()) for path in home.challengers.glob("*.json"))
    return sorted(found, key=lambda one: one.started)


def remedy(params: Params, causes: Iterable[str], least: float) -> dict[str, JsonValue]:
    """Dotted keys that let a challenger see more of what the causes of an alarm are like.

    Args:
        params: that they are raised from; nothing is lowered.
        causes: columns that drifted.
        least: probability that is raised to.
    """
    operators = dict.fromkeys(operator for cause in causes for operator in REMEDIES.get(cause, ()))
    if not operators:
        return {}
    now = params.synthesize.probabilities
    raised = {f"synthesize.probabilities.{one}": max(now.get(one, 0.0), least) for one in operators}
    return {**raised, "distill.degraded": max(params.distill.degraded, least)}


def prepare(home: Home, root: Path, attempt: Attempt) -> Path:
    """Make the clone in which a challenger is built, or find the one of a killed run.

    It has HEAD, the working tree's `dvc.lock` and `params.yaml` with the changes, the faces that were released, and
    this repository's cache, so that only stale stages run. What Git does not carry (sources, weights) is linked.

    Raises:
        ConfigError: the changes give no valid params.
        TransientError: faces were released at that moment.
    """
    clone = home.challengers / attempt.id
    if not clone.is_dir():
        with new_folder(clone) as building:
            _git(root, "clone", "--quiet", "--shared", str(root), str(building))
            for name in ("params.yaml", "dvc.lock"):
                if (root / name).is_file():
                    shutil.copyfile(root / name, building / name)
            _assign(building / "params.yaml", attempt.changes)
            _lend(root, building, load(building / "params.yaml"))
            if attempt.released:
                copy = building / RELEASED / attempt.released
                shutil.copytree(home.released, copy)
                if _digest(copy) != attempt.released:
                    raise TransientError(f"{home.released} changed as it was copied: start again")
    dvc.share_cache(root, clone)
    if attempt.released:
        dvc.add(clone, str(RELEASED / attempt.released))
    return clone


def _assign(params: Path, changes: Mapping[str, JsonValue]) -> None:
    assign({tuple(key.split(".")): value for key, value in changes.items()}, params)


def _check(params: Path, changes: Mapping[str, JsonValue]) -> None:
    """Raise ConfigError if the changes give no valid params; the file stays as it is."""
    with TemporaryDirectory() as folder:
        _assign(Path(shutil.copy(params, folder)), changes)


def publish(release: Release) -> None:
    """Leave the judgement on the flow run's page, and tell who listens."""
    create_markdown_artifact(summary(release), key="retrain-judgement", description="Champion against challenger")
    emit_event(
        event=f"face-quality.retrain.{'held' if release.held else 'promoted'}",
        resource={"prefect.resource.id": f"face-quality.release.{release.number}"},
        payload={"release": release.number, "version": release.version, "reason": release.reason},
    )


def summary(release: Release) -> str:
    """The judgement as Markdown."""
    verdict = f"**Release {release.number} ({release.version})**: {release.reason}"
    if release.judgement is None:
        return verdict
    judgement, moved = release.judgement, release.judgement.migration
    rows = [_row(one) for one in (judgement.overall, judgement.clean, *judgement.bands, *judgement.cells)]
    table = ["| mated pairs | people | champion | challenger | difference, 95 % interval |", "|-|-:|-:|-:|-:|", *rows]
    flips = (
        f"Threshold {moved.champion:.4f} -> {moved.challenger:.4f} at the champion's FMR of {100 * moved.fmr:.3g} %: "
        f"{moved.genuine_lost} of {moved.genuine} mated pairs are refused that were accepted, {moved.genuine_gained} "
        f"the other way round; {moved.impostors_let_in} of {moved.impostors} impostors are let in that were not, "
        f"{moved.impostors_stopped} the other way round; {moved.people_touched} of {moved.people} people notice."
    )
    return "\n\n".join([verdict, "\n".join(table), flips])


def _row(one: Compared) -> str:
    rates = f"{100 * one.champion:.2f} % | {100 * one.challenger:.2f} %"
    change = f"{100 * one.difference:+.2f} ({100 * one.low:+.2f} to {100 * one.high:+.2f})"
    return f"| {one.name} | {one.people} | {rates} | {change} |"


def _challenge(home: Home, releases: Releases, root: Path, attempt: Attempt, build: Build, judged: Judge) -> Release:
    clone = prepare(home, root, attempt)
    build([f"export@{attempt.student}", "reference"], clone)
    releases.refuse_known_people(clone / ALIGNED)
    champion = releases.champion()  # after the build, which takes hours
    assert champion is not None, "begin has asked for one"
    exported = clone / EXPORTED / attempt.student
    judgement = judged(champion, exported)
    origin = Origin(
        id=attempt.id,
        student=attempt.student,
        commit=_commit(clone, f"Challenger {attempt.id}"),
        alarm=attempt.alarm,
        changes=attempt.changes,
    )
    with _priced(home, clone, exported, champion.fmr, judgement.migration.challenger) as profile:
        return releases.register(exported, profile, origin, champion.fmr, judgement)


def _settle(home: Home, releases: Releases, root: Path, release: Release) -> None:
    """Promote or hold. Each step may be done again, and the link, which production sees, comes last."""
    if any(event.release == release.number for event in releases.history()):
        return
    overtaken = releases.rival(release) is not None
    held, why = overtaken or release.held, OVERTAKEN if overtaken else release.reason
    name = f"{'held' if held else 'champion'}-{release.number}"
    if not held:
        releases.verify(release.number)
    clone = home.challengers / release.origin.id
    _git(clone, *AUTHOR, "tag", "--force", "--annotate", name, "--message", why, release.origin.commit)
    _git(root, "fetch", "--quiet", str(clone), f"+refs/tags/{name}:refs/tags/{name}")
    if held:
        releases.hold(release.number, why)
    else:
        releases.promote(release.number)


def _sweep(home: Home, releases: Releases, attempt: Attempt) -> None:
    """Remove the clones of other attempts, which ended in an error: they hold faces, and DVC's cache their results.

    One that was registered, and neither promoted nor held yet, is still needed for its tag.
    """
    decided = {event.release for event in releases.history()}
    kept = {attempt.id, *(one.origin.id for one in releases.all() if one.number not in decided)}
    for clone in home.challengers.iterdir():
        if clone.is_dir() and clone.name not in kept:
            shutil.rmtree(clone, ignore_errors=True)


@contextmanager
def _priced(home: Home, root: Path, exported: Path, fmr: float, threshold: float) -> Iterator[Path]:
    """A model's reference profile, with misses priced at the threshold that production will run at."""
    run_at, told = RunAt(fmr=target_name(fmr), threshold=threshold), read_profile(root / REFERENCE).run_at
    if told is None or told == run_at:  # none: the model states no threshold
        yield root / REFERENCE
        return
    home.releases.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=home.releases, prefix=".") as folder:
        profile = Path(folder) / REFERENCE.name
        params, runtime = load(root / "params.yaml").reference, Runtime.from_environment()
        at = (run_at.fmr, run_at.threshold)
        reference.run(params, root / ALIGNED, root / GRID, exported, profile, runtime, at)
        yield profile


def _changes(
    params: Params,
    champion: Release,
    student: str,
    changes: Mapping[str, JsonValue],
    causes: Iterable[str],
    released: str | None,
    least: float,
) -> dict[str, JsonValue]:
    """What the champion was given, the remedy on top, then what the operator asks for, and the released faces."""
    inherited = champion.origin.changes
    wanted = {key: value for key, value in inherited.items() if key != "reference.student"}
    for key, value in remedy(params, causes, least).items():
        before = inherited.get(key, 0.0)
        wanted[key] = max(before, value) if isinstance(before, float) and isinstance(value, float) else value
    if student != params.reference.student:
        wanted["reference.student"] = student
    wanted |= changes
    stated: list[JsonValue] = [more.model_dump() for more in params.ingest.more]
    before = wanted.pop("ingest.more", stated)
    if (sources := _sources(before, released)) != stated:
        wanted["ingest.more"] = sources
    return wanted


def _sources(before: JsonValue, released: str | None) -> JsonValue:
    """The further sources, with the faces that are released now in the place of those that were before.

    Released faces must not be missing without a word; what is released no more is not learnt from any more.
    """
    sources = [more for more in before if isinstance(more, dict)] if isinstance(before, list) else []
    others: list[JsonValue] = [more for more in sources if not str(more.get("path")).startswith(f"{RELEASED}/")]
    if released is None:
        return others
    if any(isinstance(more, dict) and more["source"] == "folder" for more in others):
        raise ConfigError(
            "ingest.more has a folder already, and takes each source once: put its people into `released`"
        )
    return [*others, {"source": "folder", "path": str(RELEASED / released), "split": "train", "optional": False}]


def _causes(home: Home, alarm: str) -> tuple[str, ...]:
    """Columns that an alarm names."""
    path = home.alerts / f"{alarm}.json"
    try:
        causes = json.loads(path.read_text())["causes"]
        return tuple(str(cause["column"]) for cause in causes)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} holds no alarm: {error}; see `python -m flows status`") from error


def _digest(folder: Path) -> str | None:
    """Hash of all faces below a folder, by place and content; None where there are none."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and not file.name.startswith(".")]
    told = "".join(f"{file.relative_to(folder)}\0{sha256_file(file)}\n" for file in files)
    return hashlib.sha256(told.encode()).hexdigest()[:16] if files else None


def _lend(root: Path, clone: Path, params: Params) -> None:
    """Link what the params name by a relative path and Git does not carry."""
    named = [params.ingest.path, *(more.path for more in params.ingest.more), params.align.weights]
    for name in (*named, params.teach.adopt.model):
        if name is None or not _filled(root / name) or _filled(clone / name):
            continue
        if (clone / name).is_dir():  # with a file in it that keeps its place in Git
            shutil.rmtree(clone / name)
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        (clone / name).symlink_to((root / name).resolve())


def _filled(path: Path) -> bool:
    return path.is_file() or (path.is_dir() and any(not entry.name.startswith(".") for entry in path.iterdir()))


def _commit(clone: Path, message: str) -> str:
    """Commit what makes the challenger; returns the commit, also where there was nothing to add any more."""
    present = [name for name in ("params.yaml", "dvc.lock", str(RELEASED)) if (clone / name).exists()]
    _git(clone, "add", "--", *present)
    if _git(clone, "diff", "--cached", "--name-only"):
        _git(clone, *AUTHOR, "commit", "--quiet", "--message", message)
    return _git(clone, "rev-parse", "HEAD")


def _git(where: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=where, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise TransientError(f"git {arguments[0]} failed in {where}: {done.stderr.strip()}")
    return done.stdout.strip()


def _write(home: Home, attempt: Attempt) -> None:
    with new_file(home.challengers / f"{attempt.id}.json") as building:
        building.write_text(attempt.model_dump_json(indent=2) + "\n")


@contextmanager
def _one_at_a_time(home: Home) -> Iterator[None]:
    home.challengers.mkdir(parents=True, exist_ok=True)
    lock = FileLock(home.challengers / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise NotNow(f"another retraining is at work below {home.challengers}") from None
    try:
        yield
    finally:
        lock.release()
