"""The people that a student learns from, and those that it is looked at with while it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow.dataset as ds

from stages.lib.fingerprint import fingerprint
from stages.lib.runtime import Runtime
from stages.lib.table import Table
from stages.lib.training.data import FaceSet, load_faces


@dataclass(frozen=True)
class People:
    """Faces in memory-mapped arrays.

    Attributes:
        learnt: that are trained on.
        val: people of the same sources that are not.
        elsewhere: clean faces of the people whom no split but `transfer` holds, by source; empty where no objective
            parses faces.
    """

    learnt: FaceSet
    val: FaceSet
    elsewhere: Mapping[str, FaceSet]

    @property
    def unseen(self) -> dict[str, FaceSet]:
        """All that are not trained on, by where they are from."""
        return {"val": self.val, **self.elsewhere}


@dataclass(frozen=True)
class Inputs:
    """What a student learns from.

    Attributes:
        aligned: clean faces.
        variants: their degradations.
        templates: the teacher's.
        operators: degradation -> its probability, where the student is to see them made anew at every step.
    """

    aligned: Table
    variants: Table
    templates: Table
    operators: Mapping[str, float]

    @property
    def content_id(self) -> str:
        """Changes with any of the tables."""
        return fingerprint(self.aligned.content_id, self.variants.content_id, self.templates.content_id)

    @property
    def licence(self) -> str:
        """Of the teacher's templates."""
        return ", ".join(sorted(set(self.templates.read(["licence"])["licence"].to_pylist())))

    def unpack(self, needs: frozenset[str], fresh: bool, arrays: Path, runtime: Runtime) -> People:
        """Read the tables into arrays, or take up the arrays of an earlier call.

        Args:
            needs: of the objectives; see `load_faces`.
            fresh: whether faces are degraded anew at every step, so that their variants are not learnt from.
            arrays: folder in scratch whose name changes with the tables.
            runtime: for the progress bar.

        Raises:
            ConfigError: see `load_faces`.
        """
        parses = needs & {"parses"}
        variants, place = (None, arrays / "clean") if fresh else (self.variants, arrays)
        return People(
            load_faces(self.aligned, variants, self.templates, "train", place, runtime, needs),
            load_faces(self.aligned, self.variants, self.templates, "val", arrays, runtime, parses),
            {source: self._elsewhere(source, arrays, runtime) for source in self._sources() if parses},
        )

    def _sources(self) -> list[str]:
        return sorted(set(self.aligned.read(["source"], ds.field("split") == "transfer")["source"].to_pylist()))

    def _elsewhere(self, source: str, arrays: Path, runtime: Runtime) -> FaceSet:
        return load_faces(self.aligned, None, None, "transfer", arrays, runtime, frozenset({"parses"}), source)
