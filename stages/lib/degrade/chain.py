"""Operators applied to faces: one at a fixed severity, or a random chain of them, or what was recorded."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.lib.degrade.keys import Uniform, draws
from stages.lib.degrade.operator import SIDE, Landmarks, Operator, Params
from stages.lib.degrade.registry import OPERATORS
from stages.lib.errors import ConfigError

Step = dict[str, Any]
"""`operator` and its parameters for one face, of plain JSON types."""

# Faces at once, which changes no pixel: few enough for the cache of a CPU, many enough to fill a GPU.
_CPU_CHUNK, _GPU_CHUNK = 64, 1024


@dataclass(frozen=True)
class Degraded:
    """Degraded faces and how they came about.

    Attributes:
        images: (N, 3, 112, 112) uint8 RGB, on the device that was asked for.
        params: per face a JSON list of steps in order, `[{"operator": "blur", "sigma": 2.0}]`, as `replay`
            takes it.
    """

    images: Tensor
    params: list[str]


def degrade(
    images: Tensor,
    face_ids: Sequence[str],
    landmarks: Landmarks,
    operator: str,
    severity: int | None,
    seed: int,
    device: torch.device | str = "cpu",
) -> Degraded:
    """Apply one operator to every face.

    Args:
        images: (N, 3, 112, 112) uint8 RGB; not modified.
        face_ids: N ids, the keys of the random draws.
        landmarks: (N, 5, 2) in aligned pixels.
        operator: a name in `OPERATORS`.
        severity: 1 (mild) to the operator's number of levels, or None for a draw as in training. What the
            severity leaves open is drawn per face, the same at every severity.
        seed: of the draws.
        device: where to compute.

    Raises:
        ConfigError: no such operator or severity.
        ValueError: the inputs do not fit together.
    """
    chosen = _operator(operator)
    u = draws(seed, face_ids, operator, chosen.draws)
    return _record(images, landmarks, [[step] for step in _steps(chosen, u, severity)], device)


def training_variant(
    images: Tensor,
    face_ids: Sequence[str],
    landmarks: Landmarks,
    operators: Mapping[str, float],
    seed: int,
    variant: int,
    device: torch.device | str = "cpu",
) -> Degraded:
    """Apply to each face its own random set of operators, in the order of `OPERATORS`.

    Args:
        images: (N, 3, 112, 112) uint8 RGB; not modified.
        face_ids: N ids, the keys of the random draws.
        landmarks: (N, 5, 2) in aligned pixels.
        operators: name to the probability that a face gets it, independent of the others; a face may get
            none.
        seed: of the draws.
        variant: number of the variant; each has draws of its own.
        device: where to compute.

    Raises:
        ConfigError: no such operator, or a probability outside 0 to 1.
        ValueError: the inputs do not fit together.
    """
    for name, probability in operators.items():
        _operator(name)
        if not 0 <= probability <= 1:
            raise ConfigError(f"{name}: probability {probability} is not in 0 to 1")
    chains: list[list[Step]] = [[] for _ in face_ids]
    for name, chosen in OPERATORS.items():
        u = draws(seed, face_ids, f"{name}#{variant}", 1 + chosen.draws)
        hit = np.flatnonzero(u[:, 0] < operators.get(name, 0.0))
        for face, step in zip(hit, _steps(chosen, u[hit, 1:], None), strict=True):
            chains[face].append(step)
    return _record(images, landmarks, chains, device)


def replay(images: Tensor, landmarks: Landmarks, params: Sequence[str], device: torch.device | str = "cpu") -> Tensor:
    """Apply recorded steps again: the same faces give the same pixels.

    Raises:
        ConfigError: a step names no operator.
        ValueError: the inputs do not fit together.
    """
    return _apply(images, landmarks, [json.loads(chain) for chain in params], device)


def relabel(classes: Tensor, landmarks: Landmarks, params: Sequence[str], device: torch.device | str = "cpu") -> Tensor:
    """What is to be seen after recorded steps: a segmentation is moved and covered like its face.

    Args:
        classes: (N, 112, 112) uint8 of `Label`; not modified.
        landmarks: (N, 5, 2) in aligned pixels, as they were given to the steps.
        params: as `Degraded.params`.
        device: where to compute.

    Raises:
        ConfigError: a step names no operator.
        ValueError: the inputs do not fit together.
    """
    chains = [json.loads(chain) for chain in params]
    _check(classes, (), landmarks, chains)
    return _each_chunk(classes, landmarks, chains, device, lambda operator: operator.relabel)


def _operator(name: str) -> Operator:
    if name not in OPERATORS:
        raise ConfigError(f"no degradation operator {name!r}: choose from {', '.join(OPERATORS)}")
    return OPERATORS[name]


def _steps(operator: Operator, u: Uniform, severity: int | None) -> list[Step]:
    columns = {name: values.tolist() for name, values in operator.parameters(u, severity).items()}
    rows = zip(*columns.values(), strict=True)
    return [{"operator": operator.name, **dict(zip(columns, row, strict=True))} for row in rows]


def _record(images: Tensor, landmarks: Landmarks, chains: list[list[Step]], device: torch.device | str) -> Degraded:
    return Degraded(_apply(images, landmarks, chains, device), [json.dumps(chain) for chain in chains])


Act = Callable[[Tensor, Params, Landmarks], Tensor]


def _apply(
    images: Tensor, landmarks: Landmarks, chains: Sequence[Sequence[Step]], device: torch.device | str
) -> Tensor:
    _check(images, (3,), landmarks, chains)
    return _each_chunk(images, landmarks, chains, device, lambda operator: operator.apply)


def _each_chunk(
    values: Tensor,
    landmarks: Landmarks,
    chains: Sequence[Sequence[Step]],
    device: torch.device | str,
    act: Callable[[Operator], Act | None],
) -> Tensor:
    out = values.to(device, copy=True)
    chunk = _CPU_CHUNK if out.device.type == "cpu" else _GPU_CHUNK
    for start in range(0, len(out), chunk):
        part = slice(start, start + chunk)
        out[part] = _walked(out[part], landmarks[part], chains[part], act)
    return out


@torch.inference_mode()
def _walked(
    values: Tensor, landmarks: Landmarks, chains: Sequence[Sequence[Step]], act: Callable[[Operator], Act | None]
) -> Tensor:
    """Act step by step: faces whose next step is the same operator share a call.

    The first in the order of `OPERATORS` has its turn, so that chains of that order meet in one call per operator.
    """
    each = list(values.unbind())  # a face's newest state; indexing bytes with a list takes a CPU ten times as long
    turn = list(OPERATORS.values()).index
    ahead = [list(chain) for chain in chains]
    while waiting := {face: _operator(steps[0]["operator"]) for face, steps in enumerate(ahead) if steps}:
        chosen = min(waiting.values(), key=turn)
        faces = [face for face, operator in waiting.items() if operator is chosen]
        steps = [ahead[face].pop(0) for face in faces]
        if done := act(chosen):
            params = {key: np.array([step[key] for step in steps]) for key in steps[0] if key != "operator"}
            results = done(torch.stack([each[face] for face in faces]), params, landmarks[faces])
            for face, result in zip(faces, results.unbind(), strict=True):
                each[face] = result
    return torch.stack(each)


def _check(values: Tensor, channels: tuple[int, ...], landmarks: NDArray[Any], chains: Sequence[Any]) -> None:
    expected = (len(chains), *channels, SIDE, SIDE)
    if values.dtype != torch.uint8 or tuple(values.shape) != expected:
        raise ValueError(f"pixels are {values.dtype} {tuple(values.shape)}, expected uint8 {expected}")
    if landmarks.shape != (len(chains), 5, 2) or not np.isfinite(landmarks).all():
        raise ValueError(f"landmarks must be finite and {(len(chains), 5, 2)}, not {landmarks.shape}")
