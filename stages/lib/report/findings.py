"""Everything that was measured, and the questions that tables and charts ask of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from stages.lib.metrics.bootstrap import Estimate
from stages.lib.metrics.verification import target_name
from stages.lib.report.bands import Band
from stages.lib.report.candidates import Candidate
from stages.lib.report.conditions import CLEAN, DEGRADED, Grid, family_of, is_transfer
from stages.lib.report.curves import Curve
from stages.lib.report.discard import GROUPS, Discard
from stages.lib.report.lists import PairList
from stages.lib.report.pool import Difference, differences, pooled
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
        covers: condition -> what the map of covers was worth (`covers.measure_covers`); empty for a model without one.
        qualities: condition -> means of its qualities, and group of conditions -> what they are worth there
            (`discard.measure_discard`).
        discards: curves of its qualities; empty for files that do not ship.
    """

    model: Candidate
    conditions: dict[str, Measurement]
    lists: dict[str, Measurement]
    curves: tuple[Curve, ...]
    bands: tuple[Band, ...]
    covers: Mapping[str, Measurement]
    qualities: Mapping[str, Measurement]
    discards: tuple[Discard, ...]


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
        aims: student -> families of conditions (see `conditions.family_of`) that its method is for.
    """

    models: tuple[ModelFindings, ...]
    grid: Grid
    lists: tuple[PairList, ...]
    facts: Facts
    notes: tuple[str, ...]
    aims: Mapping[str, tuple[str, ...]]

    @property
    def names(self) -> list[str]:
        """Model names in the order of `models`."""
        return list(dict.fromkeys(m.model.name for m in self.models))

    @property
    def others(self) -> list[str]:
        """Models of other families: the teacher, and peers."""
        return [name for name in self.names if self.shipped(name).model.role != "student"]

    def judges(self, other: str) -> list[str]:
        """Students whose quality was held against the scores of a model of another family."""
        groups = self.groups[:1]
        told = f"of_{other}_quality_correlation"
        return [n for n in self.names if any(told in self.shipped(n).qualities[group].values for group in groups)]

    @property
    def columns(self) -> list[str]:
        """Every condition, the mean over the degraded ones included."""
        return list(self.models[0].conditions)

    @property
    def groups(self) -> list[str]:
        """Groups of conditions that qualities are measured in."""
        return [group for group in GROUPS if group in self.models[0].qualities]

    @property
    def shown(self) -> list[str]:
        """`columns` without the clean faces of the grid where these are all test faces."""
        whole = self.grid.faces == self.facts.faces
        return [c for c in self.columns if not (whole and c == CLEAN)]

    @property
    def transfers(self) -> list[str]:
        """Conditions of other sources' people."""
        return [c for c in self.columns if is_transfer(c)]

    @property
    def treatments(self) -> list[str]:
        """Students that are judged against a control."""
        return [name for name in self.names if self.controls(name)]

    @property
    def comparisons(self) -> list[tuple[str, str]]:
        """Every treatment with each of its controls."""
        return [(name, control) for name in self.treatments for control in self.controls(name)]

    def controls(self, name: str) -> tuple[str, ...]:
        """Students that a model is judged against."""
        return self.shipped(name).model.controls

    def own(self, aim: str) -> list[str]:
        """Conditions of a family, as `aims` names them."""
        return [c for c in self.columns if family_of(c) == aim]

    def of(self, name: str) -> list[ModelFindings]:
        """Every file of a model, by seed."""
        return [m for m in self.models if m.model.name == name]

    def shipped(self, name: str) -> ModelFindings:
        """The file that leaves under this name."""
        return next(m for m in self.of(name) if m.model.shipped)

    def estimate(self, name: str, condition: str) -> dict[str, Estimate]:
        """Figures of a model in a condition: mean over its seeds, with intervals."""
        return self._estimates[name, condition]

    def estimate_list(self, name: str, pairs: str) -> dict[str, Estimate]:
        """Figures of a model on a published list."""
        return pooled([m.lists[pairs] for m in self.of(name)])

    def estimate_covers(self, name: str) -> dict[str, dict[str, Estimate]]:
        """Condition -> figures of a model's map of covers, mean over its seeds; empty for a model without one."""
        return self._covers[name]

    def estimate_quality(self, name: str) -> dict[str, dict[str, Estimate]]:
        """Condition, or group of them -> figures of a model's qualities, mean over its seeds."""
        return self._qualities[name]

    def difference(self, name: str, condition: str, control: str) -> dict[str, Difference]:
        """A treatment minus a control of its in a condition, or in the worth of qualities in a group of conditions.

        Over the seeds that both have; empty where they share none.
        """
        return self._differences[name, condition, control]

    @cached_property
    def _estimates(self) -> dict[tuple[str, str], dict[str, Estimate]]:
        return {(n, c): pooled([m.conditions[c] for m in self.of(n)]) for n in self.names for c in self.columns}

    @cached_property
    def _covers(self) -> dict[str, dict[str, dict[str, Estimate]]]:
        files = {name: self.of(name) for name in self.names}
        return {n: {c: pooled([m.covers[c] for m in found]) for c in found[0].covers} for n, found in files.items()}

    @cached_property
    def _qualities(self) -> dict[str, dict[str, dict[str, Estimate]]]:
        files = {name: self.of(name) for name in self.names}
        return {n: {c: pooled([m.qualities[c] for m in f]) for c in f[0].qualities} for n, f in files.items()}

    @cached_property
    def _differences(self) -> dict[tuple[str, str, str], dict[str, Difference]]:
        found = {}
        for name, control in self.comparisons:
            base = {m.model.seed: m for m in self.of(control)}
            pairs = [(m, base[m.model.seed]) for m in self.of(name) if m.model.seed in base]
            for c in self.columns:
                sides = ([side.conditions[c] for side in both] for both in zip(*pairs, strict=True))
                found[name, c, control] = differences(*sides) if pairs else {}
            for c in self.groups:
                sides = ([side.qualities[c] for side in both] for both in zip(*pairs, strict=True))
                found[name, c, control] = differences(*sides) if pairs else {}
        return found

    def resolved(self, name: str, condition: str, metric: str) -> bool:
        """Whether a figure rests on enough impostor pairs in every seed; only one at a false match rate may not."""
        name_of, _, target = metric.partition("@")
        if name_of not in ("fnmr", "tar") or target == "frozen":
            return True
        flag = f"resolved@{target}"
        cells = [c.name for c in self.grid.degraded] if condition == DEGRADED else [condition]
        return all(bool(m.conditions[cell].values[flag]) for m in self.of(name) for cell in cells)
