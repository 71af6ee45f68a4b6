"""What each camera is compared with: its own accepted captures, or before there are any, the shipped profile."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ValidationError

from flows.captures import CaptureLog, aware
from flows.home import Home
from flows.rows import EMBEDDING, MEASURES
from flows.window import Window, read_windows
from stages.lib.drift.price import Price
from stages.lib.drift.reference import MOST, Reference
from stages.lib.errors import ConfigError
from stages.lib.fingerprint import fingerprint
from stages.lib.folders import new_file

BASELINE: Final = pa.schema(
    [
        pa.field("block", pa.int64(), nullable=False),  # hours since 1970, UTC
        pa.field("rejected", pa.bool_(), nullable=False),
        *(pa.field(name, pa.float32()) for name in MEASURES),
    ]
)
PROFILE: Final = "the shipped profile"
LONGEST: Final = 200  # letters of a file's name that any file system takes


def baseline_path(home: Home, camera: str) -> Path:
    """Where a camera's baseline lies; its name may hold anything, and is written as in a URL, or hashed if long."""
    name = quote(camera, safe="").replace(".", "%2E") or "%"
    return home.baselines / f"{name if len(name) <= LONGEST else '%' + fingerprint(camera)}.parquet"


def accept_baseline(
    log: CaptureLog, home: Home, camera: str, start: datetime, end: datetime, keep_embeddings: bool = False
) -> Reference:
    """Freeze a stretch of a camera's captures as what it is compared with from the next window on.

    Measures and hours are kept, nothing that names a capture; of many captures a fair part. A stretch of two weeks
    tells how days differ; of one day, nothing of that is known.

    Args:
        log: that holds them.
        home: whose baseline is replaced.
        camera: of which.
        start: of the first capture.
        end: before which the last one was taken.
        keep_embeddings: that the log holds, to compare those of later windows with.

    Returns:
        The baseline, as it is read back.

    Raises:
        ConfigError: there are too few captures with a face, or several models scored them.
    """
    captured = read_windows(log, start, end, MEASURES, camera, keep_embeddings).get(camera)
    if captured is None or not captured.faces:
        raise ConfigError(f"camera {camera} has no face from {start} to {end}; choose another stretch")
    if len(captured.models) > 1:
        raise ConfigError(
            f"camera {camera}: {', '.join(captured.models)} scored these captures; choose a stretch of one"
        )
    path = baseline_path(home, camera)
    about = {"camera": camera, "model": captured.models[0], "start": str(aware(start)), "end": str(aware(end))}
    rows = _frozen(captured).replace_schema_metadata({b"baseline": json.dumps(about).encode()})
    Reference.of(rows, MEASURES, "block", f"the baseline of {camera}")
    with new_file(path) as building:
        pq.write_table(rows, building, compression="zstd")
    return _read(path, MEASURES, 24)


def _frozen(captured: Window) -> pa.Table:
    kept = captured.drawn(f"baseline {captured.camera}", MOST, rejected=True)
    kept = kept[np.argsort(captured.hour[kept], kind="stable")]
    columns = {name: pa.array(values[kept], from_pandas=True) for name, values in captured.columns.items()}
    rows = pa.table({"block": captured.hour[kept], "rejected": captured.rejected[kept], **columns}).cast(BASELINE)
    if captured.embeddings is None:
        return rows
    vectors = [None if np.isnan(vector[0]) else vector for vector in captured.embeddings[kept]]
    return rows.append_column(EMBEDDING, pa.array(vectors, EMBEDDING.type))


class RunAt(BaseModel):
    """A false match rate as it is called, and the cosine that gives it."""

    fmr: str
    threshold: float


class Profile(BaseModel):
    """What is read of `profile.json`: the model, and at what misses are counted, if it states a threshold."""

    model: str
    run_at: RunAt | None = None


def read_profile(folder: Path) -> Profile:
    """What a reference profile says of itself.

    Raises:
        ConfigError: it is missing, or holds something else.
    """
    path = folder / "profile.json"
    try:
        return Profile.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise ConfigError(f"{path} holds no profile: {error}; run the stage reference") from error


@dataclass(frozen=True)
class References:
    """All that windows may be compared with, as it is at one moment.

    Attributes:
        home: that holds the baselines.
        folder: of the shipped profile, `data/reference`.
        columns: that are watched.
        hours: of a window.
    """

    home: Home
    folder: Path
    columns: tuple[str, ...]
    hours: int
    _known: dict[str, Reference] = field(default_factory=dict, repr=False)

    def of(self, camera: str) -> Reference:
        """A camera's baseline, or else the shipped profile.

        Raises:
            ConfigError: neither is there, or it cannot be read.
        """
        path = baseline_path(self.home, camera)
        if not path.is_file():
            return self._once("", self._profile)
        return self._once(camera, lambda: _read(path, self.columns, self.hours))

    def accepted(self, camera: str) -> bool:
        """Whether a camera has a baseline of its own."""
        return baseline_path(self.home, camera).is_file()

    def together(self, cameras: Sequence[str]) -> Reference:
        """What several cameras together are compared with.

        Their baselines in equal parts, as windows of all cameras have an equal part of each: that a camera has more
        traffic than another one, or less than last month, is no drift of faces.

        Args:
            cameras: with a baseline each; or without, and then it is the profile.
        """
        if not all(self.accepted(camera) for camera in cameras):
            return self._once("", self._profile)
        key = "\0".join(["*", *cameras])
        return self._once(key, lambda: Reference.joined([self.of(c) for c in cameras], "all baselines"))

    def profile(self) -> Profile:
        """What the shipped profile says of itself; see `read_profile`."""
        return read_profile(self.folder)

    def price(self) -> Price | None:
        """What captures cost in misses; none: the profile has no price, and its `profile.json` says why."""
        path = self.folder / "price.npz"
        return Price.load(path) if path.is_file() else None

    def _profile(self) -> Reference:
        path = self.folder / "faces.parquet"
        rows = _table(path, "run the stage reference")
        return Reference.of(rows, self.columns, "person", PROFILE, self.profile().model)

    def _once(self, key: str, make: Callable[[], Reference]) -> Reference:
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]


def _read(path: Path, columns: Sequence[str], hours: int) -> Reference:
    rows = _table(path, "accept the baseline again")
    try:
        about = json.loads(rows.schema.metadata[b"baseline"])
        model, camera = str(about["model"]), str(about["camera"])
    except (TypeError, KeyError, ValueError) as error:
        raise ConfigError(f"{path} is no baseline; accept it again") from error
    return Reference.of(rows, columns, "block", f"the baseline of {camera}", model, hours)


def _table(path: Path, fix: str) -> pa.Table:
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise ConfigError(f"{path} cannot be read: {error}; {fix}") from error
