"""What a degradation operator is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from stages.lib.degrade.keys import Uniform
from stages.lib.errors import ConfigError
from stages.lib.geometry.template import SIZE

Params = dict[str, NDArray[Any]]
"""Name to one value per face, (N,) or (N, ...): numbers or strings."""

Landmarks = NDArray[np.floating[Any]]
"""(N, 5, 2) pixels of the aligned face, in the order of the face table."""

SIDE = SIZE


@dataclass(frozen=True)
class Operator:
    """A degradation with its random draw and its fixed grid of severities.

    Pixels go in and come out in 8 bits, as between two devices that store a photograph: thus a chain of
    operators replays exactly from what was recorded.

    Attributes:
        name: as in params and in the `d_operator` column.
        levels: what a severity fixes, from mild (1) to hard; everything else stays the face's own draw, so
            that the severities of a face differ in strength alone.
        draws: uniform numbers that `sample` takes per face.
        sample: (N, draws) uniform numbers to the parameters of a training draw.
        apply: images (N, 3, 112, 112) uint8 RGB, parameters, landmarks -> new images, same shape and type. It
            never writes to its input, and a face's result does not depend on the rest of the batch.
        relabel: the same for what is to be seen: segmentation (N, 112, 112) uint8 of `Label`. None: every pixel
            stays what it is.
    """

    name: str
    levels: tuple[Mapping[str, float | int | str], ...]
    draws: int
    sample: Callable[[Uniform], Params]
    apply: Callable[[Tensor, Params, Landmarks], Tensor]
    relabel: Callable[[Tensor, Params, Landmarks], Tensor] | None = None
    moves: bool = False

    def severity(self, level: int) -> Mapping[str, float | int | str]:
        """The parameters that a severity fixes.

        Raises:
            ConfigError: the operator has no such level.
        """
        if not 1 <= level <= len(self.levels):
            raise ConfigError(f"{self.name}: severity {level} is not in 1 to {len(self.levels)}")
        return self.levels[level - 1]

    def parameters(self, u: Uniform, level: int | None) -> Params:
        """Parameters of each face: its own draw, and over it what the severity fixes, if there is one."""
        fixed = {} if level is None else self.severity(level)
        return self.sample(u) | {name: np.full(len(u), value) for name, value in fixed.items()}
