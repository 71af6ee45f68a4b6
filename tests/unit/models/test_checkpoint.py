from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from stages.lib.errors import ConfigError
from stages.lib.models.checkpoint import SPEC, WEIGHTS, ModelSpec, load_model, save_model
from stages.lib.models.student import FaceEncoder, build_encoder, parameters_count


@pytest.fixture(scope="module")
def encoder() -> FaceEncoder:
    torch.manual_seed(2)
    encoder = build_encoder("test_efficientnet", 8, 16)
    encoder(torch.rand(4, 3, 112, 112))  # running statistics must survive too
    return encoder.eval()


@pytest.fixture
def saved(encoder: FaceEncoder, tmp_path: Path) -> Path:
    spec = ModelSpec(architecture=encoder.architecture, provenance={"data": "d1"}, metrics={"val_loss": 0.25})
    save_model(tmp_path / "model", encoder, spec)
    return tmp_path / "model"


def test_round_trip(encoder: FaceEncoder, saved: Path) -> None:
    loaded, spec = load_model(saved)
    faces = torch.rand(3, 3, 112, 112)
    torch.testing.assert_close(loaded(faces), encoder(faces), rtol=0, atol=0)
    assert not loaded.training
    assert spec.parameters == parameters_count(encoder)
    assert (spec.provenance, spec.metrics) == ({"data": "d1"}, {"val_loss": 0.25})
    assert sorted(path.name for path in saved.iterdir()) == [SPEC, WEIGHTS]
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_heads_are_kept(tmp_path: Path) -> None:
    encoder = build_encoder("test_efficientnet", 8, 16, occlusion=True, quality="pair").eval()
    save_model(tmp_path / "model", encoder, ModelSpec(architecture=encoder.architecture))
    loaded, _ = load_model(tmp_path / "model")
    seen = encoder.with_features(torch.rand(3, 3, 112, 112))
    torch.testing.assert_close(loaded.heads(*seen), encoder.heads(*seen), rtol=0, atol=0)


def test_a_model_older_than_the_heads_loads(saved: Path) -> None:
    spec = json.loads((saved / SPEC).read_text())
    del spec["architecture"]["occlusion"], spec["architecture"]["quality"], spec["architecture"]["dropout"]
    (saved / SPEC).write_text(json.dumps(spec))
    assert load_model(saved)[0].heads(torch.zeros(1, 8), []) == {}


def test_equal_models_give_equal_bytes_and_replace_an_older_folder(encoder: FaceEncoder, saved: Path) -> None:
    before = [(saved / name).read_bytes() for name in (SPEC, WEIGHTS)]
    (saved / "stale.txt").write_text("from an older run")
    save_model(saved, *load_model(saved))
    assert [(saved / name).read_bytes() for name in (SPEC, WEIGHTS)] == before
    assert not (saved / "stale.txt").exists()


def test_tampered_weights_are_refused(saved: Path) -> None:
    weights = bytearray((saved / WEIGHTS).read_bytes())
    weights[-1] ^= 1
    (saved / WEIGHTS).write_bytes(weights)
    with pytest.raises(ConfigError, match=WEIGHTS):
        load_model(saved)


@pytest.mark.parametrize("name", [SPEC, WEIGHTS])
def test_a_missing_file_is_named(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(ConfigError, match=name):
        load_model(saved)


def test_an_edited_architecture_is_refused(saved: Path) -> None:
    text = (saved / SPEC).read_text()
    (saved / SPEC).write_text(text.replace('"embedding": 8', '"embedding": 9'))
    with pytest.raises(ConfigError, match="does not fit"):
        load_model(saved)


def test_a_spec_of_another_model_is_refused(encoder: FaceEncoder, tmp_path: Path) -> None:
    other = encoder.architecture.model_copy(update={"embedding": 9})
    with pytest.raises(ConfigError, match="the model is"):
        save_model(tmp_path / "model", encoder, ModelSpec(architecture=other))
    assert not any(tmp_path.iterdir())
