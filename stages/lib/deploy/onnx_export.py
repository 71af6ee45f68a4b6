"""Export of an encoder to ONNX: pixels in, unit embedding and norm out, the contract inside."""

from __future__ import annotations

from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from stages.lib.deploy.metadata import save_stamped
from stages.lib.models.contract import SERVED_INPUT, Contract
from stages.lib.models.student import FaceEncoder

_TINY = 1e-12


class ServedEncoder(nn.Module):
    """An encoder between the pixels that callers have and the score that they compare."""

    def __init__(self, encoder: FaceEncoder) -> None:
        """Wrap the encoder; nothing is copied."""
        super().__init__()
        self.encoder = encoder

    def forward(self, faces: Tensor) -> tuple[Tensor, Tensor]:
        """Embed pixels.

        Args:
            faces: uint8 (N, 112, 112, 3) RGB.

        Returns:
            Unit embeddings (N, D) and the norms (N,) of the raw embeddings.
        """
        raw = self.encoder(faces.permute(0, 3, 1, 2).float() / 255)
        norm = torch.linalg.vector_norm(raw, dim=1)
        return raw / norm.clamp_min(_TINY)[:, None], norm


def export_encoder(encoder: FaceEncoder, path: Path, contract: Contract) -> None:
    """Write an encoder as one ONNX file, under a temporary name that is then renamed.

    Batch normalisation is folded into the convolutions, preprocessing is inside the graph, the batch is free.

    Args:
        encoder: in eval mode, on the CPU.
        path: the file to write.
        contract: goes into the file's metadata.

    Raises:
        ValueError: the encoder is in training mode, or the contract is not that of a served encoder.
    """
    if any(module.training for module in encoder.modules()):
        raise ValueError("the encoder is in training mode: call eval() before its export")
    dim = encoder.architecture.embedding
    if contract.input != SERVED_INPUT or contract.score.dim != dim or not contract.score.unit_norm:
        raise ValueError(f"the contract must state {SERVED_INPUT} and unit embeddings of {dim} values")
    example = torch.zeros(2, *contract.input.shape, dtype=torch.uint8)  # a batch of 1 would be burnt in
    program = torch.onnx.export(
        ServedEncoder(encoder).eval(),
        (example,),
        input_names=["faces"],
        output_names=list(contract.outputs),
        dynamic_shapes=({0: "batch"},),
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    if program is None:
        raise RuntimeError("torch gave no ONNX program")
    save_stamped(_bare(program.model_proto), path, contract)


def _bare(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop the exporter's notes: stack traces with this machine's paths, a quarter of the bytes."""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in [*model.graph.input, *model.graph.output, *model.graph.initializer]:
        del value.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]
    return model
