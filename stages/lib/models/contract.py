"""What a model takes and what its scores mean, as data that travels with the model."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from stages.lib.geometry.template import ARCFACE_TEMPLATE, SIZE

Faces = NDArray[np.uint8]
OcclusionMaps = NDArray[np.float32]
Point = tuple[float, float]
Technique = Literal[
    "cr_fiqa", "pair", "sdd_fiqa", "ser_fiq", "norm", "teacher_cr_fiqa", "teacher_pair", "teacher_sdd_fiqa"
]
OF_TEACHER: Final[frozenset[Technique]] = frozenset({"teacher_cr_fiqa", "teacher_pair", "teacher_sdd_fiqa"})
"""Scores of the teacher's embeddings, and not of the model's own."""
SAID: Final = ("norm", "quality", "occlusion")
"""What a model may say of a face beside its embedding, by the names of its outputs."""

_TEMPLATE: Final[tuple[Point, ...]] = tuple((float(x), float(y)) for x, y in ARCFACE_TEMPLATE)


class InputContract(BaseModel):
    """How an aligned RGB uint8 face becomes a model's input; the batch dimension is free.

    A channel value x in 0..255 enters as `(x * scale - mean) / std`.

    Attributes:
        size: side of the square face in pixels.
        colour: order of the channels that the model was trained on.
        layout: order of the input's dimensions.
        dtype: of the input tensor; `uint8` only where the mapping changes nothing.
        scale: multiplies the pixel value first.
        mean: subtracted after scaling.
        std: divides last.
        template: right eye, left eye, nose, right and left mouth corner of the person, x and y in pixels of
            the face: where alignment must have put them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Annotated[int, Field(ge=1)] = SIZE
    colour: Literal["rgb", "bgr"] = "rgb"
    layout: Literal["nchw", "nhwc"] = "nchw"
    dtype: Literal["float32", "uint8"] = "float32"
    scale: Annotated[float, Field(gt=0)] = 1.0
    mean: float = 0.0
    std: Annotated[float, Field(gt=0)] = 1.0
    template: tuple[Point, Point, Point, Point, Point] = Field(default=_TEMPLATE, validate_default=True)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Dimensions of one face in the model's input."""
        side = self.size
        return (3, side, side) if self.layout == "nchw" else (side, side, 3)

    def prepare(self, faces: Faces) -> NDArray[np.float32] | Faces:
        """Turn aligned faces into the model's input.

        Args:
            faces: (N, size, size, 3) RGB uint8.

        Returns:
            (N, 3, size, size) or (N, size, size, 3) of `dtype`, C-contiguous.

        Raises:
            ValueError: the faces have another shape or type.
        """
        check_faces(faces, self.size)
        ordered = faces if self.colour == "rgb" else faces[..., ::-1]
        if self.layout == "nchw":
            ordered = ordered.transpose(0, 3, 1, 2)
        if self.dtype == "uint8":
            return np.ascontiguousarray(ordered)
        values = ordered.astype(np.float32, order="C")
        return (values * np.float32(self.scale) - np.float32(self.mean)) / np.float32(self.std)


class ScoreContract(BaseModel):
    """What comes out, and how two outputs are compared.

    Attributes:
        dim: length of the embedding.
        unit_norm: whether the embedding has length 1 as it leaves the model.
        score: similarity of two faces; `cosine` lies in -1..1 and grows with likeness.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dim: Annotated[int, Field(ge=1)]
    unit_norm: bool = True
    score: Literal["cosine"] = "cosine"


class Threshold(BaseModel):
    """A decision threshold, and how much it rests on.

    Attributes:
        cosine: accept at or above it.
        impostor_pairs: pairs of different people that it was read from.
        people: that the pairs were made of; pairs that share a person are not independent.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cosine: float
    impostor_pairs: Annotated[int, Field(ge=1)]
    people: Annotated[int, Field(ge=2)]


class OcclusionContract(BaseModel):
    """What the output `occlusion` says: a map (N, rows, columns) of float32 in 0..1 beside each embedding.

    Cell (r, c) speaks of the pixels of the aligned face with y in `[r, r + 1) * size / rows` and x in
    `[c, c + 1) * size / columns`: 16 by 16 of them where a map of 7x7 tells of a face of 112.

    Attributes:
        rows: of the map, the first at the top of the face.
        columns: of the map, the first at the left of the picture.
        value: `covered_share`: the share of the cell that a worn mask or the like hides, as the model expects it;
            0 is bare, 1 is hidden, and the mean of the map is the share of the whole square.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: Annotated[int, Field(ge=1)]
    columns: Annotated[int, Field(ge=1)]
    value: Literal["covered_share"] = "covered_share"


class QualityContract(BaseModel):
    """What the output `quality` says: a number (N,) of float32 in 0..1 beside each embedding; high is good.

    Attributes:
        technique: whose score the model has learnt to give, stretched by mean and spread of the training faces; see
            `stages.lib.objectives.quality`. Those `OF_TEACHER` are of the teacher's embeddings and not of the model's
            own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    technique: Technique


