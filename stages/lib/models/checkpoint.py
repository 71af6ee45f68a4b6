"""A trained encoder on disk: `weights.safetensors`, and `model.json` that says what they are."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_model as load_weights
from safetensors.torch import save_model as save_weights

from stages.lib.errors import ConfigError
from stages.lib.fingerprint import sha256_file
from stages.lib.folders import new_folder
from stages.lib.models.contract import ENCODER_INPUT, InputContract
from stages.lib.models.student import Architecture, FaceEncoder, build_encoder, parameters_count

WEIGHTS: Final = "weights.safetensors"
SPEC: Final = "model.json"


class ModelSpec(BaseModel):
    """What a checkpoint holds and where it came from.

    Attributes:
        architecture: enough to build the network again.
        input: what the network takes.
        parameters: learnable weights; filled in by `save_model`.
        weights_sha256: of the weights file; filled in by `save_model`.
        objectives: that it was trained for, by name.
        licence: of the teacher whose templates it learnt from; empty: it learnt from none.
        provenance: hashes of data, params and code, by name.
        metrics: what training measured, by name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: Architecture
    input: InputContract = ENCODER_INPUT
    parameters: int = 0
    weights_sha256: str = ""
    objectives: tuple[str, ...] = ()
    licence: str = ""
    provenance: dict[str, str] = Field(default_factory=dict)
    metrics: dict[str, float] = Field(default_factory=dict)


def save_model(folder: Path, model: FaceEncoder, spec: ModelSpec) -> ModelSpec:
    """Write a checkpoint in a temporary sibling and rename it; an older folder is replaced.

    Args:
        folder: the checkpoint's folder.
        model: the encoder, on any device.
        spec: what is known of it; parameter count and hash are filled in.

    Returns:
        The spec as written.

    Raises:
        ConfigError: the spec describes another architecture than the model's.
    """
    if spec.architecture != model.architecture:
        raise ConfigError(f"{folder}: spec says {spec.architecture}, the model is {model.architecture}")
    with new_folder(folder) as building:
        save_weights(model, str(building / WEIGHTS))
        complete = spec.model_copy(
            update={"parameters": parameters_count(model), "weights_sha256": sha256_file(building / WEIGHTS)}
        )
        (building / SPEC).write_text(complete.model_dump_json(indent=2) + "\n")
    return complete


def load_model(folder: Path, device: str = "cpu") -> tuple[FaceEncoder, ModelSpec]:
    """Read a checkpoint and verify its hash.

    Args:
        folder: what `save_model` wrote.
        device: torch device that the encoder is put on.

    Returns:
        The encoder in eval mode, and its spec.

    Raises:
        ConfigError: a file is missing, is not what `model.json` says, or does not fit the architecture.
    """
    weights = folder / WEIGHTS
    spec = read_spec(folder)
    if not weights.is_file():
        raise ConfigError(f"{weights} is missing; run the stage that trains this model")
    if sha256_file(weights) != spec.weights_sha256:
        raise ConfigError(f"{weights} is not the file that {folder / SPEC} describes; train again")
    architecture = spec.architecture
    model = build_encoder(**architecture.model_dump())
    try:
        load_weights(model, str(weights), device="cpu")
    except (RuntimeError, SafetensorError) as error:
        raise ConfigError(f"{weights} does not fit {architecture}: {error}") from error
    return model.to(device).eval(), spec


def read_spec(folder: Path) -> ModelSpec:
    """Read `model.json` without building the network.

    Raises:
        ConfigError: the file is missing or not of this form.
    """
    path = folder / SPEC
    try:
        return ModelSpec.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise ConfigError(f"{path} is missing; run the stage that trains this model") from error
    except ValidationError as error:
        raise ConfigError(f"{path} is not a model description: {error}") from error
