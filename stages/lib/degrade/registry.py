"""The operators, in the order in which they befall a face: scene, light, optics, sensor, codec, aligner."""

from __future__ import annotations

from typing import Final

from stages.lib.degrade import (
    blur,
    box_only,
    exposure,
    jpeg,
    low_resolution,
    mask,
    misalignment,
    noise,
    occlusion,
    wrong_landmarker,
)
from stages.lib.degrade.operator import Operator

OPERATORS: Final[dict[str, Operator]] = {
    operator.name: operator
    for operator in (
        mask.OPERATOR,
        occlusion.OPERATOR,
        exposure.OPERATOR,
        blur.BLUR,
        blur.MOTION_BLUR,
        low_resolution.OPERATOR,
        noise.OPERATOR,
        jpeg.OPERATOR,
        misalignment.OPERATOR,
        wrong_landmarker.OPERATOR,
        box_only.OPERATOR,
    )
}
