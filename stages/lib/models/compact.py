"""Backbones for faces smaller than timm has them; the last map is 7x7 at 112 pixels, one cell to 16 pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from timm.models import FeatureInfo
from torch import Tensor, nn
from torch.nn import functional as F


class FaceBackbone(nn.Module):
    """Stages in a row, each of which gives a feature map; used like a timm backbone with `features_only`.

    Attributes:
        feature_info: channels and reduction (image pixels to a cell) of every map, finest first.
    """

    def __init__(self, stages: Sequence[nn.Module], channels: Sequence[int], reductions: Sequence[int]) -> None:
        """Put the stages together.

        Args:
            stages: the first takes (N, 3, 112, 112), each other one what the one before gives.
            channels: of what each stage gives.
            reductions: image pixels to a cell of what each stage gives.
        """
        super().__init__()
        self.stages = nn.ModuleList(stages)
        about = [
            {"num_chs": width, "reduction": reduction, "module": f"stages.{i}"}
            for i, (width, reduction) in enumerate(zip(channels, reductions, strict=True))
        ]
        self.feature_info = FeatureInfo(about, tuple(range(len(about))))

    def forward(self, faces: Tensor) -> list[Tensor]:
        """Return the feature maps (N, C, H, W) of faces (N, 3, 112, 112), finest first."""
        features = []
        for stage in self.stages:
            faces = stage(faces)
            features.append(faces)
        return features


class InvertedResidual(nn.Module):
    """1x1 wider -> depthwise 3x3 -> 1x1 narrower, linear; plus its input where the shape stays.

    Source: Sandler et al., "MobileNetV2", CVPR 2018, section 3.3.
    """

    def __init__(self, channels: int, out: int, expansion: int, stride: int = 1) -> None:
        super().__init__()
        wide = channels * expansion
        self.keeps = stride == 1 and channels == out
        self.convolve = nn.Sequential(
            *_convolution(channels, wide, 1),
            *_convolution(wide, wide, 3, stride, groups=wide),
            *_convolution(wide, out, 1)[:2],
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.convolve(x)
        return x + y if self.keeps else y


class Residual(nn.Module):
    """3x3 -> plus the input -> ReLU: the shortest residual block, one dense convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolve = nn.Sequential(*_convolution(channels, channels, 3)[:2])

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.convolve(x))


def _mobilefacenet(width: float) -> FaceBackbone:
    """MobileFaceNet: inverted residuals that shrink the map late and stay wide where a face still has detail.

    Unlike the original, five blocks are left out and the last 1x1 convolution gives 256 channels, so that an int8
    file, which pays 17 bytes for every channel beside its weights, holds a 512-D embedding in 1 MB; and ReLU stands
    for PReLU, whose slopes quantise badly.

    Args:
        width: times the original's channels, before the last convolution.

    Source: Chen et al., "MobileFaceNets: efficient CNNs for accurate real-time face verification on mobile
    devices", CCBR 2018, table 1.
    """
    narrow, wide = round(64 * width), round(128 * width)
    stages = [
        nn.Sequential(*_convolution(3, narrow, 3, 2), *_convolution(narrow, narrow, 3, groups=narrow)),
        nn.Sequential(
            InvertedResidual(narrow, narrow, 2, stride=2), *(InvertedResidual(narrow, narrow, 2) for _ in range(2))
        ),
        nn.Sequential(
            InvertedResidual(narrow, wide, 4, stride=2), *(InvertedResidual(wide, wide, 2) for _ in range(3))
        ),
        nn.Sequential(
            InvertedResidual(wide, wide, 4, stride=2),
            *(InvertedResidual(wide, wide, 2) for _ in range(2)),
            *_convolution(wide, 256, 1),
        ),
    ]
    return FaceBackbone(stages, (narrow, narrow, wide, 256), (2, 4, 8, 16))


def _compact() -> FaceBackbone:
    """Dense convolutions on small maps: a student that a CPU trains fast.

    Depthwise convolutions train slowly there: a multiplication of `mobilefacenet_050` takes 2.6 times as long. Large
    maps cost more than their multiplications say, because normalisation and ReLU pass over them too, so the first two
    are narrow. The last 1x1 convolution gives the global depthwise convolution, and the embedding, more to choose from.
    """
    stages = [
        nn.Sequential(*_convolution(3, 8, 3, 2)),
        nn.Sequential(*_convolution(8, 16, 3, 2)),
        nn.Sequential(*_convolution(16, 64, 3, 2), Residual(64)),
        nn.Sequential(*_convolution(64, 128, 3, 2), Residual(128), *_convolution(128, 256, 1)),
    ]
    return FaceBackbone(stages, (8, 16, 64, 256), (2, 4, 8, 16))


def _compact_tiny() -> FaceBackbone:
    """As `_compact`, with so few channels that an int8 file of the encoder takes 0.15 MB, even of a 512-D embedding."""
    stages = [
        nn.Sequential(*_convolution(3, 8, 3, 2)),
        nn.Sequential(*_convolution(8, 16, 3, 2)),
        nn.Sequential(*_convolution(16, 32, 3, 2), Residual(32)),
        nn.Sequential(*_convolution(32, 64, 3, 2), Residual(64)),
    ]
    return FaceBackbone(stages, (8, 16, 32, 64), (2, 4, 8, 16))


def _convolution(channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(channels, out, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU(inplace=True),
    ]


BACKBONES: Final[dict[str, Callable[[], FaceBackbone]]] = {
    "mobilefacenet": partial(_mobilefacenet, 1.0),
    "mobilefacenet_050": partial(_mobilefacenet, 0.5),
    "compact": _compact,
    "compact_tiny": _compact_tiny,
}
