"""Export of an encoder to ONNX: pixels in; unit embedding, norm, covers and quality out; the contract inside."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import onnx
import torch
from torch import Tensor, nn

from stages.lib.deploy.metadata import save_stamped
from stages.lib.models.contract import SERVED_INPUT, Contract, OcclusionContract, QualityContract, ScoreContract
from stages.lib.models.student import FaceEncoder

_TINY = 1e-12


class ServedEncoder(nn.Module):
    """An encoder between the pixels that callers have and the score that they compare."""

    def __init__(self, encoder: FaceEncoder) -> None:
        """Wrap the encoder; nothing is copied."""
        super().__init__()
        self.encoder = encoder

    def forward(self, faces: Tensor) -> tuple[Tensor, ...]:
        """Embed pixels.

        Args:
            faces: uint8 (N, 112, 112, 3) RGB.

        Returns:
            Unit embeddings (N, D), the norms (N,) of the raw embeddings and, of an encoder with those heads, the
            covered share (N, H, W) of each cell and the quality (N,), in 0..1.
        """
        raw, features = self.encoder.with_features(faces.permute(0, 3, 1, 2).float() / 255)
        norm = torch.linalg.vector_norm(raw, dim=1)
        heads = self.encoder.heads(raw, features).values()
        return (raw / norm.clamp_min(_TINY)[:, None], norm, *map(torch.sigmoid, heads))


def served_contract(
    encoder: FaceEncoder,
    name: str,
    version: str,
    licence: str,
    hashes: dict[str, str],
    objectives: tuple[str, ...] = (),
) -> Contract:
    """Contract of the file that `export_encoder` makes of an encoder; the arguments are `Contract`'s fields."""
    occlusion, quality = None, None
    if encoder.architecture.occlusion:
        rows, columns = cast(nn.Conv2d, encoder.pool[0]).kernel_size  # as large as the map that both heads read
        occlusion = OcclusionContract(rows=rows, columns=columns)
    if encoder.architecture.quality:
        quality = QualityContract(technique=encoder.architecture.quality)
    heads = {"occlusion": occlusion, "quality": quality}
    return Contract(
        name=name,
        version=version,
        input=SERVED_INPUT,
        score=ScoreContract(dim=encoder.architecture.embedding),
        outputs=("embedding", "norm", *(name for name, head in heads.items() if head is not None)),
        occlusion=occlusion,
        quality=quality,
        objectives=objectives,
        licence=licence,
        hashes=hashes,
    )


def export_encoder(encoder: FaceEncoder, path: Path, contract: Contract) -> None:
    """Write an encoder as one ONNX file, under a temporary name that is then renamed.

    Batch normalisation is folded into the convolutions, preprocessing is inside the graph, the batch is free.

    Args:
        encoder: in eval mode, on the CPU.
        path: the file to write.
        contract: goes into the file's metadata.

    Raises:
        ValueError: the encoder is in training mode, or the contract is not that of this encoder, served.
    """
    if any(module.training for module in encoder.modules()):
        raise ValueError("the encoder is in training mode: call eval() before its export")
    fitting = served_contract(encoder, contract.name, contract.version, contract.licence, contract.hashes)
    stated = ("precision", "input", "score", "outputs", "occlusion", "quality")
    wrong = [field for field in stated if getattr(contract, field) != getattr(fitting, field)]
    if wrong:
        raise ValueError(f"the contract misstates {wrong} of this encoder; make it with served_contract")
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
