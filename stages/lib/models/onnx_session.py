"""onnxruntime sessions, opened one way, and the check that a graph fits its input contract."""

from __future__ import annotations

import onnxruntime as ort

from stages.lib.errors import ConfigError
from stages.lib.models.contract import InputContract

_DTYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}
_ERRORS_ONLY = 3


def open_session(model: bytes, threads: int, what: str, fold_weights: bool = False) -> ort.InferenceSession:
    """Open an ONNX model on the CPU.

    Args:
        model: the serialised model.
        threads: that one run may use.
        what: names the model in errors.
        fold_weights: turn weights that are kept as integers into float32 once, at load, instead of at every
            run; a model quantised for integer arithmetic must not be opened so.

    Raises:
        ConfigError: onnxruntime refuses the model.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _ERRORS_ONLY
    options.add_session_config_entry("session.disable_quant_qdq", str(int(fold_weights)))
    # Idle threads that spin starve the other stages of a shared machine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has one class per status, with no common base
        raise ConfigError(f"{what}: onnxruntime cannot load it: {error}") from error


def check_input(session: ort.InferenceSession, contract: InputContract, what: str) -> str:
    """Refuse a graph whose own input is not the contract's.

    Args:
        session: the opened model.
        contract: what callers will feed.
        what: names the model in errors.

    Returns:
        The input's name.

    Raises:
        ConfigError: not exactly one input, or one of another type or shape.
    """
    inputs = session.get_inputs()
    if len(inputs) != 1:
        raise ConfigError(f"{what}: expected one input, the graph has {[value.name for value in inputs]}")
    (value,) = inputs
    dtype = _DTYPES.get(value.type, value.type)
    declared = value.shape[1:]
    fits = len(declared) == 3 and all(
        not isinstance(own, int) or own == wanted for own, wanted in zip(declared, contract.shape, strict=True)
    )
    if dtype != contract.dtype or not fits:
        raise ConfigError(
            f"{what}: input {value.name!r} is {dtype} {value.shape}, its contract says {contract.dtype} "
            f"(batch, {', '.join(map(str, contract.shape))}); give the contract that the model was made for"
        )
    return str(value.name)
