from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from stages.lib.errors import ConfigError
from stages.lib.models.adopted import AdoptedModel
from stages.lib.models.contract import LIGHTQNET, RAW_BGR, RAW_RGB, SYMMETRIC_RGB, InputContract
from stages.lib.models.embedder import unit
from stages.lib.models.known import KNOWN, locate
from stages.lib.models.onnx_mend import mend_onnx

DIM = 6
MENDED_BY_HAND = Path(os.environ.get("FACE_TEST_DATA", ""), "models", "sface_2021dec_int8bq_ort.onnx")


def published(fixed_reshape: bool) -> onnx.ModelProto:
    """A tiny embedding model with the faults of published files."""
    draw = np.random.default_rng(5)
    weights = {
        "conv": draw.normal(size=(DIM, 3, 16, 16)).astype(np.float32),
        "slope": draw.uniform(-0.5, 1.2, (DIM, 1, 1)).astype(np.float32),
        "dense": draw.normal(size=(DIM * 49, DIM)).astype(np.float32) * 1e-3,
        "shape": np.array([1 if fixed_reshape else 0, -1], np.int64),
    }
    nodes = [
        helper.make_node("Conv", ["data", "conv"], ["map"], strides=[16, 16]),
        helper.make_node("PRelu", ["map", "slope"], ["active"]),
        helper.make_node("Reshape", ["active", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "dense"], ["fc1"]),
    ]
    inputs = [helper.make_tensor_value_info("data", TensorProto.FLOAT, [1, 3, 112, 112])]
    inputs += [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(w.dtype), w.shape) for n, w in weights.items()
    ]
    inputs.append(helper.make_tensor_value_info("left_over", TensorProto.FLOAT, [4]))  # no node reads it
    outputs = [helper.make_tensor_value_info("fc1", TensorProto.FLOAT, [1, DIM])]
    graph = helper.make_graph(
        nodes, "published", inputs, outputs, [numpy_helper.from_array(w, n) for n, w in weights.items()]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (5, 112, 112, 3), dtype=np.uint8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    onnx.save(published(fixed_reshape=False), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def reference(faces: np.ndarray, contract: InputContract) -> np.ndarray:
    """Raw embeddings of the unmended model, one face at a time, by the onnx reference implementation."""
    model = published(fixed_reshape=True)
    inputs = {"left_over": np.zeros(4, np.float32)}
    run = ReferenceEvaluator(model)
    return np.concatenate([run.run(None, {**inputs, "data": contract.prepare(face[None])})[0] for face in faces])


@pytest.mark.parametrize(("fixed_reshape", "batch"), [(False, 8), (True, 1)])
def test_a_published_model_is_mended_and_its_batch_found(
    faces: np.ndarray, tmp_path: Path, fixed_reshape: bool, batch: int
) -> None:
    onnx.save(published(fixed_reshape), tmp_path / "model.onnx")
    model = AdoptedModel(tmp_path / "model.onnx", SYMMETRIC_RGB)
    embeddings, norms = model.embed(faces)
    wanted = reference(faces, SYMMETRIC_RGB)
    assert (model.batch, model.dim) == (batch, DIM)
    np.testing.assert_allclose(embeddings * norms[:, None], wanted, rtol=1e-4, atol=1e-5)


def test_flip_averages_the_face_and_its_mirror_image(faces: np.ndarray, path: Path) -> None:
    mirrored = np.ascontiguousarray(faces[:, :, ::-1])
    wanted, norms = unit((reference(faces, RAW_RGB) + reference(mirrored, RAW_RGB)) / 2)
    found, lengths = AdoptedModel(path, RAW_RGB, batch=2).embed(faces, flip=True)
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    np.testing.assert_allclose(lengths, norms, rtol=1e-4)


def test_the_colour_order_is_the_contracts(faces: np.ndarray, path: Path) -> None:
    swapped = np.ascontiguousarray(faces[..., ::-1])
    np.testing.assert_allclose(
        AdoptedModel(path, RAW_BGR).embed(faces)[0], AdoptedModel(path, RAW_RGB).embed(swapped)[0], atol=1e-5
    )


def test_no_faces_give_no_embeddings(path: Path) -> None:
    embeddings, norms = AdoptedModel(path, RAW_RGB).embed(np.empty((0, 112, 112, 3), np.uint8))
    assert embeddings.shape == (0, DIM)
    assert norms.shape == (0,)


@pytest.mark.parametrize(
    "contract", [InputContract(size=96), InputContract(layout="nhwc"), InputContract(dtype="uint8")]
)
def test_a_contract_that_is_not_the_models_is_refused(path: Path, contract: InputContract) -> None:
    with pytest.raises(ConfigError, match="its contract says"):
        AdoptedModel(path, contract)


def test_what_is_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.onnx is missing"):
        AdoptedModel(tmp_path / "missing.onnx", RAW_RGB)
    (tmp_path / "text.onnx").write_text("not a model")
    with pytest.raises(ConfigError, match=r"text\.onnx"):
        AdoptedModel(tmp_path / "text.onnx", RAW_RGB)


@given(x=st.floats(-1e3, 1e3, width=32), slope=st.floats(-2, 2, width=32))
def test_the_split_prelu_is_prelu(x: float, slope: float) -> None:
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1]) for name in ("x", "y")]
    graph = helper.make_graph(
        [helper.make_node("PRelu", ["x", "a"], ["y"])],
        "prelu",
        info[:1],
        info[1:],
        [numpy_helper.from_array(np.array([slope], np.float32), "a")],
    )
    mended = mend_onnx(helper.make_model(graph))
    (found,) = ReferenceEvaluator(mended).run(None, {"x": np.array([[x]], np.float32)})
    assert found.item() == pytest.approx(x if x > 0 else slope * x, rel=1e-5, abs=1e-4)