class Contract(BaseModel):
    """All that a caller must know to use a model rightly; kept in the model file itself.

    Attributes:
        schema_version: of this record; 1 knew no quality, 2 no objectives.
        name: of the model.
        version: of the model, free text such as a short hash.
        precision: of the arithmetic of most layers; int8 rounds otherwise on another kind of processor.
        input: what it takes.
        score: what it gives.
        outputs: names of the graph's outputs, in order: the unit embedding, the norm that it had, and
            `occlusion` and `quality` where the model has those heads.
        occlusion: what that output says; empty without it.
        quality: what that output says; empty without it.
        thresholds: by false match rate (`"1e-3"`), on clean faces of validation people: they hold for faces
            like those. A rate that these people were too few to show is absent.
        objectives: what the weights were trained for, by the names of `stages.lib.objectives`; `alignment` among them
            is AI-KD.
        licence: of the weights.
        hashes: SHA-256 or content id of what the model was made from, by name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1, 2, 3] = 3
    name: str
    version: str
    precision: Literal["fp32", "int8"] = "fp32"
    input: InputContract
    score: ScoreContract
    outputs: tuple[str, ...] = ("embedding", "norm")
    occlusion: OcclusionContract | None = None
    quality: QualityContract | None = None
    thresholds: dict[str, Threshold] = Field(default_factory=dict)
    objectives: tuple[str, ...] = ()
    licence: str
    hashes: dict[str, str] = Field(default_factory=dict)

    @property
    def own_quality(self) -> Literal["quality", "norm"]:
        """Output that says how far the embedding of a face is to be trusted: the norm, where no other is of its own."""
        return "norm" if self.quality is None or self.quality.technique in OF_TEACHER else "quality"

    @property
    def output_shapes(self) -> dict[str, tuple[int, ...]]:
        """Dimensions of each output for one face, by name, in order."""
        shapes: dict[str, tuple[int, ...]] = {"embedding": (self.score.dim,), "norm": ()}
        if self.occlusion is not None:
            shapes["occlusion"] = (self.occlusion.rows, self.occlusion.columns)
        if self.quality is not None:
            shapes["quality"] = ()
        return shapes

    @model_validator(mode="after")
    def _outputs_are_explained(self) -> Contract:
        if self.outputs != tuple(self.output_shapes):
            raise ValueError(f"outputs are {self.outputs}, the contract explains {tuple(self.output_shapes)}")
        return self


RAW_RGB: Final = InputContract()
"""RGB, 0..255."""
RAW_BGR: Final = InputContract(colour="bgr")
"""BGR, 0..255."""
UNIT_RGB: Final = InputContract(scale=1 / 255)
"""RGB, 0..1."""
SYMMETRIC_RGB: Final = InputContract(scale=1 / 255, mean=0.5, std=0.5)
"""RGB, -1..1: `(x / 255 - 0.5) / 0.5`, the habit of ArcFace and its successors."""
LIGHTQNET: Final = InputContract(
    size=96,
    layout="nhwc",
    mean=128.0,
    std=128.0,
    template=cast(Any, tuple((x * 96 / 112, y * 96 / 112) for x, y in _TEMPLATE)),
)
"""RGB, `(x - 128) / 128`, the aligned face shrunk to 96x96: what the quality network LightQNet takes."""

PRESETS: Final[dict[str, InputContract]] = {
    "raw_rgb": RAW_RGB,
    "raw_bgr": RAW_BGR,
    "unit_rgb": UNIT_RGB,
    "symmetric_rgb": SYMMETRIC_RGB,
    "lightqnet": LIGHTQNET,
}
"""Input contracts that a setting may name."""

ENCODER_INPUT: Final = UNIT_RGB
"""What our torch encoders take; they normalise inside `forward`."""
SERVED_INPUT: Final = InputContract(layout="nhwc", dtype="uint8")
"""What our exported files take: the pixels as cameras, cv2 and PIL give them, in RGB."""


def check_faces(faces: Faces, size: int) -> None:
    """Refuse anything but (N, size, size, 3) uint8.

    Raises:
        ValueError: another shape or type.
    """
    if faces.dtype != np.uint8 or faces.ndim != 4 or faces.shape[1:] != (size, size, 3):
        raise ValueError(
            f"faces are {faces.dtype} {faces.shape}, expected uint8 (N, {size}, {size}, 3) in RGB; align them first"
        )
