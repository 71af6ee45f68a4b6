"""Selective regression: the student copies the teacher's templates of the chosen samples only."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def selective_loss(adapted: Tensor, templates: Tensor, kept: Tensor) -> Tensor:
    """Mean squared distance between adapted embeddings and templates, where samples left out count as zero.

    The mean runs over the whole batch, so a kept sample weighs the same whatever else its batch holds. With all
    samples kept it is twice `template_loss`.

    Args:
        adapted: (N, D) raw embeddings in the teacher's length; they are normalised here.
        templates: (N, D) unit templates of the same faces, clean; no gradient reaches them.
        kept: (N,) bool, True for samples that the selection kept.

    Returns:
        Scalar in [0, 4], float32: 0 where directions are equal or nothing of the batch is kept.

    Raises:
        ValueError: shapes that would broadcast, or a `kept` that is not bool and so could be a list of indices.

    Source: SKD, Ge et al., "Low-resolution face recognition in the wild via selective knowledge distillation",
    arXiv 1811.09998, IEEE TIP 2019. Its equations could not be read: the form is our reconstruction.
    """
    if adapted.shape != templates.shape or adapted.ndim != 2:
        shapes = f"adapted {tuple(adapted.shape)} and templates {tuple(templates.shape)}"
        raise ValueError(f"{shapes} must be the same (N, D)")
    if kept.shape != adapted.shape[:1] or kept.dtype != torch.bool:
        raise ValueError(f"kept is {kept.dtype} {tuple(kept.shape)}: give bool ({len(adapted)},), one a sample")
    distance = (F.normalize(adapted.float()) - templates.detach().float()).square().sum(dim=1)
    return torch.mean(distance * kept)


class SelectiveRegression(nn.Module):
    """The selective loss behind a linear adapter from the student's length to the teacher's.

    Training needs the adapter, inference does not. Shipped with the student it gives templates that can be
    searched in a gallery which the teacher enrolled. It leaves autocast, as `MarginHead` does.

    Args:
        student: length of the student's embeddings.
        teacher: length D of the teacher's templates.
    """

    def __init__(self, student: int, teacher: int) -> None:
        super().__init__()
        self.adapter = nn.Linear(student, teacher, bias=False)

    def forward(self, raw: Tensor, templates: Tensor, kept: Tensor) -> Tensor:
        """Scalar `selective_loss` of (N, student) raw embeddings, (N, D) unit templates and (N,) bool."""
        with torch.autocast(raw.device.type, enabled=False):
            return selective_loss(self.adapter(raw.float()), templates, kept)
