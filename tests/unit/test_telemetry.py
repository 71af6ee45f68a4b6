"""Nothing leaves the machine: a package that would note what is done here, to send it, is told not to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from onnx import TensorProto, helper, save

SERVE = """
import sys
from stages.lib.models.onnx_session import ort
ort.InferenceSession(sys.argv[1])
"""


def test_onnxruntime_keeps_no_record_of_what_it_is_asked(tmp_path: Path) -> None:
    home, model = tmp_path / "home", tmp_path / "model.onnx"
    home.mkdir()
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "same", values[:1], values[1:])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), model)
    quiet = ("CI", "GITHUB_ACTIONS", "XDG_CACHE_HOME", "ORT_DISABLE_TELEMETRY")  # it is silent in CI by itself
    environment = {name: value for name, value in os.environ.items() if name not in quiet} | {"HOME": str(home)}
    subprocess.run([sys.executable, "-c", SERVE, str(model)], env=environment, check=True)
    assert list(home.rglob("*")) == []
