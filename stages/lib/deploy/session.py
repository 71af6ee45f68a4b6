"""Running an exported model under the contract that it carries; needs onnxruntime and no torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stages.lib.deploy.metadata import parse
from stages.lib.errors import ConfigError
from stages.lib.models.contract import SERVED_INPUT, Contract, Faces
from stages.lib.models.embedder import Embeddings, Norms, embed_batched
from stages.lib.models.onnx_session import check_input, open_session


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
        outputs = {value.name: value.shape for value in self._session.get_outputs()}
        if tuple(outputs) != self.contract.outputs or outputs["embedding"][1:] != [self.dim]:
            raise ConfigError(f"{path}: outputs {outputs} are not the contract's {self.contract.outputs} of {self.dim}")

    def embed(self, faces: Faces, flip: bool = False) -> tuple[Embeddings, Norms]:
        """Embed aligned faces; see `Embedder.embed`.

        Raises:
            ValueError: the faces are not uint8 (N, 112, 112, 3).
        """
        return embed_batched(self._raw, faces, self.dim, self._batch, flip)

    def served(self, faces: Faces) -> tuple[Embeddings, Norms]:
        """What the file itself gives for one batch, untouched: embeddings (N, dim) and norms (N,)."""
        embeddings, norms = self._session.run(["embedding", "norm"], {self._input: self.contract.input.prepare(faces)})
        return embeddings, norms

    def _raw(self, faces: Faces) -> Embeddings:
        embeddings, norms = self.served(faces)
        return np.asarray(embeddings * norms[:, None], dtype=np.float32)
