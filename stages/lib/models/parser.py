"""A small U-Net decoder that parses faces from an encoder's feature maps; used in training only."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.lib.errors import ConfigError


class FaceParser(nn.Module):
    """Feature maps, finest first -> logits of K classes for every cell of the finest.

    It reads the encoder and nothing reads it: only gradients go back, so the shipped encoder has none of its
    weights. From the coarsest map on, each level raises what it has to the size of the next finer map, joins
    the two and convolves. Unlike the original, the convolutions are padded, separable and of one narrow width,
    because the encoder must learn the task and not the decoder.

    A timm backbone with `features_only` and all its `out_indices` fits:
    `FaceParser(backbone.feature_info.channels(), backbone.feature_info.reduction(), classes)`.

    Source: U-Net, arXiv 1505.04597.
    """

    def __init__(
        self,
        channels: Sequence[int],
        reductions: Sequence[int],
        classes: int,
        width: int = 32,
        stride: int | None = None,
    ) -> None:
        """Build an untrained decoder; torch's random state decides the weights.

        Args:
            channels: of each feature map, finest map first.
            reductions: image pixels a cell of each map, such as 2, 4, 8, 16, 16.
            classes: K.
            width: channels between the levels.
            stride: of the logits, one of `reductions`; maps finer than that are not read. Empty: the finest.

        Raises:
            ConfigError: the lists do not describe maps from fine to coarse, or no map has that stride.
        """
        super().__init__()
        if not channels or len(channels) != len(reductions) or list(reductions) != sorted(reductions):
            raise ConfigError(f"channels {channels} and reductions {reductions} do not list maps from fine to coarse")
        if stride is not None and stride not in reductions:
            raise ConfigError(f"no feature map has stride {stride}: choose from {sorted(set(reductions))}")
        self.taps = len(channels)
        self.finest = 0 if stride is None else list(reductions).index(stride)
        skips = list(channels[self.finest : -1])[::-1]
        self.entry = nn.Sequential(
            nn.Conv2d(channels[-1], width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        self.levels = nn.ModuleList(_Level(skip, width) for skip in skips)
        self.classify = nn.Conv2d(width, classes, 1)

    def forward(self, taps: Sequence[Tensor]) -> Tensor:
        """Parse faces.

        Args:
            taps: the encoder's feature maps (N, C, H, W), all of them, finest first; neighbours may be of any
                two sizes.

        Returns:
            Logits (N, K, H, W) at the size of the finest map that is read.

        Raises:
            ValueError: the number of maps is another than the decoder was built for.
        """
        if len(taps) != self.taps:
            raise ValueError(f"{len(taps)} feature maps given to a decoder of {self.taps}")
        *skips, coarsest = taps[self.finest :]
        raised = self.entry(coarsest)
        for level, skip in zip(self.levels, reversed(skips), strict=True):
            raised = level(raised, skip)
        logits: Tensor = self.classify(raised)
        return logits


class _Level(nn.Module):
    """Raise a coarse map to a finer one's size, join the two and convolve."""

    def __init__(self, skip: int, width: int) -> None:
        super().__init__()
        joined = width + skip
        self.convolve = nn.Sequential(
            nn.Conv2d(joined, joined, 3, padding=1, groups=joined, bias=False),
            nn.Conv2d(joined, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        # to the size of the skip and not by a factor: 112 pixels give 7 cells at stride 16 and 4 at stride 32
        raised = F.interpolate(coarse, size=skip.shape[-2:], mode="bilinear")
        joined: Tensor = self.convolve(torch.cat([raised, skip], dim=1))
        return joined
