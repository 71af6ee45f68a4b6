from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from stages.lib.deploy.metadata import KEY, parse, stamp
from stages.lib.deploy.onnx_export import export_encoder
from stages.lib.deploy.session import FaceModel
from stages.lib.errors import ConfigError
from stages.lib.models.contract import UNIT_RGB, Contract, OcclusionContract, ScoreContract, Threshold
from stages.lib.models.student import FaceEncoder

NAMES = ("embedding", "norm")
MAP = OcclusionContract(rows=7, columns=7)


def test_the_file_stands_alone(exported: Path, contract: Contract) -> None:
    model = onnx.load(exported)
    onnx.checker.check_model(model, full_check=True)
    assert [path.name for path in exported.parent.iterdir()] == ["model.onnx"]
    assert FaceModel(exported).contract == contract
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    assert b".py" not in exported.read_bytes()  # no stack traces with the paths of this machine


def test_embeddings_are_those_of_torch_at_any_batch(exported: Path, encoder: FaceEncoder, faces: np.ndarray) -> None:
    with torch.inference_mode():
        raw = encoder(torch.from_numpy(faces).permute(0, 3, 1, 2).float() / 255).numpy()
    lengths = np.sqrt((raw.astype(np.float64) ** 2).sum(axis=1))
    for batch in (1, 3, 64):
        embeddings, norms = FaceModel(exported, batch=batch).embed(faces)
        assert ((embeddings * raw).sum(axis=1) / lengths).min() >= 0.9999
        np.testing.assert_allclose(norms, lengths, rtol=1e-4)
        np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, rtol=1e-5)


def test_what_heads_say_is_torchs_sigmoid_at_any_batch(seen: Path, seeing: FaceEncoder, faces: np.ndarray) -> None:
    assert FaceModel(seen).contract.occlusion == MAP
    with torch.inference_mode():
        raw, features = seeing.with_features(torch.from_numpy(faces).permute(0, 3, 1, 2).float() / 255)
        covered = (1 / (1 + torch.exp(-seeing.occlusion_logits(features)))).numpy()
        good = (1 / (1 + torch.exp(-seeing.quality_logits(raw)))).numpy()
    assert np.ptp(covered) > 1e-3 and np.ptp(good) > 1e-3
    for batch in (1, 3, 64):
        found = FaceModel(seen, batch=batch).inspect(faces)
        assert found.occlusion is not None and found.occlusion.shape == (64, 7, 7)
        np.testing.assert_allclose(found.occlusion, covered, atol=1e-5)
        assert found.quality is not None and found.quality.shape == (64,)
        np.testing.assert_allclose(found.quality, good, atol=1e-5)
        np.testing.assert_allclose(found.embeddings, torch.nn.functional.normalize(raw).numpy(), atol=1e-5)
    assert FaceModel(seen).inspect(faces[:0]).occlusion.shape == (0, 7, 7)


def test_a_model_without_heads_has_two_outputs(exported: Path, faces: np.ndarray) -> None:
    assert [output.name for output in onnx.load(exported).graph.output] == ["embedding", "norm"]
    found = FaceModel(exported).inspect(faces[:3])
    assert (found.occlusion, found.quality) == (None, None)
    for one, other in zip((found.embeddings, found.norms), FaceModel(exported).embed(faces[:3]), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_training_mode_and_foreign_contracts_are_not_exported(
    encoder: FaceEncoder, contract: Contract, tmp_path: Path
) -> None:
    encoder.pool[1].train()
    try:
        with pytest.raises(ValueError, match="training mode"):
            export_encoder(encoder, tmp_path / "model.onnx", contract)
    finally:
        encoder.eval()
    for other in ({"input": UNIT_RGB}, {"score": ScoreContract(dim=5)}, {"occlusion": MAP}, {"precision": "int8"}):
        with pytest.raises(ValueError, match="contract"):
            export_encoder(encoder, tmp_path / "model.onnx", contract.model_copy(update=other))
    assert not any(tmp_path.iterdir())


def test_a_file_without_a_contract_is_refused(exported: Path, tmp_path: Path) -> None:
    model = onnx.load(exported)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "bare.onnx")
    with pytest.raises(ConfigError, match="has no contract"):
        FaceModel(tmp_path / "bare.onnx")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input": UNIT_RGB}, "served models take"),
        ({"score": ScoreContract(dim=5)}, "are not the contract's"),
        ({"outputs": ("embedding",)}, "its contract cannot be read"),
        ({"outputs": (*NAMES, "occlusion"), "occlusion": MAP}, "are not the contract's"),
    ],
)
def test_a_contract_that_the_graph_breaks_is_refused(
    exported: Path, contract: Contract, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    model = onnx.load(exported)
    stamp(model, contract.model_copy(update=change))
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(ConfigError, match=message):
        FaceModel(tmp_path / "other.onnx")


def test_stamping_again_replaces_the_contract_and_keeps_the_rest(exported: Path, contract: Contract) -> None:
    model = onnx.load(exported)
    onnx.helper.set_model_props(model, {**{p.key: p.value for p in model.metadata_props}, "note": "kept"})
    measured = {"1e-3": Threshold(cosine=0.4, impostor_pairs=20_000, people=30)}
    stamp(model, contract.model_copy(update={"thresholds": measured}))
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert set(metadata) == {KEY, "note"}
    assert parse(metadata, "model").thresholds == measured
    with pytest.raises(ConfigError, match="cannot be read"):
        parse({KEY: "{}"}, "model")


def test_only_aligned_pixels_are_taken(exported: Path, faces: np.ndarray) -> None:
    for wrong in (faces.astype(np.float32) / 255, faces[:, :96, :96]):
        with pytest.raises(ValueError, match="align them first"):
            FaceModel(exported).embed(wrong)
