"""Where the watch keeps its state: beside the repository's data, outside Git and DVC."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

VARIABLE: Final = "FLOWS_HOME"
EXPORTED: Final = Path("data/exported")
REFERENCE: Final = Path("data/reference")
ALIGNED: Final = Path("data/aligned")
GRID: Final = Path("data/grid")
"""What the pipeline writes that the watch reads, below the repository."""


@dataclass(frozen=True)
class Home:
    """A folder that holds all that the watch knows. It speaks of faces: protect it.

    Attributes:
        root: the folder; it need not exist yet.
    """

    root: Path

    @classmethod
    def from_environment(cls) -> Home:
        """The folder that `FLOWS_HOME` names, else `.watch` here."""
        return cls(Path(os.environ.get(VARIABLE, ".watch")).resolve())

    @property
    def settings(self) -> Path:
        """How production is watched, as the operator set it; it need not exist. It may hold secrets."""
        return self.root / "settings.yaml"

    @property
    def captures(self) -> Path:
        """The capture log, Parquet by day."""
        return self.root / "captures"

    @property
    def inbox(self) -> Path:
        """Where cameras leave their captures for `score`."""
        return self.root / "inbox"

    @property
    def refused(self) -> Path:
        """What lay in the inbox and could not be scored, for a person to look at."""
        return self.root / "refused"

    @property
    def gallery(self) -> Path:
        """Templates of enrolled people; there need be none."""
        return self.root / "gallery.parquet"

    @property
    def baselines(self) -> Path:
        """What each camera is compared with, once an operator has accepted a stretch of its captures as normal."""
        return self.root / "baselines"

    @property
    def drift(self) -> Path:
        """The drift store: one Parquet file a window."""
        return self.root / "drift"

    @property
    def alerts(self) -> Path:
        """One JSON file an alarm, and what was sent of it."""
        return self.root / "alerts"

    @property
    def workspace(self) -> Path:
        """Evidently's workspace; made from the drift store, and may be deleted at any time."""
        return self.root / "workspace"

    @property
    def released(self) -> Path:
        """Captures that an operator has labelled and released for training: `PERSON/IMAGE`."""
        return self.root / "released"

    @property
    def challengers(self) -> Path:
        """Clones in which challengers are built."""
        return self.root / "challengers"

    @property
    def releases(self) -> Path:
        """Every model that was promoted or held, with what it was judged by."""
        return self.root / "releases"

    @property
    def page(self) -> Path:
        """The watch as one HTML file."""
        return self.root / "watch.html"

    @property
    def reference(self) -> Path:
        """Profile of the model in production: the champion's, or before there is one, the pipeline's."""
        champion = self.champion / "reference"
        return champion if champion.is_dir() else REFERENCE

    @property
    def champion(self) -> Path:
        """A link to the release that is in production."""
        return self.root / "champion"
