"""Classification consistency: a degraded face should fall into the class that its clean face has at the teacher.

Idea: CCFace, classification consistency for low-resolution face recognition, IEEE IJCB 2023, arXiv 2308.09230. Its
equations are open, so every equation here is this project's reconstruction. x is the clean face, xl the degraded one,
f_t the teacher and f_s the student. Only f_s(xl) gets gradient. Cosines are float32 and outside autocast, as in
`margin`.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.lib.errors import ConfigError
from stages.lib.losses.margin import COSINE_LIMIT, angular, check_labels, margin_loss
from stages.lib.losses.running import RunningScore

FORMS = ("A", "B", "C", "fixed")


def class_weights(templates: Tensor, labels: Tensor, classes: int) -> Tensor:
    """The teacher's frozen class weights W: the unit mean of each class's templates.

    Our teachers are adopted ONNX files, which come without a classifier, so there are no trained weights to transfer.

    Args:
        templates: (N, D) unit templates of the clean training faces.
        labels: (N,) int64 in [0, classes).
        classes: number C of training subjects.

    Returns:
        (C, D) float32, unit rows.

    Raises:
        ConfigError: the shapes disagree, a label lies outside, or a class has no mean direction.
    """
    if templates.ndim != 2 or labels.shape != templates.shape[:1]:
        shapes = f"templates {tuple(templates.shape)} and labels {tuple(labels.shape)}"
        raise ConfigError(f"{shapes} must be (N, D) and (N,): give one label a template")
    check_labels(labels, classes)
    sums = class_sums(templates, labels, classes)
    lost = (~(sums.norm(dim=1) > 1e-6)).nonzero().flatten().tolist()  # so written, NaN is lost too
    if lost:
        raise ConfigError(
            f"{len(lost)} of {classes} classes have no mean template, the first is class {lost[0]}: number the "
            "training subjects from 0 without gaps, and run `teach` again if templates are missing or not finite"
        )
    return F.normalize(sums)


def class_sums(templates: Tensor, labels: Tensor, classes: int) -> Tensor:
    """(C, D) float32 sums of (N, D) templates by their (N,) labels in [0, C)."""
    sums = torch.zeros(classes, templates.shape[1], device=templates.device)
    return sums.index_add_(0, labels.long(), templates.detach().float())


def other_rows(faces: int, batch: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw the rows of the cached templates that serve as queue Q of `relation_loss`: none is of the batch.

    This replaces a FIFO queue. A queue is there to keep features that would cost a forward pass, and ours are all
    cached. It would also need a warm-up, a place in the checkpoint, and care where an epoch's last faces open the next
    one; a draw follows from the step's seed alone. Rows are returned, not features, so the templates may stay
    memory-mapped. Draws are with replacement: their cost does not grow with the number of faces, and a face drawn
    twice only counts double. Other faces of the batch's people may be drawn.

    Args:
        faces: number N of cached templates.
        batch: (B,) int64 rows of the batch's faces in [0, N), in any order, repeats allowed.
        count: number M of rows to draw; 4,096 to 65,536 in our notes.
        generator: seeded by the step.

    Returns:
        (M,) int64 on the generator's device, uniform over the rows outside the batch.

    Raises:
        ConfigError: a row lies outside [0, N), or the batch holds every face.
    """
    taken = batch.to(generator.device).unique()  # sorted
    if taken.is_floating_point() or (len(taken) and (taken[0] < 0 or taken[-1] >= faces)):
        raise ConfigError(f"the batch's rows must be whole numbers in [0, {faces - 1}]: pass its rows of the templates")
    left = faces - len(taken)
    if left < 1:
        raise ConfigError(f"the batch holds all {faces} faces, so no other is left: lower `batch` or add faces")
    drawn = torch.randint(left, (count,), generator=generator, device=generator.device)
    # the k-th row outside the batch is k plus the number of the batch's rows before it
    below = taken - torch.arange(len(taken), device=taken.device)
    return drawn + torch.searchsorted(below, drawn, right=True)


