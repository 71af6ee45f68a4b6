"""Contact sheets of computed people: a row each, and the labels that come with their pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from stages.lib.codec import Pixels, decode, decode_classes
from stages.lib.report.style import Theme
from stages.lib.table import TEST, Table

PEOPLE: Final = 8
SHOTS: Final = 8
CLASSES: Final = {
    "background": "#1b1b1f",
    "skin": "#e8bfa0",
    "brow": "#6e461e",
    "eye": "#3c8cff",
    "nose": "#f0966e",
    "lip": "#dc3c50",
    "mouth": "#78001e",
    "hair": "#5a3c78",
    "ear": "#fad278",
    "neck": "#c8a08c",
    "cloth": "#50a078",
    "mask": "#5ac8e6",
    "glasses": "#fafa5a",
    "occluder": "#8c8c96",
}
"""Class of the segmentation -> its colour, in the order of their numbers."""


@dataclass(frozen=True)
class Labelled:
    """An aligned face with all its labels.

    Attributes:
        pixels: (112, 112, 3) RGB.
        classes: (112, 112) class of each pixel.
        points: (68, 2) landmarks, pixels.
        visible: (68,) whether each can be seen.
    """

    pixels: Pixels
    classes: Pixels
    points: NDArray[np.float32]
    visible: NDArray[np.bool_]


def read_people(aligned: Table, source: str = "cohort") -> list[list[Labelled]]:
    """The first shots of the first test people of a source whose faces come with every label; may be empty."""
    where = TEST & (ds.field("source") == source) & ds.field("segmentation").is_valid()
    rows = aligned.read(["subject_id", "name"], where)
    subjects = sorted(set(rows["subject_id"].to_pylist()))[:PEOPLE]
    if not subjects:
        return []
    columns = ["subject_id", "name", "image", "segmentation", "landmarks68", "visible68"]
    chosen = aligned.read(columns, where & ds.field("subject_id").isin(subjects)).sort_by("name")
    return [
        [_labelled(row) for row in chosen.filter(pa.compute.equal(chosen["subject_id"], s)).slice(0, SHOTS).to_pylist()]
        for s in subjects
    ]


def contact_sheet(people: Sequence[Sequence[Labelled]], theme: Theme) -> Figure:
    """A row for each person, their shots side by side."""
    return _plain([[face.pixels for face in shots] for shots in people], theme)


def label_sheet(people: Sequence[Sequence[Labelled]], theme: Theme) -> Figure:
    """The same pictures under the colours of their segmentation; landmarks bright where seen, dark where hidden."""
    palette = np.array([to_rgb(colour) for colour in CLASSES.values()])
    tinted = [[_tint(face, palette) for face in shots] for shots in people]
    figure = _plain(tinted, theme)
    axes = figure.axes[0]
    size = people[0][0].pixels.shape[0]
    corner = np.array([[(column * size, row * size) for column in range(SHOTS)] for row in range(len(people))])
    for row, shots in enumerate(people):
        for column, face in enumerate(shots):
            x, y = (face.points + corner[row, column]).T
            inside = ((face.points >= 0) & (face.points < size)).all(axis=1)
            axes.scatter(x[inside], y[inside], s=1.2, linewidths=0, c=np.where(face.visible[inside], "#8cff32", "#000"))
    return figure


def _plain(rows: Sequence[Sequence[Pixels]], theme: Theme) -> Figure:
    size = rows[0][0].shape[0]
    sheet = np.zeros((len(rows) * size, max(map(len, rows)) * size, 3), np.uint8)
    for row, pictures in enumerate(rows):
        for column, pixels in enumerate(pictures):
            sheet[row * size : (row + 1) * size, column * size : (column + 1) * size] = pixels
    figure = Figure(figsize=(sheet.shape[1] / 120, sheet.shape[0] / 120), facecolor=theme.ground)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(sheet, interpolation="nearest")
    axes.set_axis_off()
    return figure


def _tint(face: Labelled, palette: NDArray[np.float64]) -> Pixels:
    colour = palette[face.classes.clip(0, len(palette) - 1)]
    mixed: Pixels = (255 * (0.35 * face.pixels / 255 + 0.65 * colour)).astype(np.uint8)
    return mixed


def _labelled(row: dict[str, object]) -> Labelled:
    return Labelled(
        decode(row["image"]),  # type: ignore[arg-type]
        decode_classes(row["segmentation"]),  # type: ignore[arg-type]
        np.asarray(row["landmarks68"], np.float32).reshape(68, 2),
        np.asarray(row["visible68"], bool),
    )
