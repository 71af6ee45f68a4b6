"""One export for all tests of deployment: it costs more than everything else together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from stages.lib.deploy.onnx_export import export_encoder
from stages.lib.models.contract import SERVED_INPUT, Contract, ScoreContract
from stages.lib.models.student import FaceEncoder, build_encoder

DIM = 16


@pytest.fixture(scope="session")
def faces() -> np.ndarray:
    """64 faces' worth of smooth noise, so that int8 has a range to find."""
    coarse = np.random.default_rng(11).integers(0, 256, (64, 14, 14, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


@pytest.fixture(scope="session")
def encoder() -> FaceEncoder:
    torch.manual_seed(4)
    encoder = build_encoder("test_efficientnet", DIM, 16)
    for _ in range(3):  # batch statistics other than 0 and 1, or folding them proves nothing
        encoder(torch.rand(8, 3, 112, 112))
    return encoder.eval()


@pytest.fixture(scope="session")
def contract() -> Contract:
    return Contract(
        name="tiny",
        version="1",
        input=SERVED_INPUT,
        score=ScoreContract(dim=DIM),
        licence="MIT",
        hashes={"data": "d1"},
    )


@pytest.fixture(scope="session")
def exported(encoder: FaceEncoder, contract: Contract, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    export_encoder(encoder, path, contract)
    return path
