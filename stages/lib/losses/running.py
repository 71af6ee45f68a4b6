"""Values held against those of recent steps."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RunningScore(nn.Module):
    """z = clip(h (x - mean) / std, -1, 1), where mean and std follow the batches' by an exponential average.

    AdaFace's stand-in for image quality, of the norms of embeddings. Mean and std are buffers, so a checkpoint keeps
    them. Ours differs from the official code in three points. The first batch sets both, since the official start (20
    and 100) suits its own networks. Norms are not cut at 100, for the same reason. The standard deviation is the
    population's, so that a batch of one has one.

    Args:
        spread: h; with 0.333 about two in three values lie within a third of zero.
        momentum: share of the old mean and std that a step keeps.

    Source: AdaFace, arXiv 2204.00964.
    """

    mean: Tensor
    std: Tensor
    started: Tensor  # 0 until the first batch, then 1

    def __init__(self, spread: float = 0.333, momentum: float = 0.99) -> None:
        super().__init__()
        self.spread, self.momentum = spread, momentum
        for name in ("mean", "std", "started"):
            self.register_buffer(name, torch.zeros(()))

    @torch.no_grad()
    def forward(self, values: Tensor) -> Tensor:
        """(N,) scores in [-1, 1] of (N,) values, N > 0; low for a small value. No gradient reaches the values."""
        if self.training:
            step = 1.0 - self.momentum * self.started
            self.mean.lerp_(values.mean(), step)
            self.std.lerp_(values.std(correction=0), step)
            self.started.fill_(1.0)
        return (self.spread * (values - self.mean) / (self.std + 1e-3)).clamp(-1.0, 1.0)
