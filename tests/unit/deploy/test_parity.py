from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from stages.lib.deploy.agreement import compare, require
from stages.lib.deploy.golden import stand_ins, verify_golden, write_golden
from stages.lib.deploy.parity import check_parity
from stages.lib.deploy.session import FaceModel
from stages.lib.errors import ConfigError, GateFailed
from stages.lib.models.student import FaceEncoder


def test_an_export_agrees_with_its_encoder(exported: Path, encoder: FaceEncoder, faces: np.ndarray) -> None:
    figures = check_parity(encoder, exported, faces).figures()
    assert figures["faces"] == len(faces)
    assert figures["min_cosine"] >= 0.99999
    assert figures["max_abs"] < 1e-4


def test_perturbed_weights_fail_the_gate(exported: Path, encoder: FaceEncoder, faces: np.ndarray) -> None:
    perturbed = copy.deepcopy(encoder)
    with torch.no_grad():
        weight = perturbed.embed[0].weight
        weight += 0.2 * weight.std() * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    with pytest.raises(GateFailed, match=r"below cosine 0\.9999; worst 0\.9"):
        check_parity(perturbed, exported, faces)


def test_one_bad_face_is_enough() -> None:
    expected = np.eye(4, dtype=np.float32)
    found = expected.copy()
    require(compare(expected, found), 0.9999, "model")
    found[2] = [0, 0, np.cos(0.02), np.sin(0.02)]
    with pytest.raises(GateFailed, match="1 of 4 faces"):
        require(compare(expected, found), 0.9999, "model")
    found[2] = np.nan
    with pytest.raises(GateFailed, match="1 of 4 faces"):
        require(compare(expected, found), 0.9999, "model")
    with pytest.raises(GateFailed, match="no faces"):
        require(compare(expected[:0], found[:0]), 0.9999, "model")


@pytest.mark.parametrize("which", ["exported", "seen", "int8"])
def test_golden_vectors_hold_and_tell(
    which: str, faces: np.ndarray, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    model, golden = request.getfixturevalue(which), tmp_path / "golden.npz"
    found = FaceModel(model).inspect(faces[:4])
    write_golden(golden, faces[:4], found)
    first = golden.read_bytes()
    assert verify_golden(model, golden).figures()["min_cosine"] >= 0.9999
    write_golden(golden, faces[:4], found)
    assert golden.read_bytes() == first
    wrong = [
        (replace(found, norms=found.norms * 1.1), "norms"),
        (replace(found, embeddings=found.embeddings[::-1]), "cosine"),
    ]
    if found.occlusion is not None:
        wrong += [
            (replace(found, occlusion=1 - found.occlusion * 0.5), "occlusion"),
            (replace(found, occlusion=None), "inf"),
            (replace(found, quality=found.quality + np.float32(0.2)), "quality"),
        ]
    for vectors, message in wrong:
        write_golden(golden, faces[:4], vectors)
        with pytest.raises(GateFailed, match=message):
            verify_golden(model, golden)
    for damaged in (b"", first[:100], first[:300] + bytes(200) + first[500:]):
        golden.write_bytes(damaged)
        with pytest.raises(ConfigError, match=r"golden\.npz"):
            verify_golden(model, golden)
    golden.write_bytes(first[:100])
    with pytest.raises(ConfigError, match=r"golden\.npz"):
        verify_golden(model, golden)
    with pytest.raises(ValueError, match="3 faces"):
        write_golden(golden, faces[:3], found)


def test_faces_that_stand_in_are_the_same_everywhere() -> None:
    noise = stand_ins(8)
    assert (noise.shape, noise.dtype) == ((8, 112, 112, 3), np.uint8)
    assert np.ptp(noise) > 200 and len(np.unique(noise[:, 50, 50], axis=0)) == 8
    np.testing.assert_array_equal(noise[:3], stand_ins(3))


def test_parity_sees_a_head_that_is_not_torchs(seen: Path, seeing: FaceEncoder, faces: np.ndarray) -> None:
    assert check_parity(seeing, seen, faces).figures()["min_cosine"] >= 0.99999
    for head, bias in (("occlusion", lambda model: model.occlusion), ("quality", lambda model: model.quality[-1])):
        other = copy.deepcopy(seeing)
        with torch.no_grad():
            bias(other).bias += 0.1
        with pytest.raises(GateFailed, match=rf"{head} is off by 2\.[0-9]e-02"):
            check_parity(other, seen, faces)


def test_parity_sees_the_outputs_that_ship(
    exported: Path, encoder: FaceEncoder, faces: np.ndarray, tmp_path: Path
) -> None:
    model = onnx.load(exported)
    by_output = {output: node for node in model.graph.node for output in node.output}
    by_output["norm"].output[0] = "true_norm"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(2.0), "two"))
    model.graph.node.append(onnx.helper.make_node("Mul", ["true_norm", "two"], ["norm"]))
    for node in model.graph.node:
        node.input[:] = ["true_norm" if name == "norm" else name for name in node.input]
    twice = tmp_path / "twice.onnx"
    onnx.save_model(model, twice)
    with pytest.raises(GateFailed, match=r"a norm by 1\.0e"):
        check_parity(encoder, twice, faces[:4])
