"""Every model that was judged, which one is in production, and the protocol that all of them are judged on.

A release is a folder that appears whole and is never changed. Which release is the champion is said by the history,
one line an event, replaced as a whole; the link `champion` follows it. A kill between the two leaves a link that lags,
and whoever asks next sets it right.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, Literal

import pyarrow.dataset as ds
from filelock import FileLock
from pydantic import Field, JsonValue, ValidationError

from flows.baselines import read_profile
from flows.home import REFERENCE, Home
from stages.lib.challenge import Judgement
from stages.lib.deploy.golden import verify_golden
from stages.lib.deploy.session import SHIPPED, SHIPPED_INT8, FaceModel
from stages.lib.errors import ConfigError, TransientError
from stages.lib.fingerprint import sha256_file
from stages.lib.folders import new_file, new_folder
from stages.lib.frozen import Frozen
from stages.lib.metrics.verification import target_name
from stages.lib.models.contract import Contract
from stages.lib.table import TEST, Table

ABOUT: Final = "release.json"
HISTORY: Final = "history.jsonl"
PROTOCOL: Final = "protocol"
MODELS: Final = {SHIPPED: "golden.npz", SHIPPED_INT8: "golden.int8.npz"}
"""What is served -> the golden vectors that it is held to."""
LEARNT: Final = ds.field("split").isin(["train", "val"])


class Origin(Frozen):
    """Where a model comes from.

    Attributes:
        id: of the build; one build is registered once, however often it is tried.
        student: its name in `params.yaml`.
        commit: that holds its params and `dvc.lock`.
        alarm: that asked for it.
        changes: dotted keys of `params.yaml` that were set for it.
    """

    id: str
    student: str
    commit: str
    alarm: str | None = None
    changes: dict[str, JsonValue] = Field(default_factory=dict)


class Release(Frozen):
    """A model that was registered.

    Attributes:
        number: 1 and up, in order of registration.
        version: as its contract states it.
        registered: when.
        origin: where it comes from.
        fmr: false match rate that it is run at.
        threshold: cosine at or above which production accepts a pair; of a challenger, the one at which its FMR on the
            protocol is that of the champion before.
        files: path in the folder -> SHA-256.
        judgement: against the champion of its time; the first has none.
        folder: where it lies; not part of the record.
    """

    number: Annotated[int, Field(ge=1)]
    version: str
    registered: datetime
    origin: Origin
    fmr: float
    threshold: float
    files: dict[str, str]
    judgement: Judgement | None = None
    folder: Annotated[Path, Field(exclude=True)] = Path()

    @property
    def held(self) -> bool:
        """Whether it lost against the champion of its time."""
        return self.judgement is not None and not self.judgement.promote

    @property
    def reason(self) -> str:
        """Why it was promoted or held."""
        return self.judgement.reason if self.judgement else "the first release"


class Event(Frozen):
    """One line of the history.

    Attributes:
        time: when.
        release: its number: the champion from then on, unless it was held.
        what: `rolled_back` is to this release, from the one after it.
        reason: in words.
    """

    time: datetime
    release: int
    what: Literal["promoted", "held", "rolled_back"]
    reason: str


class Releases:
    """The releases below a home; safe under several processes."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._root = home.releases

    def all(self) -> list[Release]:
        """Every release, oldest first.

        Raises:
            ConfigError: a record cannot be read.
        """
        return [_read(folder) for folder in sorted(self._root.glob("[0-9]*"))]

    def get(self, number: int) -> Release:
        """One release.

        Raises:
            ConfigError: there is none of that number.
        """
        found = [one for one in self.all() if one.number == number]
        if not found:
            raise ConfigError(f"{self._root} has no release {number}: see `python -m flows releases`")
        return found[0]

    def of(self, origin: str) -> Release | None:
        """The release that a build became, if it was registered."""
        return next((one for one in self.all() if one.origin.id == origin), None)

    def history(self) -> list[Event]:
        """What was promoted, held and rolled back, oldest first."""
        path = self._root / HISTORY
        lines = path.read_text().splitlines() if path.is_file() else []
        return [Event.model_validate_json(line) for line in lines]

    def champion(self) -> Release | None:
        """The release in production; the link is set right where a killed promotion left it behind."""
        reigning = _reigning(self.history())
        if not reigning:
            return None
        with self._alone():
            release = self.get(_reigning(self.history())[-1])
            self._point_at(release)
        return release

    def protocol(self) -> tuple[Table, Table]:
        """The frozen tables that everyone is judged on: clean faces, and the grid.

        Raises:
            ConfigError: no release has frozen them yet, or they have changed.
        """
        tables = [Table.open(self._root / PROTOCOL / name) for name in ("aligned", "grid")]
        for table in tables:
            table.verify()
        return tables[0], tables[1]

    def freeze_protocol(self, aligned: Path, grid: Path) -> None:
        """Keep the tables that all challengers will be judged on; what is frozen already stays."""
        with self._alone():
            if (self._root / PROTOCOL).is_dir():
                return
            with new_folder(self._root / PROTOCOL) as building:
                for name, source in {"aligned": aligned, "grid": grid}.items():
                    Table.open(source).verify()
                    shutil.copytree(source, building / name, copy_function=_link)

    def refuse_known_people(self, aligned: Path) -> None:
        """Make sure that a challenger has learnt from nobody of the protocol.

        Args:
            aligned: its own table of clean faces.

        Raises:
            ConfigError: a test person or test face of the protocol is among those to learn from. Names of people are
                compared without the source that stands before them: a released `ann` may be the `ann` of the protocol.
        """
        theirs, _ = self.protocol()
        learnt, tested = (_people(table, where) for table, where in ((Table.open(aligned), LEARNT), (theirs, TEST)))
        for what, both in zip(("people", "faces"), (a & b for a, b in zip(learnt, tested, strict=True)), strict=True):
            if both:
                raise ConfigError(
                    f"{aligned}: {len(both)} test {what} of the frozen protocol are learnt from, such as "
                    f"{min(both)!r}; take them out of the source, or rename people who are others"
                )

    def register(
        self, exported: Path, reference: Path, origin: Origin, fmr: float, judgement: Judgement | None = None
    ) -> Release:
        """Copy a model and its reference profile into a release of their own; nothing goes into production yet.

        Args:
            exported: folder that the export stage wrote for the student.
            reference: folder that the reference stage wrote for the same model.
            origin: where it comes from.
            fmr: false match rate that it is run at.
            judgement: against the champion; none for the first.

        Returns:
            The release; the one that is there already if this origin was registered before.

        Raises:
            ConfigError: files are missing or speak of another model, or the first states no threshold at this rate.
        """
        contract = FaceModel(exported / SHIPPED).contract
        threshold = judgement.migration.challenger if judgement else threshold_of(contract, fmr)
        profiled = read_profile(reference).model
        for what, version in {"reference": profiled, "judgement": judgement and judgement.challenger}.items():
            if version not in (None, contract.version):
                raise ConfigError(f"the {what} speaks of {version}, {exported} holds {contract.version}: build it anew")
        with self._alone():
            if same := self.of(origin.id):
                return same
            number = 1 + max((one.number for one in self.all()), default=0)
            with new_folder(self._root / f"{number:04d}-{contract.version}") as building:
                _copy(exported, reference, building)
                release = Release(
                    number=number,
                    version=contract.version,
                    registered=datetime.now(UTC),
                    origin=origin,
                    fmr=fmr,
                    threshold=threshold,
                    files=_hashes(building),
                    judgement=judgement,
                )
                (building / ABOUT).write_text(release.model_dump_json(indent=2) + "\n")
            return self.get(number)

    def promote(self, number: int, reason: str | None = None) -> Release:
        """Put a release into production; once it is there, nothing happens.

        Raises:
            ConfigError: no such release, or a file of it has changed.
            GateFailed: this machine computes something else than the one that exported it.
            TransientError: another champion reigns than it was judged against.
        """
        return self._crown(number, "promoted", reason)

    def rival(self, release: Release) -> str | None:
        """Version of the champion, if it is another one than the release was judged against.

        An operator may roll back while a challenger is built, and another one may have been promoted.
        """
        reigning = _reigning(self.history())[-1:]
        if release.judgement is None or reigning in ([], [release.number]):
            return None
        version = self.get(reigning[0]).version
        return None if version == release.judgement.champion else version

    def overtaken(self, number: int) -> bool:
        """Whether a release was held although its judgement is for it: the same may be tried again."""
        return not self.get(number).held and any((e.release, e.what) == (number, "held") for e in self.history())

    def hold(self, number: int, reason: str | None = None) -> Release:
        """Note that a release was held, by its judgement or for another reason; once noted, nothing happens."""
        with self._alone():
            release = self.get(number)
            if not any(event.release == number for event in self.history()):
                self._append(release, "held", reason or release.reason)
        return release

    def roll_back(self, reason: str) -> Release:
        """Put the champion before back into production.

        Raises:
            ConfigError: there was none before, or a file of it has changed.
            GateFailed: as `promote`.
        """
        reigning = _reigning(self.history())
        if len(reigning) < 2:
            raise ConfigError(f"{self._root}: there is no champion before the present one to go back to")
        return self._crown(reigning[-2], "rolled_back", reason)

    def verify(self, number: int) -> Release:
        """Check a release: every hash, and the golden vectors on this machine.

        Raises:
            ConfigError, GateFailed: as `promote`.
        """
        release = self.get(number)
        found = _hashes(release.folder)
        differing = [name for name in sorted({*found, *release.files}) if found.get(name) != release.files.get(name)]
        if differing:
            raise ConfigError(f"{release.folder / differing[0]} is not what was registered: promote another release")
        for model, golden in MODELS.items():
            if model in release.files:
                verify_golden(release.folder / model, release.folder / golden)
        return release

    def _crown(self, number: int, what: Literal["promoted", "rolled_back"], reason: str | None) -> Release:
        with self._alone():
            release = self.verify(number)
            if _reigning(self.history())[-1:] != [number]:
                if what == "promoted" and (other := self.rival(release)):
                    raise TransientError(f"{release.version} was not judged against {other}, which reigns by now")
                self._append(release, what, reason or release.reason)
            self._point_at(release)
        return release

    def _append(self, release: Release, what: Literal["promoted", "held", "rolled_back"], reason: str) -> None:
        event = Event(time=datetime.now(UTC), release=release.number, what=what, reason=reason)
        lines = [f"{one.model_dump_json()}\n" for one in (*self.history(), event)]
        with new_file(self._root / HISTORY) as building:  # as a whole: a line that is half there would be no history
            building.write_text("".join(lines))

    def _point_at(self, release: Release) -> None:
        link = self._home.champion
        target = os.path.relpath(release.folder, link.parent)  # so that the home can be moved
        if link.is_symlink() and link.readlink() == Path(target):
            return
        temporary = link.with_name(f".{link.name}.building")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target, target_is_directory=True)
        os.replace(temporary, link)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self._root.mkdir(parents=True, exist_ok=True)
        with FileLock(self._root / ".lock"):
            yield


