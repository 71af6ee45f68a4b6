"""One export for all tests of deployment: it costs more than everything else together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stages.lib.deploy.onnx_export import export_encoder, served_contract
from stages.lib.deploy.quantize import quantize
from stages.lib.models.contract import Contract
from stages.lib.models.student import FaceEncoder, build_encoder

DIM = 16


@pytest.fixture(scope="session")
def faces() -> np.ndarray:
    """64 faces' worth of smooth noise, so that int8 has a range to find."""
    coarse = np.random.default_rng(11).integers(0, 256, (64, 14, 14, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


@pytest.fixture(scope="session")
def encoder() -> FaceEncoder:
    return _encoder("test_efficientnet")


@pytest.fixture(scope="session")
def contract(encoder: FaceEncoder) -> Contract:
    return served_contract(encoder, "tiny", "1", "MIT", {"data": "d1"}, ("template", "alignment"))


@pytest.fixture(scope="session")
def exported(encoder: FaceEncoder, contract: Contract, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    export_encoder(encoder, path, contract)
    return path


@pytest.fixture(scope="session")
def seeing() -> FaceEncoder:
    """An encoder that tells what is covered and how good a face is."""
    return _encoder("test_byobnet", occlusion=True, quality="cr_fiqa")


@pytest.fixture(scope="session")
def seen(seeing: FaceEncoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export of `seeing`."""
    path = tmp_path_factory.mktemp("seen") / "model.onnx"
    export_encoder(seeing, path, served_contract(seeing, "seeing", "1", "MIT", {}))
    return path


@pytest.fixture(scope="session")
def int8(seen: Path, faces: np.ndarray) -> Path:
    """The int8 copy of `seen`, in the same folder, calibrated on half of the faces."""
    path = seen.with_name("model.int8.onnx")
    quantize(seen, path, faces[:32])
    return path


def _encoder(backbone: str, **heads: Any) -> FaceEncoder:
    torch.manual_seed(4)
    encoder = build_encoder(backbone, DIM, 16, **heads)
    for _ in range(3):  # batch statistics other than 0 and 1, or folding them proves nothing
        encoder(torch.rand(8, 3, 112, 112))
    return encoder.eval()
