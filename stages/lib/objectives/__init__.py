"""What a student is trained for: terms that each have a file here, a weight and a schedule, summed by the loop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor, nn

from stages.lib.errors import ConfigError
from stages.lib.models.student import FaceEncoder
from stages.lib.objectives.base import Batch, Task, Term, View

__all__ = ["Batch", "Objectives", "Task", "Term", "View", "heads", "needs"]

Settings = Mapping[str, Mapping[str, Any]]
"""Name of a file here -> `weight`, `start` and `ramp` of the term, and the arguments of its `Objective`."""


def needs(settings: Settings) -> frozenset[str]:
    """What the terms learn from beside faces and people; see `Term.needs`."""
    return frozenset().union(*(_kind(name).needs(given) for name, given in settings.items()))


def heads(settings: Settings) -> dict[str, Any]:
    """What the terms train the student to say beside its embedding, as `build_encoder` takes it."""
    found = {name: _kind(name).says(given) for name, given in settings.items()}
    return {name: head for name, head in found.items() if head is not None}


def _kind(name: str) -> type[Term]:
    """The term that the file of this name defines."""
    found: type[Term] = import_module(f"{__name__}.{name}").Objective
    return found


class Objectives(nn.Module):
    """A weighted sum of terms over one forward pass of the student."""

    def __init__(self, settings: Settings, task: Task) -> None:
        """Build every term.

        Args:
            settings: by name; `start` and `ramp` are shares of the training, 0 where they are left out.
            task: what the terms must fit.

        Raises:
            ConfigError: no term has a weight above 0, or one does not fit the task.
        """
        super().__init__()
        chosen = {name: dict(given) for name, given in settings.items()}
        if not any(given["weight"] > 0 for given in chosen.values()):
            raise ConfigError("a student needs at least one objective of weight above 0")
        schedule = {
            name: (given.pop("weight"), given.pop("start", 0.0), given.pop("ramp", 0.0))
            for name, given in chosen.items()
        }
        self._schedule: dict[str, tuple[float, float, float]] = schedule
        self.terms = nn.ModuleDict({name: _kind(name)(task, **given) for name, given in chosen.items()})

    def weight(self, name: str, done: float) -> float:
        """Weight of a term where a share `done` of the training lies behind: 0 before its start, then rising."""
        full, start, ramp = self._schedule[name]
        if done < start:
            return 0.0
        return full * min(1.0, (done - start) / ramp) if ramp else full

    def forward(self, view: View, batch: Batch) -> dict[str, Tensor]:
        """Return each term that has begun, unweighted, and `total`; scalars."""
        weights = {name: self.weight(name, batch.done) for name in self.terms}
        terms = {name: self.terms[name](view, batch) for name, weight in weights.items() if weight > 0}
        zero = 0.0 * view.raw.sum()  # a step before any term begins has a total too
        total = torch.stack([zero, *(weights[name] * value for name, value in terms.items())]).sum()
        return {**terms, "total": total}

    def figures(self, encoder: FaceEncoder) -> dict[str, float]:
        """What the terms measure of themselves, the encoder in eval mode."""
        self.eval()
        found = {key: value for term in self._all() for key, value in term.figures(encoder).items()}
        self.train()
        return found

    def artefacts(self) -> Iterator[tuple[str, pa.Table]]:
        """File name and rows of everything that the terms leave beside the student."""
        for term in self._all():
            yield from term.artefacts()

    def _all(self) -> list[Term]:
        return [term for term in self.terms.values() if isinstance(term, Term)]
