"""What a pixel of a segmentation can be."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Label(IntEnum):
    """Classes, as they stand in the PNG of the column `segmentation`; left and right are not told apart."""

    BACKGROUND = 0
    SKIN = 1
    BROW = 2
    EYE = 3
    NOSE = 4
    LIP = 5
    MOUTH = 6
    HAIR = 7
    EAR = 8
    NECK = 9
    CLOTH = 10
    MASK = 11
    GLASSES = 12
    OCCLUDER = 13  # a hand, or whatever else is held before the face


UNKNOWN: Final = 255
"""A pixel of which nobody says what it is."""

COVERS: Final = (Label.MASK, Label.OCCLUDER)
"""Classes of things that hide what lies behind them."""
