"""The contract inside an ONNX file: one JSON text among the model's metadata."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import onnx
from pydantic import ValidationError

from stages.lib.errors import ConfigError
from stages.lib.models.contract import Contract

KEY: Final = "face_contract"


def stamp(model: onnx.ModelProto, contract: Contract) -> None:
    """Put the contract into a model, in place of an older one."""
    kept = {entry.key: entry.value for entry in model.metadata_props if entry.key != KEY}
    onnx.helper.set_model_props(model, {**kept, KEY: contract.model_dump_json()})


def save_stamped(model: onnx.ModelProto, path: Path, contract: Contract) -> None:
    """Stamp a model and write it under a temporary name that is then renamed."""
    stamp(model, contract)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.building")
    onnx.save_model(model, temporary)
    temporary.replace(path)


def restamp(path: Path, contract: Contract) -> None:
    """Give a file another contract, such as one with what was measured on the file; its graph stays."""
    save_stamped(onnx.load(path), path, contract)


def parse(metadata: Mapping[str, str], what: str) -> Contract:
    """Read the contract from a model's metadata.

    Args:
        metadata: texts by key.
        what: names the model in errors.

    Raises:
        ConfigError: no contract, or one that is not of this form.
    """
    if KEY not in metadata:
        raise ConfigError(f"{what} has no contract ({KEY!r} in its metadata); export it with the export stage")
    try:
        return Contract.model_validate_json(metadata[KEY])
    except ValidationError as error:
        raise ConfigError(f"{what}: its contract cannot be read: {error}") from error
