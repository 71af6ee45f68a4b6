from __future__ import annotations

import numpy as np
import pytest
import torch

from stages.lib.errors import ConfigError
from stages.lib.models.student import build_encoder, parameters_count
from stages.lib.models.torch_embedder import TorchEmbedder


@pytest.mark.parametrize(("stride", "side"), [(None, 4), (32, 4), (16, 7)])
def test_the_head_fits_the_feature_map(stride: int | None, side: int) -> None:
    encoder = build_encoder("test_efficientnet", 24, stride)
    assert encoder.pool[0].kernel_size == (side, side)
    assert encoder(torch.rand(2, 3, 112, 112)).shape == (2, 24)


def test_the_embedding_in_plain_steps() -> None:
    torch.manual_seed(1)
    encoder = build_encoder("test_efficientnet", 8).eval()
    faces = torch.rand(2, 3, 112, 112)
    with torch.no_grad():
        features = encoder.backbone(faces * 2 - 1)[-1]
        kernel, norm, linear, last = (
            encoder.pool[0].weight,
            encoder.pool[1],
            encoder.embed[0],
            encoder.embed[1],
        )
        pooled = torch.stack([(features[:, c] * kernel[c, 0]).sum(dim=(1, 2)) for c in range(features.shape[1])], dim=1)
        pooled = (pooled - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
        wanted = pooled @ linear.weight.T
        wanted = (wanted - last.running_mean) / (last.running_var + last.eps).sqrt() * last.weight + last.bias
        torch.testing.assert_close(encoder(faces), wanted, rtol=1e-4, atol=1e-5)


def test_the_wide_head_of_mobilenets_is_left_out() -> None:
    small = build_encoder("mobilenetv3_small_050", 128)
    assert parameters_count(small) < 330_000
    assert not any("conv_head" in name for name, _ in small.named_parameters())


@pytest.mark.parametrize(("backbone", "stride"), [("no_such_net", None), ("starnet_s050", 16), ("compact", 8)])
def test_what_cannot_be_built_is_a_config_error(backbone: str, stride: int | None) -> None:
    with pytest.raises(ConfigError, match=backbone):
        build_encoder(backbone, 8, stride)


@pytest.mark.parametrize("backbone", ["test_efficientnet", "compact"])
def test_the_occlusion_head_tells_every_cell_of_the_last_map(backbone: str) -> None:
    encoder = build_encoder(backbone, 8, 16, occlusion=True).eval()
    with torch.no_grad():
        features = encoder.with_features(torch.rand(2, 3, 112, 112))[1]
        logits = encoder.occlusion_logits(features)
    head = encoder.occlusion
    assert head is not None
    wanted = torch.einsum("nchw,c->nhw", features[-1], head.weight[0, :, 0, 0]) + head.bias
    assert (logits.shape, logits.dtype) == ((2, 7, 7), torch.float32)
    torch.testing.assert_close(logits, wanted, rtol=1e-4, atol=1e-5)


def test_heads_leave_the_embedding_alone() -> None:
    torch.manual_seed(4)
    plain = build_encoder("compact", 8)
    torch.manual_seed(4)
    telling = build_encoder("compact", 8, occlusion=True, quality="cr_fiqa")
    heads = {name.split(".")[0] for name in telling.state_dict().keys() - plain.state_dict().keys()}
    assert heads == {"occlusion", "quality"}
    faces = torch.rand(2, 3, 112, 112)
    torch.testing.assert_close(telling(faces), plain(faces), rtol=0, atol=0)


def test_quality_is_two_layers_on_the_raw_embedding() -> None:
    encoder = build_encoder("compact", 8, quality="pair").eval()
    raw = 3.0 * torch.randn(5, 8)
    first, _, last = encoder.quality
    hidden = raw @ first.weight.T + first.bias
    active = 0.5 * hidden * (1 + torch.erf(hidden / 2**0.5))
    wanted = (active @ last.weight.T + last.bias)[:, 0]
    torch.testing.assert_close(encoder.quality_logits(raw), wanted, rtol=1e-4, atol=1e-5)
    assert encoder.heads(raw, []).keys() == {"quality"}


def test_an_encoder_without_heads_says_so() -> None:
    encoder = build_encoder("test_efficientnet", 8)
    with pytest.raises(ConfigError, match="occlusion"):
        encoder.occlusion_logits([torch.zeros(1, 8, 7, 7)])
    with pytest.raises(ConfigError, match="quality"):
        encoder.quality_logits(torch.zeros(1, 8))
    assert encoder.heads(torch.zeros(1, 8), []) == {}


def test_building_neither_trains_nor_draws_statistics() -> None:
    encoder = build_encoder("test_efficientnet", 8)
    assert encoder.training
    assert all(int(v) == 0 for k, v in encoder.state_dict().items() if k.endswith("num_batches_tracked"))


def test_torch_embedder_restores_the_mode_and_ignores_batching() -> None:
    torch.manual_seed(0)
    encoder = build_encoder("test_efficientnet", 8)
    faces = np.random.default_rng(0).integers(0, 256, (5, 112, 112, 3), dtype=np.uint8)
    together, norms = TorchEmbedder(encoder).embed(faces)
    alone, _ = TorchEmbedder(encoder, batch=1).embed(faces)
    assert encoder.training
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-5)
    assert norms.shape == (5,)
