"""How charts look: two themes, and colours that colour-blind readers can tell apart."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import matplotlib as mpl
from matplotlib.figure import Figure

# Okabe and Ito, "Color universal design", 2008; without black and yellow, which vanish on a ground
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
Dash = Literal["-", "--", "-.", ":"]
DASHES: Final[tuple[Dash, ...]] = ("-", "--", "-.", ":")


@dataclass(frozen=True)
class Theme:
    """Colours of a chart: the card that it lies on, text, lesser text, faint lines, and one for each model."""

    name: str
    ground: str
    ink: str
    soft: str
    line: str
    palette: tuple[str, ...]


LIGHT: Final = Theme("light", "#ffffff", "#1c1f23", "#636b74", "#e3e5e8", (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY))
DARK: Final = Theme("dark", "#1b1f23", "#e6e8ea", "#98a1ab", "#2d3339", (SKY, VERMILION, GREEN, PURPLE, ORANGE, BLUE))

Draw = Callable[[Theme], Figure]


@dataclass(frozen=True)
class Stroke:
    """How a model is drawn in every chart."""

    colour: str
    dash: Dash
    marker: str


def strokes(names: Sequence[str], neutral: Sequence[str], theme: Theme) -> Mapping[str, Stroke]:
    """One stroke a model: grey dashes for the neutral ones (teachers), a colour of its own for each other."""
    markers = ("o", "s", "^", "D", "v", "P")
    colours = theme.palette
    coloured = [n for n in names if n not in neutral]
    own = {
        name: Stroke(colours[i % len(colours)], DASHES[i // len(colours) % len(DASHES)], markers[i % len(markers)])
        for i, name in enumerate(coloured)
    }
    return {name: own.get(name, Stroke(theme.soft, "--", "x")) for name in names}


def png(draw: Draw, theme: Theme, dpi: int) -> bytes:
    """Draw a figure in a theme and encode it."""
    settings: dict[Any, Any] = {
        "figure.facecolor": theme.ground,
        "savefig.facecolor": theme.ground,
        "axes.facecolor": theme.ground,
        "axes.edgecolor": theme.line,
        "axes.labelcolor": theme.ink,
        "axes.titlecolor": theme.ink,
        "axes.titlesize": 9.5,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.labelsize": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": theme.line,
        "grid.linewidth": 0.6,
        "text.color": theme.ink,
        "xtick.color": theme.soft,
        "ytick.color": theme.soft,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "legend.frameon": False,
        "legend.fontsize": 8.5,
        "font.family": "DejaVu Sans",
        "figure.constrained_layout.use": True,
    }
    with mpl.rc_context(settings):
        data = io.BytesIO()
        draw(theme).savefig(data, format="png", dpi=dpi, metadata={"Software": None})
        return data.getvalue()
