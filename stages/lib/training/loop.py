"""The training loop: every step follows from (seed, step), so a killed run goes on where it stopped."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stages.lib.models.student import FaceEncoder
from stages.lib.objectives import Batch, Objectives, View
from stages.lib.runtime import Runtime
from stages.lib.training.batches import Recipe, batches, seed_of
from stages.lib.training.data import FaceSet, steps_per_epoch

CHECKPOINT_SECONDS = 20.0


@dataclass
class Progress:
    """Where training stands; with model and optimizer, all that resuming needs."""

    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    sums: dict[str, float] = field(default_factory=dict)  # of the epoch under way
    counts: dict[str, int] = field(default_factory=dict)  # of the steps in each sum: a term may begin late


Validate = Callable[[nn.Module], dict[str, float]]


def train(
    encoder: FaceEncoder,
    objectives: Objectives,
    faces: FaceSet,
    recipe: Recipe,
    validate: Validate,
    checkpoint: Path,
    runtime: Runtime,
    what: str,
) -> list[dict[str, float]]:
    """Train in place, from the checkpoint if there is one.

    Args:
        encoder: the student.
        objectives: what to minimise.
        faces: the training people.
        recipe: schedule and seed.
        validate: called in eval mode after every epoch; returns figures for the history.
        checkpoint: file in scratch, written every 20 s and after the last step.
        runtime: device and progress bar.
        what: label of the bar.

    Returns:
        One row an epoch: mean of each term, learning rate, validation figures, and what the terms measure.
    """
    # the faces lie channel by channel in memory, so the weights do too: no step has to reorder either
    encoder.to(runtime.device).to(memory_format=torch.channels_last)
    objectives.to(runtime.device)
    parameters = [*encoder.parameters(), *objectives.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)
    per_epoch = steps_per_epoch(len(faces), recipe.batch)
    total = per_epoch * recipe.epochs
    progress = _resume(checkpoint, encoder, objectives, optimizer, runtime.device)
    saved = time.monotonic()
    coming = enumerate(batches(faces, recipe, progress.step, runtime.device), progress.step)
    for step, batch in runtime.progress(coming, what, "steps", total=total - progress.step):
        encoder.train()
        torch.manual_seed(seed_of(recipe.seed, step, "layers"))  # of what they draw themselves, such as dropout
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr * _schedule(step, total, recipe.warmup)
        losses = _step(encoder, objectives, optimizer, batch)
        for name, value in losses.items():
            progress.sums[name] = progress.sums.get(name, 0.0) + value
            progress.counts[name] = progress.counts.get(name, 0) + 1
        progress.step = step + 1
        if progress.step % per_epoch == 0:
            means = {f"loss_{name}": value / progress.counts[name] for name, value in progress.sums.items()}
            encoder.eval()
            row = {"epoch": progress.step / per_epoch, "lr": optimizer.param_groups[0]["lr"], **means}
            progress.history.append({**row, **validate(encoder), **objectives.figures(encoder)})
            progress.sums, progress.counts = {}, {}
        if time.monotonic() - saved > CHECKPOINT_SECONDS or progress.step == total:
            _save(checkpoint, encoder, objectives, optimizer, progress)
            saved = time.monotonic()
    encoder.eval()
    return progress.history


def _schedule(step: int, total: int, warmup: float) -> float:
    rising = max(1, round(total * warmup))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + float(np.cos(np.pi * (step - rising) / max(1, total - rising))))


def _step(
    encoder: FaceEncoder, objectives: Objectives, optimizer: torch.optim.Optimizer, batch: Batch
) -> dict[str, float]:
    with torch.autocast(batch.images.device.type, torch.bfloat16, enabled=batch.images.is_cuda):
        raw, features = encoder.with_features(batch.images)
        heads = encoder.heads(raw, features)
    losses: dict[str, Tensor] = objectives(View(raw.float(), features, heads, encoder), batch)
    optimizer.zero_grad(set_to_none=True)
    losses["total"].backward()
    torch.nn.utils.clip_grad_norm_(encoder.parameters(), 5.0, error_if_nonfinite=True)
    optimizer.step()
    return {name: float(value.detach()) for name, value in losses.items()}


def _save(path: Path, encoder: nn.Module, objectives: nn.Module, optimizer: Any, progress: Progress) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    state = {
        "encoder": encoder.state_dict(),
        "objectives": objectives.state_dict(),
        "optimizer": optimizer.state_dict(),
        "progress": vars(progress),
    }
    torch.save(state, temporary)
    os.replace(temporary, path)


def _resume(path: Path, encoder: nn.Module, objectives: nn.Module, optimizer: Any, device: str) -> Progress:
    if not path.is_file():
        return Progress()
    state = torch.load(path, map_location=device, weights_only=True)
    encoder.load_state_dict(state["encoder"])
    objectives.load_state_dict(state["objectives"])
    optimizer.load_state_dict(state["optimizer"])
    return Progress(**state["progress"])