def test_sface_comes_with_its_package_and_runs_batched(faces: np.ndarray) -> None:
    model = AdoptedModel(locate("sface"), KNOWN["sface"].input)
    embeddings, _ = model.embed(faces[:2])
    assert model.batch > 1
    assert model.dim == KNOWN["sface"].dim
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, rtol=1e-5)


@pytest.mark.skipif(not MENDED_BY_HAND.is_file(), reason="needs FACE_TEST_DATA with models/ in it")
def test_the_mended_sface_is_the_one_mended_by_hand(faces: np.ndarray) -> None:
    session = ort.InferenceSession(MENDED_BY_HAND, providers=["CPUExecutionProvider"])
    wanted, lengths = unit(session.run(None, {"data": RAW_RGB.prepare(faces[:2])})[0])
    embeddings, norms = AdoptedModel(locate("sface"), KNOWN["sface"].input).embed(faces[:2])
    assert (embeddings * wanted).sum(axis=1).min() > 0.999
    np.testing.assert_allclose(norms, lengths, rtol=1e-3)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="sface"):
        locate("no_such_model")


def test_a_quality_network_of_another_size_gives_its_number_as_the_norm(faces: np.ndarray, tmp_path: Path) -> None:
    """The brightest red of the face, shrunk to 96x96 and taken to -1..1, plus 1."""
    nodes = [
        helper.make_node("Slice", ["face", "zero", "one", "last"], ["red"]),
        helper.make_node("ReduceMax", ["red", "axes"], ["most"], keepdims=0),
        helper.make_node("Unsqueeze", ["most", "axis"], ["single"]),
        helper.make_node("Add", ["single", "plus"], ["score"]),
    ]
    held = {"zero": [0], "one": [1], "last": [3], "axes": [1, 2, 3], "axis": [1]}
    weights = [numpy_helper.from_array(np.array(v, np.int64), n) for n, v in held.items()]
    weights.append(numpy_helper.from_array(np.float32([1.0]), "plus"))
    inputs = [helper.make_tensor_value_info("face", TensorProto.FLOAT, ["n", 96, 96, 3])]
    outputs = [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n", 1])]
    graph = helper.make_graph(nodes, "scorer", inputs, outputs, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), tmp_path / "q.onnx")
    flat = np.zeros_like(faces)
    flat[..., 0] = np.array([0, 64, 128, 192, 255])[:, None, None]
    model = AdoptedModel(tmp_path / "q.onnx", LIGHTQNET)
    embeddings, scores = model.embed(flat)
    np.testing.assert_allclose(scores, np.array([0, 64, 128, 192, 255]) / 128, rtol=1e-5)
    assert (embeddings.shape, model.embed(flat[:0])[1].shape) == ((5, 1), (0,))
