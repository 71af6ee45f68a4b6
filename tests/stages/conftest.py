"""A teacher's templates and trained students in small, for the stages that come after."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from stages.lib.models.checkpoint import ModelSpec, save_model
from stages.lib.models.student import build_encoder

DIM = 8


@pytest.fixture
def trained(tmp_path: Path) -> Callable[..., Path]:
    """Write untrained encoders as if `distill` had: one folder a seed, with the validation error given."""

    def make(errors: dict[int, float], licence: str = "") -> Path:
        folder = tmp_path / "student"
        for seed, error in errors.items():
            torch.manual_seed(seed)
            encoder = build_encoder("test_efficientnet", DIM, 32)
            encoder(torch.rand(8, 3, 112, 112))
            about = {"objectives": ("identity",), "licence": licence, "metrics": {"val_eer": error}}
            save_model(folder / f"seed-{seed}", encoder.eval(), ModelSpec(architecture=encoder.architecture, **about))
        return folder

    return make
