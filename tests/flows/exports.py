"""What the export and reference stages leave behind, in small and without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from flows.home import REFERENCE
from stages.lib.challenge import Compared, Judgement, Migration
from stages.lib.deploy.golden import stand_ins, write_golden
from stages.lib.deploy.metadata import save_stamped
from stages.lib.deploy.session import SHIPPED, FaceModel
from stages.lib.models.contract import SERVED_INPUT, Contract, ScoreContract, Threshold

DIM = 4


def make_exported(root: Path, version: str, seed: int = 0, thresholds: Mapping[str, float] | None = None) -> Path:
    """A folder `exported` with a model that embeds a face's mean colour, and `reference` beside it."""
    cosines = {"1e-2": 0.5} if thresholds is None else thresholds
    exported, reference = root / "exported", root / REFERENCE.name
    for folder in (exported, reference):
        folder.mkdir(parents=True, exist_ok=True)
    contract = Contract(
        name="toy",
        version=version,
        input=SERVED_INPUT,
        score=ScoreContract(dim=DIM),
        thresholds={fmr: Threshold(cosine=cosine, impostor_pairs=10, people=5) for fmr, cosine in cosines.items()},
        licence="MIT",
    )
    save_stamped(_mean_colour(seed), exported / SHIPPED, contract)
    faces = stand_ins(2)
    write_golden(exported / "golden.npz", faces, FaceModel(exported / SHIPPED).inspect(faces))
    (exported / "model.json").write_text("{}\n")
    (reference / "profile.json").write_text(json.dumps({"model": version}) + "\n")
    return exported


def _mean_colour(seed: int) -> onnx.ModelProto:
    weights = np.random.default_rng(seed).normal(size=(3, DIM)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["faces"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["colour"], keepdims=0),
        helper.make_node("MatMul", ["colour", "weights"], ["raw"]),
        helper.make_node("ReduceL2", ["raw", "last"], ["length"], keepdims=1),
        helper.make_node("Div", ["raw", "length"], ["embedding"]),
        helper.make_node("Squeeze", ["length", "last"], ["norm"]),
    ]
    constants = {"weights": weights, "axes": np.array([1, 2], np.int64), "last": np.array([1], np.int64)}
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("faces", TensorProto.UINT8, ["batch", 112, 112, 3])],
        [
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", DIM]),
            helper.make_tensor_value_info("norm", TensorProto.FLOAT, ["batch"]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def judgement(version: str, *, promote: bool, cosine: float = 0.45, champion: str = "v1") -> Judgement:
    """A verdict on a challenger, all figures of which are made up."""
    rates = {"champion": 0.2, "challenger": 0.1, "difference": -0.1, "low": -0.2, "high": -0.05}
    one = Compared(name="overall", pairs=10, people=10, **rates)
    flips = dict.fromkeys(("genuine_lost", "genuine_gained", "impostors_stopped", "impostors_let_in"), 0)
    moved = Migration(
        champion=0.5,
        challenger=cosine,
        fmr=0.01,
        resolved=True,
        genuine=10,
        impostors=10,
        people=10,
        people_touched=3,
        **flips,
    )
    return Judgement(
        champion=champion,
        challenger=version,
        aligned="a",
        grid="g",
        technique="norm",
        fmr=0.01,
        champion_threshold=0.5,
        challenger_threshold=cosine,
        overall=one,
        clean=one,
        bands=(one,),
        cells=(),
        migration=moved,
        promote=promote,
        reason="better" if promote else "worse",
    )
