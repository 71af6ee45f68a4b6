from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from stages.lib.errors import ConfigError
from stages.lib.losses.segmentation import parse_loss, resample_labels
from stages.lib.models.parser import FaceParser

CLASSES = 13
CHANNELS, REDUCTIONS = [6, 8, 10, 12], [2, 4, 8, 16]


def backbone_of(name: str, **options: Any) -> tuple[nn.Module, list[int], list[int]]:
    torch.manual_seed(0)
    backbone = timm.create_model(name, pretrained=False, features_only=True, **options)
    return backbone, backbone.feature_info.channels(), backbone.feature_info.reduction()


def maps() -> list[Tensor]:
    generator = torch.Generator().manual_seed(2)
    sizes = zip(CHANNELS, (16, 8, 4, 2), strict=True)
    return [torch.randn(2, depth, side, side, generator=generator, requires_grad=True) for depth, side in sizes]


@pytest.mark.parametrize("name", ["test_byobnet", "mobilenetv3_small_050"])
def test_logits_have_the_size_of_the_map_asked_for(name: str) -> None:
    backbone, channels, reductions = backbone_of(name, output_stride=16)
    taps = backbone(torch.rand(2, 3, 112, 112))
    for stride, side in [(None, 56), (2, 56), (4, 28), (16, 7)]:
        assert FaceParser(channels, reductions, CLASSES, stride=stride)(taps).shape == (2, CLASSES, side, side)


def test_maps_whose_size_is_no_multiple_of_the_next() -> None:
    backbone, channels, reductions = backbone_of("test_byobnet")
    taps = backbone(torch.rand(2, 3, 112, 112))
    assert [tap.shape[-1] for tap in taps[-2:]] == [7, 4]
    assert FaceParser(channels, reductions, CLASSES)(taps).shape == (2, CLASSES, 56, 56)


def test_the_decoder_is_small_beside_its_encoder() -> None:
    for name in ("test_byobnet", "mobilenetv3_small_050"):
        backbone, channels, reductions = backbone_of(name, output_stride=16)
        weights = [sum(p.numel() for p in m.parameters()) for m in (FaceParser(channels, reductions, 13), backbone)]
        assert weights[0] < weights[1] / 6


@pytest.mark.parametrize(("stride", "read"), [(None, 4), (8, 2)])
def test_gradient_reaches_every_map_that_is_read(stride: int | None, read: int) -> None:
    taps = maps()
    logits = FaceParser(CHANNELS, REDUCTIONS, 5, stride=stride)(taps)
    labels = torch.randint(5, (2, *logits.shape[2:]), generator=torch.Generator().manual_seed(0))
    slopes = torch.autograd.grad(parse_loss(logits, labels), taps, allow_unused=True)
    assert [slope is not None and bool(slope.abs().sum() > 0) for slope in slopes] == [
        place >= len(taps) - read for place in range(len(taps))
    ]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"stride 3.*2, 4, 8, 16"):
        FaceParser(CHANNELS, REDUCTIONS, 5, stride=3)
    for channels, reductions in [(CHANNELS, REDUCTIONS[:3]), (CHANNELS, REDUCTIONS[::-1]), ([], [])]:
        with pytest.raises(ConfigError, match="fine to coarse"):
            FaceParser(channels, reductions, 5)
    with pytest.raises(ValueError, match="1 feature maps given to a decoder of 4"):
        FaceParser(CHANNELS, REDUCTIONS, 5)(maps()[-1:])


def shapes(count: int, side: int) -> tuple[Tensor, Tensor]:
    """Noisy pictures of a disc and a bar at places of chance, and their classes 1 and 2 on a ground of 0."""
    generator = torch.Generator().manual_seed(4)
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    places = torch.randint(side // 4, 3 * side // 4, (count, 3, 1, 1), generator=generator)
    labels = ((x - places[:, 0]) ** 2 + (y - places[:, 1]) ** 2 < (side // 5) ** 2).long()
    labels[(x - places[:, 2]).abs() < side // 16] = 2
    colours = torch.rand(count, 3, 3, generator=generator)
    pictures = torch.stack([colour[label] for colour, label in zip(colours, labels, strict=True)]).permute(0, 3, 1, 2)
    return pictures + 0.05 * torch.randn(pictures.shape, generator=generator), labels


def test_encoder_and_decoder_learn_a_few_pictures() -> None:
    pictures, labels = shapes(count=4, side=64)
    backbone, channels, reductions = backbone_of("test_byobnet", output_stride=16)
    model = nn.Sequential(backbone, FaceParser(channels, reductions, 3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    losses = []
    for _ in range(60):
        logits = model(pictures)
        loss = parse_loss(logits, resample_labels(labels, *logits.shape[2:]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 5
