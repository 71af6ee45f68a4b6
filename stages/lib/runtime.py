"""The machine a stage runs on, read from the environment and never from params."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from stages.lib.errors import ConfigError

T = TypeVar("T")


@dataclass(frozen=True)
class Runtime:
    """Where and how wide the work runs; nothing here may change a result.

    Attributes:
        wanted_device: torch device name; empty: a GPU where there is one.
        threads: that one inference session may use; on a CPU, also how many processes render or learn side by side.
        workers: processes that a data stage may spread its shards over.
        scratch: folder for what a killed run may resume from; never a DVC output.
        line: of the terminal, counted downwards, that this process shows its progress on.
    """

    wanted_device: str
    threads: int
    workers: int
    scratch: Path
    line: int = 0

    @classmethod
    def from_environment(cls) -> Runtime:
        """Read `STAGES_DEVICE`, `STAGES_THREADS`, `STAGES_WORKERS` and `STAGES_SCRATCH`.

        Raises:
            ConfigError: a variable holds something that cannot be used here.
        """
        return cls(
            wanted_device=os.environ.get("STAGES_DEVICE", ""),
            threads=_count("STAGES_THREADS", os.cpu_count() or 1),
            workers=_count("STAGES_WORKERS", 1),
            scratch=Path(os.environ.get("STAGES_SCRATCH", ".scratch/stages")),
        )

    @property
    def device(self) -> str:
        """The torch device to compute on; asking imports torch, which stages without tensors spare.

        Raises:
            ConfigError: the device that is wanted is not there.
        """
        import torch

        gpus = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
        there = ["cpu", *(["cuda", *gpus] if gpus else [])]
        if self.wanted_device and self.wanted_device not in there:
            raise ConfigError(f"STAGES_DEVICE={self.wanted_device!r} is not here; choose from {', '.join(there)}")
        return self.wanted_device or ("cuda" if gpus else "cpu")

    def progress(self, items: Iterable[T], what: str, unit: str, total: int | None = None) -> Iterator[T]:
        """Pass items through under a progress bar: live on a terminal, a line now and then in a log."""
        live = sys.stderr.isatty()
        shown = tqdm(
            items,
            desc=what,
            unit=f" {unit}",
            total=total,
            mininterval=0.2 if live else 10.0,
            dynamic_ncols=True,
            position=self.line if live else None,  # a log has no lines to go down to
        )
        return iter(shown)


def _count(variable: str, default: int) -> int:
    text = os.environ.get(variable, str(default))
    if not text.isdigit() or int(text) < 1:
        raise ConfigError(f"{variable}={text!r}: give a whole number of at least 1")
    return int(text)
