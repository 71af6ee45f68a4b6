"""The models under test, opened only when they are asked something."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, Literal

import onnx

from stages.lib.deploy.metadata import parse
from stages.lib.deploy.session import SHIPPED, SHIPPED_INT8, FaceModel
from stages.lib.errors import ConfigError
from stages.lib.fingerprint import fingerprint, sha256_file
from stages.lib.models.checkpoint import WEIGHTS, read_spec
from stages.lib.models.embedder import Embedder
from stages.lib.models.teacher import ABOUT, MODEL, open_onnx, open_teacher

Role = Literal["teacher", "student", "peer"]

INT8: Final = "_int8"
"""Ends the name of a student's int8 file."""


@dataclass(frozen=True)
class Candidate:
    """One model file.

    Attributes:
        name: of the model; the training seeds of one student share it.
        role: what it is compared as.
        seed: training seed of a student; None for models that were not trained by seed.
        controls: the students that this one is judged against, the first before all.
        identity: changes with anything that changes an embedding (weights, input contract).
        open: loads the model.
        megabytes: size of the file, 1 MB = 2^20 bytes.
        parameters: weights stored in the file.
        shipped: whether this file is the one that leaves the house under its name.
        thresholds: by false match rate, as the file itself states them; empty where it states none.
    """

    name: str
    role: Role
    seed: int | None
    controls: tuple[str, ...]
    identity: str
    open: Callable[[], Embedder]
    megabytes: float
    parameters: int
    shipped: bool = True
    thresholds: Mapping[str, float] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Name, with the training seed where there is one."""
        return self.name if self.seed is None else f"{self.name}, seed {self.seed}"


def teacher_candidate(name: str, folder: Path, device: str, threads: int) -> Candidate:
    """The teacher in the folder that `models.teacher` describes.

    Raises:
        ConfigError: the folder holds no teacher.
    """
    opener = partial(open_teacher, folder, device, threads)
    adopted = (folder / ABOUT).is_file()
    file = folder / (MODEL if adopted else WEIGHTS)
    if not file.is_file():
        raise ConfigError(f"{file} is missing; run the stage that makes the teacher")
    parameters = stored_weights(file) if adopted else read_spec(folder).parameters
    contract = (folder / ABOUT).read_text() if adopted else ""
    identity = fingerprint(sha256_file(file), contract)
    return Candidate(name, "teacher", None, (), identity, opener, _megabytes(file), parameters)


def student_candidates(name: str, controls: tuple[str, ...], folder: Path, threads: int) -> list[Candidate]:
    """Every seed's export of a student, by seed.

    Args:
        name: of the student.
        controls: the students that it is judged against.
        folder: `model.json` names the replica that ships, and `replicas/seed-<n>.onnx` holds each seed.
        threads: that one inference session may use.

    Raises:
        ConfigError: the folder is not what the export stage writes.
    """
    shipped = _shipped(folder)
    files = {int(file.stem.removeprefix("seed-")): file for file in (folder / "replicas").glob("seed-*.onnx")}
    if shipped not in {file.stem for file in files.values()}:
        raise ConfigError(f"{folder / 'replicas'} lacks {shipped}.onnx, which ships; export again")
    return [
        Candidate(
            name=name,
            role="student",
            seed=seed,
            controls=controls,
            identity=sha256_file(file),  # the input contract is inside the file
            open=partial(FaceModel, file, threads),
            megabytes=_megabytes(file),
            parameters=stored_weights(file),
            shipped=file.stem == shipped,
            thresholds=_thresholds(file),
        )
        for seed, file in sorted(files.items())
    ]


def int8_candidate(name: str, folder: Path, threads: int) -> Candidate:
    """The int8 file that ships beside a student's float32 one: `<name>_int8`, judged against that one's same seed.

    Args:
        name: of the student.
        folder: what the export stage wrote.
        threads: that one inference session may use.

    Raises:
        ConfigError: the student was exported without an int8 file.
    """
    file = folder / SHIPPED_INT8
    if not file.is_file():
        raise ConfigError(f"{file} is missing: set export.int8 in params.yaml and export again")
    return Candidate(
        name=f"{name}{INT8}",
        role="student",
        seed=int(_shipped(folder).removeprefix("seed-")),
        controls=(name,),
        identity=sha256_file(file),
        open=partial(FaceModel, file, threads),
        megabytes=_megabytes(file),
        parameters=stored_weights(folder / SHIPPED),
        thresholds=_thresholds(file),
    )


def peer_candidate(name: str, model: str, contract: str, threads: int, sha256: str | None = None) -> Candidate:
    """Somebody else's ONNX model, by a known name or a path.

    Raises:
        ConfigError: see `open_onnx`.
    """
    path, opened, _ = open_onnx(model, contract, threads, sha256)
    identity = fingerprint(sha256_file(path), opened.contract.model_dump_json())
    opener = partial(_reopen, model, contract, threads)
    return Candidate(name, "peer", None, (), identity, opener, _megabytes(path), stored_weights(path))


def stored_weights(path: Path) -> int:
    """Number of values in an ONNX file's weight tensors; scalars and integer bookkeeping do not count.

    Batch normalisation that the exporter folded into convolutions is not counted twice, so the figure may lie a
    little below the parameter count of the network in training.
    """
    held = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.INT8, onnx.TensorProto.UINT8}
    tensors = onnx.load(path, load_external_data=False).graph.initializer
    return sum(math.prod(t.dims) for t in tensors if t.dims and t.data_type in held)


def _shipped(folder: Path) -> str:
    try:
        name: str = json.loads((folder / "model.json").read_text())["shipped"]
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(
            f"{folder / 'model.json'} does not name the seed that ships ({error}); export again"
        ) from error
    return name


def _thresholds(file: Path) -> dict[str, float]:
    contract = parse({entry.key: entry.value for entry in onnx.load(file).metadata_props}, str(file))
    return {rate: threshold.cosine for rate, threshold in contract.thresholds.items()}


def _reopen(model: str, contract: str, threads: int) -> Embedder:
    return open_onnx(model, contract, threads)[1]


def _megabytes(file: Path) -> float:
    return file.stat().st_size / 2**20
