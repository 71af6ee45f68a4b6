"""Pictures that show faces, of sources whose people agreed to be shown or do not exist."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pyarrow.dataset as ds
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stages.lib.codec import Pixels, decode
from stages.lib.report.conditions import Grid
from stages.lib.report.style import Theme
from stages.lib.report.words import operator_label
from stages.lib.table import SHOWABLE, Table

GRADED_ACROSS = 10  # faces in a row of the picture of qualities


@dataclass(frozen=True)
class WrongPair:
    """A pair that a model gets most wrong, with its score."""

    left: str
    right: str
    score: float
    genuine: bool


def read_faces(table: Table, face_ids: Collection[str]) -> dict[str, Pixels]:
    """Read faces by id, and only those that may be shown.

    Returns:
        face id -> (112, 112, 3) RGB uint8; ids of other sources are not in it.
    """
    if not face_ids:
        return {}
    where = ds.field("face_id").isin(sorted(face_ids)) & ds.field("source").isin(sorted(SHOWABLE))
    return {
        face: decode(image)
        for batch in table.scan(["face_id", "image"], where)
        for face, image in zip(batch["face_id"].to_pylist(), batch["image"].to_pylist(), strict=True)
    }


def degradation_ids(grid: Grid, clean: str) -> dict[tuple[str, int], str]:
    """(operator, severity) -> id of a clean face's degraded form in each cell."""
    return {(c.operator, c.severity): f"{clean}-{c.operator}-{c.severity}" for c in grid.degraded}


def degradation_picture(faces: Sequence[tuple[Pixels, dict[tuple[str, int], Pixels]]], theme: Theme) -> Figure:
    """A row for each operator, a column for each severity, one block a face.

    Args:
        faces: the clean face, and (operator, severity) -> the same face degraded.
        theme: colours.
    """
    cells = sorted({cell for _, degraded in faces for cell in degraded})
    operators = list(dict.fromkeys(operator for operator, _ in cells))
    severities = sorted({severity for _, severity in cells})
    across = len(severities) + 1
    figure = Figure(figsize=(0.92 * across * len(faces) + 1.1, 0.92 * len(operators) + 0.4))
    grid = figure.add_gridspec(len(operators), across * len(faces))
    for block, (clean, degraded) in enumerate(faces):
        for row, operator in enumerate(operators):
            for column, severity in enumerate([0, *severities]):
                pixels = degraded.get((operator, severity)) if severity else clean
                axes = figure.add_subplot(grid[row, block * across + column])
                _show(axes, pixels, theme)
                if row == 0:
                    axes.set_title(f"severity {severity}" if severity else "clean", fontsize=7.5, loc="center")
                if block == 0 and column == 0:
                    axes.set_ylabel(operator_label(operator), rotation=0, ha="right", va="center", fontsize=8)
    return figure


def error_picture(pairs: Sequence[WrongPair], pixels: dict[str, Pixels], threshold: float, theme: Theme) -> Figure:
    """Two rows of pairs: one person taken for two, and two people taken for one.

    Args:
        pairs: worst first; those whose faces may not be shown are left out.
        pixels: face id -> face.
        threshold: pairs at or above it match.
        theme: colours.
    """
    rows = [
        (words, [p for p in pairs if p.genuine is genuine and {p.left, p.right} <= set(pixels)])
        for genuine, words in ((True, "same person"), (False, "two people"))
    ]
    most = max(len(shown) for _, shown in rows)
    figure = Figure(figsize=(2.1 * most + 0.9, 3.1))
    grid = figure.add_gridspec(2, 3 * most - 1, width_ratios=([1, 1, 0.12] * most)[:-1])
    for row, (words, shown) in enumerate(rows):
        for place, pair in enumerate(shown):
            left, right = (figure.add_subplot(grid[row, 3 * place + side]) for side in (0, 1))
            _show(left, pixels[pair.left], theme)
            _show(right, pixels[pair.right], theme)
            decided = "match" if pair.score >= threshold else "no match"
            left.set_title(f"{pair.score:.2f}: {decided}", fontsize=8, fontweight="normal")
            if place == 0:
                left.set_ylabel(words, rotation=0, ha="right", va="center", fontsize=8)
    return figure


@dataclass(frozen=True)
class Graded:
    """Faces that a model ranks by quality, evenly from its worst to its best.

    Attributes:
        model: its name.
        faces: (face id, quality), rising.
    """

    model: str
    faces: tuple[tuple[str, float], ...]


def graded_picture(graded: Graded, pixels: dict[str, Pixels], theme: Theme) -> Figure:
    """Faces in rows, from the lowest quality at the top left to the highest."""
    rows = -(-len(graded.faces) // GRADED_ACROSS)
    figure = Figure(figsize=(0.92 * GRADED_ACROSS, 1.15 * rows))
    for place, (face, quality) in enumerate(graded.faces):
        axes = figure.add_subplot(rows, GRADED_ACROSS, place + 1)
        _show(axes, pixels[face], theme)
        axes.set_title(f"{quality:.2f}", fontsize=8, fontweight="normal", loc="center")
    return figure


def _show(axes: Axes, pixels: Pixels | None, theme: Theme) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if pixels is None:
        axes.set_facecolor(theme.ground)
        axes.text(0.5, 0.5, "·", color=theme.soft, ha="center", va="center", transform=axes.transAxes)
        axes.set_aspect("equal")
        return
    axes.imshow(pixels, interpolation="nearest")
