"""Static int8 quantisation of an exported file: a third of its bytes, held to the float32 file face by face."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from stages.lib.deploy.metadata import save_stamped
from stages.lib.deploy.session import FaceModel
from stages.lib.errors import ConfigError
from stages.lib.models.contract import Faces

OPERATORS: Final = ("Conv", "Gemm", "Relu")
"""Where the weights are, and what follows them: a ReLU costs nothing where the range of integers starts at 0."""
_BATCH: Final = 32


class _Calibration(CalibrationDataReader):
    """Feeds faces to onnxruntime's calibration, a batch at a time."""

    def __init__(self, faces: Faces) -> None:
        self._batches: Iterator[Faces] = iter([faces[i : i + _BATCH] for i in range(0, len(faces), _BATCH)])

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """The next batch, or nothing after the last one."""
        batch = next(self._batches, None)
        return None if batch is None else {"faces": batch}


def quantize(source: Path, destination: Path, calibration: Faces) -> None:
    """Write an int8 copy of an exported file: the same inputs and outputs, its own contract, equal bytes every time.

    Weights become int8 per output channel, activations uint8 with a zero point, in QDQ form. The choices were made
    by measurement on trained students; cosine to float32, worst of 128 unseen faces:

    - Weights keep 7 of their 8 bits. Processors without VNNI add two products of uint8 by int8 in 16 bits, which
      8-bit weights overflow: a MobileFaceNet then falls to 0.5 to 0.7, on one processor and not on another. With
      7 bits it has 0.96, students of plain convolutions 0.99.
    - Ranges are the least and largest values of the calibration faces. Percentiles and moving averages gain a
      little on most faces and lose the unusual ones; entropy found the same ranges.
    - The first convolution stays in float32, so pixels enter exactly. So do the embedding as it leaves the last
      layer, its division by the norm, the head that tells quality from it, and the one that tells what is covered,
      whose logits on bare faces would give no range for covered ones.

    Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
    Inference", CVPR 2018, sections 2 and 3.

    Args:
        source: an exported float32 file.
        destination: the file to write.
        calibration: (N, 112, 112, 3) RGB uint8 faces that fix the ranges of the activations; none of them of
            people that the model is tested on.

    Raises:
        ValueError: no faces to calibrate on.
        ConfigError: the source is not an exported float32 file.
    """
    if len(calibration) == 0:
        raise ValueError("calibration needs at least one face")
    contract = FaceModel(source).contract
    if contract.precision != "fp32":
        raise ConfigError(f"{source} is {contract.precision} already; give the float32 export")
    ours = {"version": f"{contract.version}-int8", "precision": "int8", "thresholds": {}}
    with tempfile.TemporaryDirectory() as folder:
        prepared, quantized = Path(folder, "prepared.onnx"), Path(folder, "int8.onnx")
        # shapes only: the symbolic ones fail on a free batch, and the optimiser's nodes differ by version
        quant_pre_process(source, prepared, skip_symbolic_shape=True, skip_optimization=True)
        quantize_static(
            prepared,
            quantized,
            _Calibration(calibration),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(OPERATORS),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_kept_float(onnx.load(prepared).graph),
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm"]},
        )
        save_stamped(onnx.load(quantized), destination, contract.model_copy(update=ours))


def _kept_float(graph: onnx.GraphProto) -> list[str]:
    """Names of the convolution that reads the pixels, and of the layers of the heads."""
    first = next(node.name for node in graph.node if node.op_type == "Conv")  # nodes are in order of computation
    raw = next(node.input[0] for node in graph.node if node.op_type == "ReduceL2")
    maker = {output: node for node in graph.node for output in node.output}
    kept = [first]
    behind = maker.get("occlusion")
    while behind is not None and behind.op_type != "Conv":
        behind = maker.get(behind.input[0])
    kept += [] if behind is None else [behind.name]
    # the layers of quality read the raw embedding: were they of integers, so would be what the norm is taken of
    behind = maker.get("quality")
    while behind is not None and raw not in behind.output:
        kept += [behind.name] if behind.op_type == "Gemm" else []
        behind = maker.get(behind.input[0])
    return kept
