"""What published techniques call the quality of a face, from embeddings that are there; high is good."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.lib.errors import ConfigError


def certainty_ratio(cosines: Tensor, labels: Tensor) -> Tensor:
    """(N,) CR = CCS / (NNCCS + 1 + 1e-9): how near its own class a face lies, for how near the nearest other one is.

    Args:
        cosines: (N, C) of each face with every class, C >= 2.
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


def distribution_distance(genuine: Tensor, impostor: Tensor) -> Tensor:
    """(N,) how far a face's genuine cosines lie from its impostor cosines: Wasserstein-1 distance of two samples.

    Args:
        genuine: (N, K) cosines with pictures of the same person.
        impostor: (N, K) with pictures of others.

    Source: SDD-FIQA, Ou et al., CVPR 2021.
    """
    return (genuine.sort(dim=1).values - impostor.sort(dim=1).values).abs().mean(dim=1)


def embedding_robustness(passes: Tensor) -> Tensor:
    """(N,) how steady an embedding is under dropout: 2 / (1 + exp(mean distance of two passes)), in (0, 1].

    Args:
        passes: (M, N, D) unit embeddings of M stochastic passes.

    Raises:
        ConfigError: fewer than two passes.

    Source: SER-FIQ, Terhoerst et al., CVPR 2020; distances are averaged over the pairs.
    """
    count = len(passes)
    if count < 2:
        raise ConfigError(f"SER-FIQ compares passes with each other and got {count}: give at least two")
    each = passes.transpose(0, 1)
    gaps = torch.cdist(each, each).sum(dim=(1, 2))  # every pair twice, and each pass with itself
    return 2.0 / (1.0 + torch.exp(gaps / (count * (count - 1))))
