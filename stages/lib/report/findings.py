"""Everything that was measured, and the questions that tables and charts ask of it."""

from __future__ import annotations

from dataclasses import dataclass

from stages.lib.metrics.verification import target_name
from stages.lib.report.bands import Band
from stages.lib.report.candidates import Candidate
from stages.lib.report.conditions import CLEAN, DEGRADED, TRANSFER, Grid
from stages.lib.report.curves import Curve
from stages.lib.report.lists import PairList
from stages.lib.report.pool import Difference, Estimate, differences, pooled
from stages.lib.report.trial import Measurement


@dataclass(frozen=True)
class ModelFindings:
    """What one model file did.

    Attributes:
        model: the file.
        conditions: by name of the condition; `degraded_mean` as well where there is a grid.
        lists: by name of the published list.
        curves: DET curves of the clean faces and of all degraded cells under one threshold.
        bands: FNMR by quality; empty for files that do not ship.
    """

    model: Candidate
    conditions: dict[str, Measurement]
    lists: dict[str, Measurement]
    curves: tuple[Curve, ...]
    bands: tuple[Band, ...]


@dataclass(frozen=True)
class Facts:
    """What the figures rest on.

    Attributes:
        faces: clean test faces.
        people: of these.
        genuine: pairs of one person, among the clean test faces.
        impostor: pairs of two people.
        grid_people: people with degraded faces.
        replicates: resamples of the people.
        fmr_targets: false match rates at which FNMR is read; the first also freezes the threshold.
    """

    faces: int
    people: int
    genuine: int
    impostor: int
    grid_people: int
    replicates: int
    fmr_targets: tuple[float, ...]

    @property
    def fnmr(self) -> str:
        """Name of the FNMR that headlines show."""
        return f"fnmr@{target_name(self.fmr_targets[0])}"


@dataclass(frozen=True)
class Findings:
    """All models over all conditions.

    Attributes:
        models: one entry a file; the seeds of a student stand together.
        grid: the conditions.
        lists: published lists that could be used.
        facts: sizes.
        notes: what was left out, and why.
    """

    models: tuple[ModelFindings, ...]
    grid: Grid
    lists: tuple[PairList, ...]
    facts: Facts
    notes: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """Model names in the order of `models`."""
        return list(dict.fromkeys(m.model.name for m in self.models))

    @property
    def columns(self) -> list[str]:
        """Every condition, the mean over the degraded ones included."""
        return list(self.models[0].conditions)

    @property
    def shown(self) -> list[str]:
        """`columns` without the clean faces of the grid where these are all test faces."""
        whole = self.grid.faces == self.facts.faces
        return [c for c in self.columns if not (whole and c == CLEAN)]

    @property
    def transfers(self) -> list[str]:
        """Conditions of other sources' people."""
        return [c for c in self.columns if c.startswith(TRANSFER)]

    @property
    def treatments(self) -> list[str]:
        """Students that are judged against a control."""
        return [name for name in self.names if self.shipped(name).model.control is not None]

    def of(self, name: str) -> list[ModelFindings]:
        """Every file of a model, by seed."""
        return [m for m in self.models if m.model.name == name]

    def shipped(self, name: str) -> ModelFindings:
        """The file that leaves under this name."""
        return next(m for m in self.of(name) if m.model.shipped)

    def estimate(self, name: str, condition: str) -> dict[str, Estimate]:
        """Figures of a model in a condition: mean over its seeds, with intervals."""
        return pooled([m.conditions[condition] for m in self.of(name)])

    def estimate_list(self, name: str, pairs: str) -> dict[str, Estimate]:
        """Figures of a model on a published list."""
        return pooled([m.lists[pairs] for m in self.of(name)])

    def difference(self, name: str, condition: str) -> dict[str, Difference]:
        """A treatment minus its control, over the seeds that both have; empty where they share none."""
        control = self.shipped(name).model.control
        base = {} if control is None else {m.model.seed: m for m in self.of(control)}
        paired = [(m, base[m.model.seed]) for m in self.of(name) if m.model.seed in base]
        if not paired:
            return {}
        return differences([m.conditions[condition] for m, _ in paired], [c.conditions[condition] for _, c in paired])

    def resolved(self, name: str, condition: str, metric: str) -> bool:
        """Whether a figure rests on enough impostor pairs in every seed; only a `fnmr@` may not."""
        if not metric.startswith("fnmr@"):
            return True
        flag = metric.replace("fnmr@", "resolved@")
        cells = [c.name for c in self.grid.degraded] if condition == DEGRADED else [condition]
        return all(bool(m.conditions[cell].values[flag]) for m in self.of(name) for cell in cells)