def soft_loss(
    student: Tensor, teacher: Tensor, weights: Tensor, temperature: float = 4.0, scale: float = 64.0
) -> Tensor:
    """L_soft: T^2 KL(softmax(k W f_t(x) / T) || softmax(k W f_s(xl) / T)), the mean over faces.

    Args:
        student: (N, D) raw embeddings of the degraded faces.
        teacher: (N, D) unit templates of the same faces, clean; no gradient reaches them.
        weights: (C, D) the class weights W, unit rows; no gradient reaches them.
        temperature: T > 0.
        scale: k > 0, the factor of all logits.

    Returns:
        Scalar >= 0 up to rounding, float32; 0 for identical directions.

    Raises:
        ConfigError: the shapes disagree.

    Source: the project's reconstruction of CCFace; the T^2 is that of Hinton et al., arXiv 1503.02531.
    """
    _check_pair(student, teacher)
    _check_rows(student, weights, "class weights")
    with torch.autocast(student.device.type, enabled=False):
        sharpness = scale / temperature
        target = F.log_softmax(sharpness * _cosines(teacher, weights).detach(), dim=1)
        found = F.log_softmax(sharpness * _cosines(student, weights.detach()), dim=1)
        return temperature**2 * F.kl_div(found, target, reduction="batchmean", log_target=True)


def relation_loss(student: Tensor, teacher: Tensor, queue: Tensor, sharp: float = 0.04, soft: float = 0.1) -> Tensor:
    """L_x: CE(softmax(f_t(x) Q / 0.04), softmax(f_s(xl) Q / 0.1)), the mean over faces.

    The degraded face keeps the clean one's similarities to other people, so degraded faces do not cluster together.
    The sharper target and the one-sided gradient are the asymmetry.

    Args:
        student: (N, D) raw embeddings of the degraded faces.
        teacher: (N, D) unit templates of the same faces, clean; no gradient reaches them.
        queue: (M, D) unit templates Q of other faces, see `other_rows`; no gradient reaches them. A batch's own face
            in it would match itself, and the target would be little else.
        sharp: temperature > 0 of the teacher's side.
        soft: temperature > 0 of the student's side.

    Returns:
        Scalar, float32, at least the entropy of the target (a constant, so the loss does not fall to 0).

    Raises:
        ConfigError: the shapes disagree.

    Source: the project's reconstruction of CCFace.
    """
    _check_pair(student, teacher)
    _check_rows(student, queue, "queue")
    with torch.autocast(student.device.type, enabled=False):
        target = F.softmax(_cosines(teacher, queue).detach() / sharp, dim=1)
        return F.cross_entropy(_cosines(student, queue.detach()) / soft, target)


def norm_penalty(cosine: Tensor, shift: Tensor, margin: Tensor) -> Tensor:
    """AdaFace: cos(theta - shift) - (margin + shift), for shift = margin * z; the angle is held within [0, pi].

    A clear face (z = 1) pays 2 m on the cosine and less on the angle, an unclear one (z = -1) pays m on the angle.
    """
    return torch.cos((torch.acos(cosine) - shift).clamp(0.0, math.pi)) - (margin + shift)


