"""Readers of face sources behind one protocol: `open_source(kind, path)`, then `read` by position."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stages.lib.errors import ConfigError
from stages.lib.geometry.template import ARCFACE_TEMPLATE
from stages.lib.sources.base import Pair, Record, Source, Unreadable
from stages.lib.sources.bin import open_bin
from stages.lib.sources.fasseg import open_fasseg
from stages.lib.sources.folder import open_folder
from stages.lib.sources.lfw import (
    LFW_CROP_LANDMARKS,
    LFW_CROP_SIZE,
    LFW_FULL_LANDMARKS,
    LFW_FULL_SIZE,
    open_lfw,
)
from stages.lib.sources.orl import ORL_CROP_LANDMARKS, ORL_CROP_SIZE, open_orl
from stages.lib.sources.rec import open_rec

__all__ = ["KINDS", "Pair", "Record", "Source", "Unreadable", "crop_landmarks", "open_source"]

KINDS: Final[dict[str, Callable[[Path | None, str | None], Source]]] = {
    "orl": open_orl,
    "folder": open_folder,
    "lfw": open_lfw,
    "fasseg": open_fasseg,
    "rec": open_rec,
    "bin": open_bin,
}

Size = tuple[int, int]

# Crop conventions whose faces sit at one place; those of InsightFace are already aligned to the template.
_ALIGNED: Final = {(112, 112): np.asarray(ARCFACE_TEMPLATE, np.float32)}
_CROPS: Final[dict[str, dict[Size, NDArray[np.float32]]]] = {
    "orl": {ORL_CROP_SIZE: ORL_CROP_LANDMARKS},
    "lfw": {LFW_CROP_SIZE: LFW_CROP_LANDMARKS, LFW_FULL_SIZE: LFW_FULL_LANDMARKS},
    "rec": _ALIGNED,
    "bin": _ALIGNED,
}


def open_source(kind: str, path: Path | None, licence: str | None = None) -> Source:
    """Open a source of faces.

    Args:
        kind: a key of `KINDS`.
        path: a file or folder, as the kind needs it; None is possible for `orl` only.
        licence: recorded with each face in place of what the reader knows.

    Raises:
        ConfigError: an unknown kind, a missing path or a wrong layout.
    """
    if kind not in KINDS:
        raise ConfigError(f"unknown kind of source {kind!r}; choose one of {', '.join(KINDS)}")
    return KINDS[kind](path, licence)


def crop_landmarks(kind: str, size: Size | None = None) -> tuple[Size, NDArray[np.float32]] | None:
    """Where the five points usually lie in the crops of a kind of source: a stand-in for a detector.

    Args:
        kind: `Record`s' source; a kind without a fixed crop has no such points.
        size: (width, height) of the image at hand. A convention of exactly this size is preferred (LFW has
            two, its 250-pixel images and their 170-pixel crops); None or another size gives the usual one.

    Returns:
        (width, height) of the convention and its (5, 2) float32 points, x and y in pixels, to be scaled to
        the image at hand; None where there is none.
    """
    crops = _CROPS.get(kind)
    if crops is None:
        return None
    chosen = size if size in crops else next(iter(crops))
    return chosen, crops[chosen].copy()
