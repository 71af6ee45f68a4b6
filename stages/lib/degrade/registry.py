"""The operators, in the order in which they befall a face: scene, light, optics, sensor, codec, aligner."""

from __future__ import annotations

from typing import Final

from stages.lib.degrade import blur, exposure, jpeg, low_resolution, mask, misalignment, noise
from stages.lib.degrade.operator import Operator

OPERATORS: Final[dict[str, Operator]] = {
    operator.name: operator
    for operator in (
        mask.OPERATOR,
        exposure.OPERATOR,
        blur.BLUR,
        blur.MOTION_BLUR,
        low_resolution.OPERATOR,
        noise.OPERATOR,
        jpeg.OPERATOR,
        misalignment.OPERATOR,
    )
}