class ConsistencyHead(nn.Module):
    """L_cc: the degraded face classified against the teacher's class weights, with a margin for each sample.

    The angular margin m_i of the true class, clamped cosines in [0, 1]; m0 grows linearly over the first steps:
        A      m0 * clamp(f_s(xl) . f_t(x)): a face that the student has lost pays little; `teacher` is f_t(x)
        B      m0 * clamp(f_t(xl) . W_y): so does one that the teacher cannot read; `teacher` is f_t(xl)
        C      AdaFace's penalty, see `RunningScore` and `norm_penalty`, from the student's raw norm
        fixed  m0: the control; m0 = 0 is the other one, and equal for all forms
    A margin is a weight, so no gradient passes through it. In form A that gradient would pull the student away from
    the teacher, because a smaller similarity buys a smaller margin.

    Args:
        weights: (C, D) unit rows W of `class_weights`; a buffer, rebuilt from templates and so not in checkpoints.
        form: one of `FORMS`.
        scale: s, the factor of all logits.
        margin: m0 in radians (C: also cosine units; AdaFace uses 0.4).
        warmup: steps of training after which m0 is reached; the count is in the checkpoint.
        trainable: let W learn on instead, as a control; it is then a parameter.

    Source: the project's reconstruction of CCFace; form C from AdaFace, arXiv 2204.00964.
    """

    weights: Tensor
    steps: Tensor

    def __init__(
        self,
        weights: Tensor,
        form: str = "A",
        scale: float = 64.0,
        margin: float = 0.5,
        warmup: int = 0,
        trainable: bool = False,
    ) -> None:
        super().__init__()
        if form not in FORMS:
            raise ConfigError(f"form {form!r} of the consistency loss is unknown: choose one of {', '.join(FORMS)}")
        self.form, self.scale, self.margin, self.warmup = form, scale, margin, warmup
        self.norm_score = RunningScore() if form == "C" else None
        held = weights.detach().float().clone()
        if trainable:
            self.weights = nn.Parameter(held)
        else:
            self.register_buffer("weights", held, persistent=False)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @property
    def rows(self) -> Tensor:
        """(C, D) W, unit rows; frozen ones are so as they come, and to divide thousands of them takes time."""
        return F.normalize(self.weights) if self.weights.requires_grad else self.weights

    def ramp(self) -> Tensor:
        """Scalar in (0, 1]: the share of m0 at this step, 1 / warmup at the first; read without waiting for a GPU."""
        return ((self.steps + 1) / max(1, self.warmup)).clamp(max=1.0)

    @torch.no_grad()
    def margins(self, raw: Tensor, labels: Tensor, teacher: Tensor | None) -> Tensor:
        """(N,) margins m_i of this step in [0, m0].

        In form C the signed shift in [-m0, m0]; in training, this call also moves the running mean and std.
        """
        if self.norm_score is not None:
            share = self.norm_score(raw.float().norm(dim=1))
        elif self.form == "fixed":
            share = torch.ones(len(raw), device=raw.device)
        else:
            share = _similarity(self.form, raw, self.weights[labels], teacher)
        return self.margin * self.ramp() * share

    def forward(self, raw: Tensor, labels: Tensor, teacher: Tensor | None = None) -> Tensor:
        """Mean loss, a float32 scalar.

        Args:
            raw: (N, D) raw embeddings of the degraded faces.
            labels: (N,) int64 in [0, C).
            teacher: (N, D) unit templates, of which faces depends on the form; forms C and fixed ignore it.

        Raises:
            ConfigError: the shapes disagree, a label lies outside, or the form lacks its templates.
        """
        _check_rows(raw, self.weights, "class weights")
        if labels.shape != raw.shape[:1]:
            raise ConfigError(f"{len(raw)} faces have labels {tuple(labels.shape)}: give one label a face")
        check_labels(labels, len(self.weights))
        labels = labels.long()
        with torch.autocast(raw.device.type, enabled=False):
            margins = self.margins(raw, labels, teacher)
            penalty = angular if self.form != "C" else partial(norm_penalty, margin=self.margin * self.ramp())
            loss = margin_loss(_cosines(raw, self.rows), labels, margins, penalty, self.scale)
        if self.training:
            self.steps.add_(1)
        return loss


def _cosines(features: Tensor, rows: Tensor) -> Tensor:
    """(N, M) float32 cosines of (N, D) and unit (M, D), strictly inside (-1, 1); call it outside autocast."""
    cosine = F.linear(F.normalize(features.float()), rows.float())
    return cosine.clamp(-COSINE_LIMIT, COSINE_LIMIT)


def _similarity(form: str, raw: Tensor, centres: Tensor, teacher: Tensor | None) -> Tensor:
    """(N,) cosines in [0, 1] of the teacher's templates with the student (form A) or the true class's weights (B)."""
    if teacher is None:
        face = "clean" if form == "A" else "degraded"
        raise ConfigError(f"form {form} needs `teacher`: pass the teacher's templates of the {face} faces")
    _check_pair(raw, teacher)
    other = raw if form == "A" else centres
    return F.cosine_similarity(other.float(), teacher.float()).clamp(0.0, 1.0)


def _check_pair(student: Tensor, teacher: Tensor) -> None:
    if student.shape != teacher.shape or student.ndim != 2:
        shapes = f"student {tuple(student.shape)} and teacher {tuple(teacher.shape)}"
        raise ConfigError(
            f"{shapes} must be the same (N, D): pass the templates of the batch's own faces, and set the student's "
            "`embedding` to their length"
        )


def _check_rows(student: Tensor, rows: Tensor, what: str) -> None:
    if student.ndim != 2 or rows.ndim != 2 or not len(rows) or student.shape[1] != rows.shape[1]:
        shapes = f"student {tuple(student.shape)} and {what} {tuple(rows.shape)}"
        raise ConfigError(f"{shapes} must be (N, D) and (M, D), M > 0: set the student's `embedding` to the teacher's")
