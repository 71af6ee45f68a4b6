"""Targets of quality, from cosines of embeddings; high is good."""

from __future__ import annotations

import torch
from torch import Tensor


def certainty_ratio(cosines: Tensor, labels: Tensor) -> Tensor:
    """(N,) CR = CCS / (NNCCS + 1 + 1e-9): how near its own class a face lies, for how near the nearest other one is.

    Args:
        cosines: (N, C) of each face with every class centre, C >= 2.
        labels: (N,) class in [0, C).

    Source: CR-FIQA, Boutros et al., CVPR 2023; the released code leaves the + 1 out.
    """
    own = cosines.gather(1, labels[:, None])[:, 0]
    others = cosines.scatter(1, labels[:, None], -torch.inf).amax(dim=1)
    return own / (others + 1.0 + 1e-9)


def pair_label(cosine: Tensor, slope: float = 16.0, centre: float = 0.4) -> Tensor:
    """What a mated pair of this cosine is worth, and so the worse one of its faces: sigmoid(slope * (cosine - centre)).

    Source: LightQNet, Chen et al., IEEE SPL 2021; slope and centre as we read them.
    """
    return torch.sigmoid(slope * (cosine - centre))
