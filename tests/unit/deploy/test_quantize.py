"""Int8 says what float32 says on any processor, and a file that does not is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from stages.lib.deploy.metadata import restamp
from stages.lib.deploy.parity import check_int8
from stages.lib.deploy.quantize import quantize
from stages.lib.deploy.session import FaceModel
from stages.lib.errors import ConfigError, GateFailed
from stages.lib.models.contract import Threshold

LEAST = 0.99


def test_int8_agrees_with_float_at_any_batch(seen: Path, int8: Path, faces: np.ndarray) -> None:
    fresh = faces[32:]
    expected = FaceModel(seen).inspect(faces)
    for batch in (1, 3, 64):
        found = FaceModel(int8, batch=batch).inspect(faces)
        assert (found.embeddings * expected.embeddings).sum(axis=1).min() > LEAST
        np.testing.assert_allclose(np.linalg.norm(found.embeddings, axis=1), 1, rtol=1e-5)
        np.testing.assert_allclose(found.occlusion, expected.occlusion, atol=0.02)
        np.testing.assert_allclose(found.quality, expected.quality, atol=0.02)
    figures = check_int8(seen, int8, fresh, LEAST)
    assert LEAST < figures["min_cosine"] < 1
    assert 0 < figures["max_occlusion"] < 0.02 and 0 < figures["max_quality"] < 0.02 and 0 < figures["max_norm"] < 0.05


def test_the_file_is_small_states_its_precision_and_stands_alone(seen: Path, int8: Path) -> None:
    assert int8.stat().st_size < 0.45 * seen.stat().st_size
    original, contract = FaceModel(seen).contract, FaceModel(int8).contract
    assert contract == original.model_copy(update={"version": "1-int8", "precision": "int8"})
    onnx.checker.check_model(onnx.load(int8), full_check=True)
    assert sorted(path.name for path in int8.parent.iterdir()) == ["model.int8.onnx", "model.onnx"]
    with pytest.raises(ConfigError, match="int8 already"):
        quantize(int8, int8, np.zeros((1, 112, 112, 3), np.uint8))


def test_pixels_and_heads_stay_float(int8: Path) -> None:
    graph = onnx.load(int8).graph
    maker = {output: node.op_type for node in graph.node for output in node.output}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    float_ones = [node for node in convolutions if maker.get(node.input[1]) != "DequantizeLinear"]
    assert [node.name for node in float_ones] == [convolutions[0].name, convolutions[-1].name]
    assert float_ones[0].input[0] not in {o for n in graph.node if n.op_type == "DequantizeLinear" for o in n.output}
    layers = [node for node in graph.node if node.op_type == "Gemm"]
    assert [maker.get(node.input[1]) != "DequantizeLinear" for node in layers] == [False, True, True]  # quality's two
    raw = next(node.input[0] for node in graph.node if node.op_type == "ReduceL2")
    assert maker[raw] == "Gemm"  # no integers between the last layer and the norm


def test_integers_are_those_of_exact_arithmetic(int8: Path, faces: np.ndarray) -> None:
    """8-bit weights overflow the 16-bit sums of processors without VNNI; the float run has no such sums."""
    options = ort.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    exact = ort.InferenceSession(int8, options, providers=["CPUExecutionProvider"]).run(["embedding"], {"faces": faces})
    cosine = (exact[0] * FaceModel(int8).inspect(faces).embeddings).sum(axis=1)
    assert cosine.min() > 0.999


def test_equal_inputs_give_equal_bytes_and_no_leftovers(
    seen: Path, int8: Path, faces: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    monkeypatch.chdir(scratch)
    shutil.copyfile(seen, tmp_path / "model.onnx")
    quantize(tmp_path / "model.onnx", tmp_path / "again.onnx", faces[:32])
    assert (tmp_path / "again.onnx").read_bytes() == int8.read_bytes()
    assert not any(scratch.iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.onnx", "model.onnx", "scratch"]


def test_a_wrecked_file_is_refused(seen: Path, int8: Path, faces: np.ndarray, tmp_path: Path) -> None:
    model = onnx.load(int8)
    for scale in model.graph.initializer:
        if not scale.dims and scale.name.endswith("_scale"):  # of activations: their ranges, forty times too narrow
            scale.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(scale) / 40, scale.name))
    wrecked = tmp_path / "model.int8.onnx"
    onnx.save_model(model, wrecked)
    with pytest.raises(GateFailed, match=r"\d+ of 32 faces below cosine 0\.9; worst"):
        check_int8(seen, wrecked, faces[32:], 0.9)
    with pytest.raises(ValueError, match="at least one face"):
        quantize(seen, wrecked, faces[:0])


def test_thresholds_of_float_are_not_inherited(seen: Path, faces: np.ndarray, tmp_path: Path) -> None:
    source = tmp_path / "model.onnx"
    shutil.copyfile(seen, source)
    measured = {"1e-2": Threshold(cosine=0.4, impostor_pairs=20_000, people=30)}
    restamp(source, FaceModel(source).contract.model_copy(update={"thresholds": measured}))
    quantize(source, tmp_path / "int8.onnx", faces[:2])
    assert FaceModel(tmp_path / "int8.onnx").contract.thresholds == {}
