"""Compact face encoders: a backbone, a global depthwise convolution and a linear embedding."""

from __future__ import annotations

from typing import Annotated, Any, cast

import timm
import torch
from pydantic import BaseModel, ConfigDict, Field
from timm.models import FeatureInfo
from torch import Tensor, nn
from torch.nn import functional as F

from stages.lib.errors import ConfigError
from stages.lib.geometry.template import SIZE
from stages.lib.models.compact import BACKBONES
from stages.lib.models.contract import Technique

NATIVE_STRIDE = 32
QUALITY_WIDTH = 32


class Architecture(BaseModel):
    """What `build_encoder` needs to build the same network again.

    Attributes:
        backbone: a name in `compact.BACKBONES`, or a timm model name.
        embedding: length of the embedding.
        output_stride: of the last feature map; empty: the backbone's own.
        occlusion: whether the encoder tells which parts of the face are covered.
        quality: the technique whose score the encoder gives beside an embedding; empty: it gives none.
        dropout: share of the pooled features that training hides at random.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: str
    embedding: int
    output_stride: int | None = None
    occlusion: bool = False
    quality: Technique | None = None
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0


class FaceEncoder(nn.Module):
    """Backbone -> global depthwise convolution -> linear -> raw embedding.

    The depthwise convolution with a kernel as large as the feature map weighs each position by itself, where
    average pooling would treat a face's centre and its corners alike. Chen et al., "MobileFaceNets: efficient
    CNNs for accurate real-time face verification on mobile devices", CCBR 2018, section 3.2.
    """

    def __init__(self, backbone: nn.Module, architecture: Architecture) -> None:
        """Size the head from one dry run of the backbone at 112 pixels.

        Args:
            backbone: maps (N, 3, 112, 112) to feature maps (N, C, H, W), finest first, as timm's `features_only` do.
            architecture: kept for the checkpoint; its `embedding` sizes the output, the rest says which heads to add.
        """
        super().__init__()
        self.architecture = architecture
        self.backbone = backbone
        channels, height, width = _map_shape(backbone)
        self.pool = nn.Sequential(
            nn.Conv2d(channels, channels, (height, width), groups=channels, bias=False),
            nn.BatchNorm2d(channels),
            nn.Flatten(),
        )
        self.dropout = nn.Dropout(architecture.dropout)
        self.embed = nn.Sequential(
            nn.Linear(channels, architecture.embedding, bias=False),
            nn.BatchNorm1d(architecture.embedding),
        )
        # drawn last: a seed gives the embedding the same initial weights with and without these heads
        self.occlusion = nn.Conv2d(channels, 1, 1) if architecture.occlusion else None
        self.quality = _quality_head(architecture.embedding) if architecture.quality else None

    def forward(self, faces: Tensor) -> Tensor:
        """Embed faces: what ships.

        Args:
            faces: float (N, 3, 112, 112) RGB in [0, 1]; normalised here, so no caller can do it otherwise.

        Returns:
            Raw (not normalised) embeddings (N, embedding).
        """
        return self.with_features(faces)[0]

    def with_features(self, faces: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Embed faces, and give the backbone's feature maps, finest first, to objectives that train them as well.

        The embedding reads the last map only, so whatever else reads them can be left out of the shipped file.
        """
        features: list[Tensor] = self.backbone((faces - 0.5) / 0.5)
        return cast(Tensor, self.embed(self.dropout(self.pool(features[-1])))), features

    @torch.no_grad()
    def stochastic(self, features: list[Tensor], passes: int) -> Tensor:
        """Embed the same faces again and again, each time under another draw of dropout, as SER-FIQ asks.

        The tail alone is repeated, with the running statistics, which this does not move.

        Args:
            features: what `with_features` gave.
            passes: how often.

        Returns:
            Raw embeddings (passes, N, embedding).
        """
        training = self.training
        self.eval()
        pooled = self.pool(features[-1].float())  # autocast leaves them in half precision
        hidden = F.dropout(pooled.repeat(passes, 1), self.dropout.p)
        raw = cast(Tensor, self.embed(hidden))
        self.train(training)
        return raw.unflatten(0, (passes, len(pooled)))

    def occlusion_logits(self, features: list[Tensor]) -> Tensor:
        """Tell which parts of the faces are covered, by a mask for instance: part of what ships.

        Args:
            features: what `with_features` gave.

        Returns:
            Float (N, H, W), a logit a cell of the last map: above 0, the cell is rather covered than not.

        Raises:
            ConfigError: the encoder was built without this head.
        """
        if self.occlusion is None:
            raise ConfigError("this encoder has no occlusion head: build and train it with `occlusion: true`")
        return cast(Tensor, self.occlusion(features[-1]))[:, 0].float()

    def quality_logits(self, raw: Tensor) -> Tensor:
        """Say how far the embeddings are to be trusted, from nothing but themselves: part of what ships.

        Args:
            raw: (N, embedding) that `with_features` gave.

        Returns:
            Float (N,), higher is better; their sigmoid is the quality in 0..1.

        Raises:
            ConfigError: the encoder was built without this head.
        """
        if self.quality is None:
            raise ConfigError("this encoder has no quality head: build and train it with a technique of `quality`")
        return cast(Tensor, self.quality(raw))[:, 0].float()

    def heads(self, raw: Tensor, features: list[Tensor]) -> dict[str, Tensor]:
        """Logits of the heads that there are, by the name of their output, in the order of outputs."""
        found = {}
        if self.occlusion is not None:
            found["occlusion"] = self.occlusion_logits(features)
        if self.quality is not None:
            found["quality"] = self.quality_logits(raw)
        return found

    @property
    def taps(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Channels of each feature map, finest first, and image pixels to a cell of it."""
        about = cast(FeatureInfo, self.backbone.feature_info)
        return tuple(about.channels()), tuple(about.reduction())


def build_encoder(
    backbone: str,
    embedding: int,
    output_stride: int | None = None,
    occlusion: bool = False,
    quality: Technique | None = None,
    dropout: float = 0.0,
) -> FaceEncoder:
    """Build an untrained encoder; torch's random state decides the weights.

    Of timm's, only the feature pyramid is taken: the 1,024 or 1,280 wide head that MobileNetV3, V4 and LCNet
    put behind their pooling would cost half of the parameters.

    Args:
        backbone: a name in `compact.BACKBONES`, or of a timm model with a spatial feature map.
        embedding: length of the embedding.
        output_stride: 8 or 16 make timm's trade the last strides for dilation and keep a finer map (16: 7x7 at
            112 pixels); empty or 32 leaves most of them as they are (4x4). Those of `compact` have one stride, 16.
        occlusion: whether to add the head that `FaceEncoder.occlusion_logits` needs.
        quality: what the head that `FaceEncoder.quality_logits` needs is to learn; None adds no such head.
        dropout: share of the pooled features that training hides at random; SER-FIQ needs it.

    Raises:
        ConfigError: nobody knows the backbone, or it cannot keep that stride.
    """
    features = BACKBONES[backbone]() if backbone in BACKBONES else _timm_features(backbone, output_stride)
    stride = cast(FeatureInfo, features.feature_info).reduction()[-1]
    if output_stride is not None and stride != output_stride:
        raise ConfigError(f"backbone {backbone!r} has output_stride {stride}, not {output_stride}")
    architecture = Architecture(
        backbone=backbone,
        embedding=embedding,
        output_stride=output_stride,
        occlusion=occlusion,
        quality=quality,
        dropout=dropout,
    )
    return FaceEncoder(features, architecture)


def _quality_head(embedding: int) -> nn.Sequential:
    """Two layers on the embedding before it is normalised, whose length says much of it.

    Source: AI-KD, Babnik et al., IWBF 2024, whose hidden layer has 1024 numbers: more weights than `compact` has.
    """
    return nn.Sequential(nn.Linear(embedding, QUALITY_WIDTH), nn.GELU(), nn.Linear(QUALITY_WIDTH, 1))


def parameters_count(model: nn.Module) -> int:
    """Number of learnable weights."""
    return sum(parameter.numel() for parameter in model.parameters())


def _timm_features(backbone: str, output_stride: int | None) -> nn.Module:
    native = output_stride in (None, NATIVE_STRIDE)
    options: dict[str, Any] = {} if native else {"output_stride": output_stride}
    try:
        features: nn.Module = timm.create_model(backbone, pretrained=False, features_only=True, **options)
    except (RuntimeError, TypeError, AssertionError, NotImplementedError, AttributeError) as error:
        reason = str(error) or type(error).__name__
        raise ConfigError(f"backbone {backbone!r} with output_stride {output_stride}: {reason}") from error
    return features


def _map_shape(backbone: nn.Module) -> tuple[int, int, int]:
    training = backbone.training
    backbone.eval()  # a dry run must not move the running statistics
    with torch.no_grad():
        features = backbone(torch.zeros(1, 3, SIZE, SIZE))[-1]
    backbone.train(training)
    _, channels, height, width = features.shape
    return channels, height, width
