"""Running an exported model under the contract that it carries; needs onnxruntime and no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stages.lib.deploy.metadata import parse
from stages.lib.errors import ConfigError
from stages.lib.models.contract import SERVED_INPUT, Contract, Faces, OcclusionMaps
from stages.lib.models.embedder import Embeddings, Norms, embed_batched
from stages.lib.models.onnx_session import check_input, open_session

SHIPPED: Final = "model.onnx"
SHIPPED_INT8: Final = "model.int8.onnx"
"""Names of what leaves the house, in the folder that the export stage writes for a student."""
HEADS: Final = ("occlusion", "quality")
"""Names of what a model may say of a face beside its embedding."""


@dataclass(frozen=True)
class Inspection:
    """What a served model says of N faces, as the file gives it.

    Attributes:
        embeddings: (N, dim) of length 1.
        norms: (N,) of the raw embeddings.
        occlusion: (N, rows, columns) in 0..1 as `OcclusionContract` reads it; None where the model cannot tell.
        quality: (N,) in 0..1 as `QualityContract` reads it; None where the model cannot tell.
    """

    embeddings: Embeddings
    norms: Norms
    occlusion: OcclusionMaps | None = None
    quality: NDArray[np.float32] | None = None


class FaceModel:
    """Embeds aligned faces with a file that the export stage wrote.

    Attributes:
        contract: read from the file.
        dim: length of the embedding.
    """

    def __init__(self, path: Path, threads: int = 1, batch: int = 64) -> None:
        """Open the file and hold it to its contract.

        Args:
            path: an exported .onnx file.
            threads: that one run may use.
            batch: most faces a run.

        Raises:
            ConfigError: no such file, no contract, or a graph that is not what the contract says.
        """
        if not path.is_file():
            raise ConfigError(f"{path} is missing; run the export stage")
        self._session = open_session(path.read_bytes(), threads, str(path))
        self._batch = batch
        self.contract: Contract = parse(self._session.get_modelmeta().custom_metadata_map, str(path))
        self.dim = self.contract.score.dim
        if self.contract.input != SERVED_INPUT:
            raise ConfigError(
                f"{path}: its contract asks for {self.contract.input}, served models take {SERVED_INPUT}; "
                "open other models with their own input contract"
            )
        self._input = check_input(self._session, self.contract.input, str(path))
        outputs = {value.name: tuple(value.shape[1:]) for value in self._session.get_outputs()}
        self._shapes = self.contract.output_shapes
        if list(outputs.items()) != list(self._shapes.items()):
            raise ConfigError(f"{path}: its outputs {outputs} are not the contract's {self._shapes}")

    def embed(self, faces: Faces, flip: bool = False) -> tuple[Embeddings, Norms]:
        """Embed aligned faces; see `Embedder.embed`.

        Raises:
            ValueError: the faces are not uint8 (N, 112, 112, 3).
        """
        return embed_batched(self._raw, faces, self.dim, self._batch, flip)

    def inspect(self, faces: Faces) -> Inspection:
        """Embed aligned faces (N, 112, 112, 3) and tell what covers them and how good they are, in one pass.

        Raises:
            ValueError: the faces are not uint8 (N, 112, 112, 3).
        """
        found = {name: np.empty((len(faces), *shape), np.float32) for name, shape in self._shapes.items()}
        for start in range(0, len(faces), self._batch):
            part = slice(start, start + self._batch)
            for name, values in zip(found, self._run(list(found), faces[part]), strict=True):
                found[name][part] = values
        return Inspection(found["embedding"], found["norm"], found.get("occlusion"), found.get("quality"))

    def _raw(self, faces: Faces) -> Embeddings:
        embeddings, norms = self._run(["embedding", "norm"], faces)
        return np.asarray(embeddings * norms[:, None], dtype=np.float32)

    def _run(self, outputs: list[str], faces: Faces) -> list[NDArray[np.float32]]:
        values: list[NDArray[np.float32]] = self._session.run(
            outputs, {self._input: self.contract.input.prepare(faces)}
        )
        return values