def threshold_of(contract: Contract, fmr: float) -> float:
    """The cosine that a model states for a false match rate.

    Raises:
        ConfigError: it states none for this one.
    """
    if target_name(fmr) not in contract.thresholds:
        stated = ", ".join(contract.thresholds) or "none"
        raise ConfigError(f"{contract.name} states no threshold at FMR {target_name(fmr)}, only {stated}")
    return contract.thresholds[target_name(fmr)].cosine


def _reigning(history: Sequence[Event]) -> list[int]:
    """Numbers of the champions that were not rolled back, the present one last."""
    reigning: list[int] = []
    for event in history:
        if event.what == "promoted":
            reigning.append(event.release)
        elif event.what == "rolled_back":
            reigning.pop()
    return reigning


def _read(folder: Path) -> Release:
    try:
        return Release.model_validate_json((folder / ABOUT).read_text()).model_copy(update={"folder": folder})
    except (OSError, ValidationError) as error:
        raise ConfigError(f"{folder} holds no release: {error}") from error


def _copy(exported: Path, reference: Path, building: Path) -> None:
    optional = {SHIPPED_INT8, MODELS[SHIPPED_INT8]}  # `export.int8` may be empty
    for name in ("model.json", *MODELS, *MODELS.values()):
        if (exported / name).is_file():
            shutil.copyfile(exported / name, building / name)
        elif name not in optional:
            raise ConfigError(f"{exported / name} is missing: run the stage export")
    shutil.copytree(reference, building / REFERENCE.name)


def _hashes(folder: Path) -> dict[str, str]:
    files = (file for file in sorted(folder.rglob("*")) if file.is_file() and file.name != ABOUT)
    return {str(file.relative_to(folder)): sha256_file(file) for file in files}


def _people(table: Table, where: ds.Expression) -> tuple[set[str], set[str]]:
    """Names of people without their source, and ids of faces."""
    rows = table.read(["subject_id", "source", "face_id"], where)
    pairs: Iterable[tuple[str, str]] = zip(rows["subject_id"].to_pylist(), rows["source"].to_pylist(), strict=True)
    return {subject.removeprefix(f"{source}:") for subject, source in pairs}, set(rows["face_id"].to_pylist())


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)
