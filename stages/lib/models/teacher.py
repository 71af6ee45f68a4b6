"""The teacher's folder: an adopted ONNX model with its contract, or a checkpoint that was trained here."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from stages.lib.errors import ConfigError
from stages.lib.fingerprint import sha256_file
from stages.lib.models.adopted import AdoptedModel
from stages.lib.models.checkpoint import load_model
from stages.lib.models.contract import PRESETS, InputContract
from stages.lib.models.embedder import Embedder
from stages.lib.models.known import KNOWN, locate
from stages.lib.models.torch_embedder import TorchEmbedder

MODEL: Final = "model.onnx"
ABOUT: Final = "adopted.json"


class Adopted(BaseModel):
    """What is known of an adopted model.

    Attributes:
        name: as params name it.
        input: what it takes.
        dim: length of the embedding.
        licence: of the weights.
        sha256: of the .onnx file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    input: InputContract
    dim: int
    licence: str
    sha256: str


def open_onnx(model: str, contract: str, threads: int, sha256: str | None = None) -> tuple[Path, AdoptedModel, str]:
    """Open a known model by name, or any .onnx by path with the contract that params declare.

    Args:
        model: a name in `KNOWN`, or a path.
        contract: a name in `PRESETS`; of a known model, the one that it was made for.
        threads: that one run may use.
        sha256: what the file must have; none: not checked, but a known model always is.

    Returns:
        Its path, the opened model and the licence of its weights.

    Raises:
        ConfigError: no such model, it does not fit the contract, or it is another file than the one declared.
    """
    known = KNOWN.get(model)
    if known and PRESETS[contract] != known.input:
        right = next(name for name, preset in PRESETS.items() if preset == known.input)
        raise ConfigError(f"model {model!r} was made for the contract {right!r}, not {contract!r}: say {right!r}")
    path = locate(model) if known else Path(model)
    if sha256 is not None and path.is_file() and sha256_file(path) != sha256:
        raise ConfigError(f"{path} has sha256 {sha256_file(path)}, params say {sha256}: restore it, or change params")
    licence = known.licence if known else "as its makers state; not known here"
    return path, AdoptedModel(path, PRESETS[contract], threads), licence


def save_adopted(
    folder: Path, name: str, contract: str, threads: int, sha256: str | None = None, licence: str | None = None
) -> Adopted:
    """Copy an adopted model beside a record of what it is.

    Args:
        folder: where to.
        name: a known one, or the path of an .onnx.
        contract: name of its input.
        threads: to open it with.
        sha256: that the file must have.
        licence: of its weights; empty: that of a known model.

    Raises:
        ConfigError: see `open_onnx`.
    """
    path, opened, known = open_onnx(name, contract, threads, sha256)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, folder / MODEL)
    about = Adopted(
        name=Path(name).name,
        input=opened.contract,
        dim=opened.dim,
        licence=licence or known,
        sha256=sha256_file(path),
    )
    (folder / ABOUT).write_text(about.model_dump_json(indent=2) + "\n")
    return about


def open_teacher(folder: Path, device: str, threads: int) -> Embedder:
    """Open the teacher that `teach` left in a folder.

    Raises:
        ConfigError: the folder holds neither form, or a file is not what its record says.
    """
    if not (folder / ABOUT).is_file():
        encoder, _ = load_model(folder, device)
        return TorchEmbedder(encoder)
    try:
        about = Adopted.model_validate_json((folder / ABOUT).read_bytes())
    except ValidationError as error:
        raise ConfigError(f"{folder / ABOUT} is not a record of an adopted model: {error}") from error
    if sha256_file(folder / MODEL) != about.sha256:
        raise ConfigError(f"{folder / MODEL} is not the file that {ABOUT} describes; run `teach` again")
    return AdoptedModel(folder / MODEL, about.input, threads)
