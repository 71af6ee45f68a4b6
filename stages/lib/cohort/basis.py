"""The head model: an artist's bust, how his targets move it, and tables that were computed from it once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BASIS_FILE: Final = Path(__file__).with_name("head_basis.npz")
PARTS: Final = ("body", "eye", "teeth", "tongue")
"""What the `part` of a face means; `head.Material` starts with the same names."""
CROWN: Final = (0.0, 7.55, 0.30)
"""Middle of the skull of the neutral head, from which the scalp is measured; head space."""
SCALP_ELEVATIONS: Final = tuple(range(90, -61, -5))
"""Degrees above the horizon of `CROWN`."""
SCALP_CORNERS: Final = 6
"""Vertices that a point of the scalp is a mean of."""


@dataclass(frozen=True)
class Targets:
    """Names of what can be moved; enough to draw people without the tensors.

    Attributes:
        names: K targets: `race:` whole heads, `univ:` build, `loc:` one feature, `act:` face units.
        opposites: region and the two targets, without `loc:`, that undo each other: negative, positive.
    """

    names: tuple[str, ...]
    opposites: tuple[tuple[str, str, str], ...]

    @property
    def actions(self) -> tuple[str, ...]:
        """The face units, which make expressions."""
        return tuple(name for name in self.names if name.startswith("act:"))


@dataclass(frozen=True, eq=False)
class Basis:
    """The model on one device; V vertices, K targets, decimetres.

    Attributes:
        targets: names of the targets.
        vertices: (V, 3) float64 before any target.
        moves: (K, 3 V) float64 of the targets at weight 1.
        neutral: (V, 3) mean of the young heads, which paint is laid out on.
        triangles: (F, 3) int64.
        part: (F,) int64, row of `PARTS`.
        attributes: (V, 5) 0..1: lips, inner mouth, ear, open to light, lid.
        landmarks: (68,) int64 vertices.
        scalp: (A, E, 6) int64 vertices whose mean is the scalp at an azimuth and elevation from `CROWN`.
        scalp_weights: (A, E, 6) of them.
    """

    targets: Targets
    vertices: Tensor
    moves: Tensor
    neutral: Tensor
    triangles: Tensor
    part: Tensor
    attributes: Tensor
    landmarks: Tensor
    scalp: Tensor
    scalp_weights: Tensor

    def weights(self, people: Sequence[Mapping[str, float]]) -> Tensor:
        """(B, K) target weights from B mappings of names to weights.

        Raises:
            ValueError: a name is not a target.
        """
        rows = {name: row for row, name in enumerate(self.targets.names)}
        table = np.zeros((len(people), len(rows)))
        for person, weights in zip(table, people, strict=True):
            if unknown := weights.keys() - rows.keys():
                raise ValueError(f"not targets of the head basis: {', '.join(sorted(unknown))}")
            person[[rows[name] for name in weights]] = list(weights.values())
        return torch.as_tensor(table, device=self.vertices.device)

    def deform(self, weights: Tensor) -> Tensor:
        """(B, V, 3) float32 vertices for (B, K) weights.

        Summed in double precision: the order of a sum depends on the batch, its rounding to single does not.
        """
        moved = self.vertices.view(1, -1) + weights.to(self.moves) @ self.moves
        return moved.to(torch.float32).view(len(weights), -1, 3)


@cache
def load_targets() -> Targets:
    """The names alone, without the tensors."""
    with np.load(BASIS_FILE, allow_pickle=False) as arrays:
        opposites = tuple((str(region), str(low), str(high)) for region, low, high in arrays["opposites"])
        return Targets(tuple(str(name) for name in arrays["names"]), opposites)


@cache
def load_basis(device: str = "cpu") -> Basis:
    """The basis on a device, read once a process."""
    with np.load(BASIS_FILE, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files if name not in ("names", "opposites")}

    def tensor(name: str, kind: torch.dtype) -> Tensor:
        return torch.from_numpy(arrays[name]).to(device=device, dtype=kind)

    quads = torch.from_numpy(arrays["quads"].astype(np.int64)).to(device)
    scalp = torch.from_numpy(arrays["scalp"].astype(np.int64)).to(device)
    landmarks = torch.from_numpy(arrays["landmarks"].astype(np.int64)).to(device)
    triangles = torch.cat([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    whole = triangles[:, 1] != triangles[:, 2]
    return Basis(
        targets=load_targets(),
        vertices=tensor("vertices", torch.float64),
        moves=tensor("targets", torch.float64).flatten(1),
        neutral=tensor("neutral", torch.float32),
        triangles=triangles[whole],
        part=tensor("part", torch.int64).repeat(2)[whole],
        attributes=tensor("attributes", torch.float32) / 255,
        landmarks=landmarks,
        scalp=scalp,
        scalp_weights=tensor("scalp_weights", torch.float32),
    )


def digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 of names, types, shapes and bytes: the same for the same contents however they are packed."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        total.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        total.update(array.tobytes())
    return total.hexdigest()
