"""Static int8 quantisation of an exported file: a quarter of the size, calibrated on real faces."""

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

from stages.lib.deploy.agreement import Agreement, compare
from stages.lib.deploy.metadata import stamp
from stages.lib.deploy.session import FaceModel
from stages.lib.models.contract import Faces

OPERATORS: Final = ("Conv", "Gemm")
"""Where the weights are; preprocessing and the final normalisation stay in float32."""


class _Calibration(CalibrationDataReader):
    """Feeds faces to onnxruntime's calibration, a batch at a time."""

    def __init__(self, faces: Faces, batch: int = 32) -> None:
        self._batches: Iterator[Faces] = iter([faces[i : i + batch] for i in range(0, len(faces), batch)])

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """The next batch, or nothing after the last one."""
        batch = next(self._batches, None)
        return None if batch is None else {"faces": batch}


def quantize(source: Path, destination: Path, calibration: Faces) -> None:
    """Write an int8 copy (QDQ, weights per channel) that keeps the source's contract.

    Args:
        source: an exported float32 file.
        destination: the file to write.
        calibration: (N, 112, 112, 3) RGB uint8 faces that fix the ranges of the activations.

    Raises:
        ValueError: no faces to calibrate on.
        ConfigError: the source is not an exported file.
    """
    if len(calibration) == 0:
        raise ValueError("calibration needs at least one face")
    contract = FaceModel(source).contract
    with tempfile.TemporaryDirectory() as folder:
        prepared, quantized = Path(folder, "prepared.onnx"), Path(folder, "int8.onnx")
        quant_pre_process(source, prepared, skip_symbolic_shape=True)  # it fails on a free batch
        quantize_static(
            prepared,
            quantized,
            _Calibration(calibration),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(OPERATORS),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
        model = onnx.load(quantized)
    stamp(model, contract)
    destination.parent.mkdir(parents=True, exist_ok=True)
    temporary = destination.with_name(f".{destination.name}.building")
    onnx.save_model(model, temporary)
    temporary.replace(destination)


def quantization_loss(float_path: Path, int8_path: Path, faces: Faces) -> Agreement:
    """Agreement of the int8 file with the float32 one, face by face."""
    expected, _ = FaceModel(float_path).embed(faces)
    found, _ = FaceModel(int8_path).embed(faces)
    return compare(expected, found)
