"""Template-level distillation: pull the student's embedding towards the teacher's of the clean face."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def template_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean cosine distance between student embeddings and cached teacher templates.

    The weight of this term means the same for every embedding size. The mean squared error of unit embeddings
    that MaskInv prints is this value times 2 / D, so its lambda is a weight of 2 * lambda / D here.

    Args:
        student: (N, D) raw embeddings of the faces as the student saw them (possibly degraded).
        teacher: (N, D) unit templates of the same faces, clean; no gradient reaches them.

    Returns:
        Scalar in [0, 2], float32: 0 for identical directions, 2 for antipodal ones.

    Raises:
        ValueError: the two shapes differ; broadcasting would compare every face with one template.

    Source: MaskInv, arXiv 2112.05646, the distillation term with L2-normalised embeddings.
    """
    if student.shape != teacher.shape or student.ndim != 2:
        shapes = f"student {tuple(student.shape)} and teacher {tuple(teacher.shape)}"
        raise ValueError(f"{shapes} must be the same (N, D)")
    cosine = F.cosine_similarity(student.float(), teacher.detach().float(), dim=1)
    return torch.mean(1.0 - cosine)
