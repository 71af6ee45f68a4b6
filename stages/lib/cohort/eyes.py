"""Eyeballs: iris, pupil and white, under the shadow of the lid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from stages.lib.classes import Label
from stages.lib.cohort.fields import gathered, over, rise
from stages.lib.cohort.identity import Identity
from stages.lib.cohort.surface import Paint, Surface

CENTRE: Final = (0.2875, 7.352)  # of the pupil of the neutral head, head space; x is mirrored
IRIS_RADIUS: Final = 0.061  # head space: irises are 12 mm wide in everyone
PUPIL_RADIUS: Final = 0.025
_WHITE: Final = (0.47, 0.43, 0.40)  # darker than paper: a wet ball lit through lashes
_VEIN: Final = (0.02, 0.22, 0.20)  # what veins take from red, green and blue at the corners


def _iris(colour: Tensor, distance: Tensor, angle: Tensor) -> Tensor:
    """(N, 3) fibres from the pupil, darker at the rim, a warm collarette round the pupil."""
    phase = colour.sum(1, keepdim=True) * 40.0  # so that people differ
    fibres = 0.85 + 0.22 * torch.sin(angle[:, None] * 23.0 + phase) * torch.sin(angle[:, None] * 9.0 + 1.0)
    across = (distance / IRIS_RADIUS).clamp(0.0, 1.0)[:, None]
    iris = colour * fibres * (0.75 + 0.45 * across)
    iris = iris * (1.0 - 0.65 * rise(0.78, 1.0, across))
    pupil = rise(PUPIL_RADIUS * 1.2, PUPIL_RADIUS * 0.85, distance)
    return over(iris, torch.full_like(iris, 0.006), pupil)


def paint_eyes(surface: Surface, identities: Sequence[Identity]) -> Paint:
    """Paint of pixels that are eyeball.

    Args:
        surface: N pixels of the material EYE.
        identities: B people.
    """
    x, y, _ = surface.canonical.unbind(1)
    across, up = x.abs() - CENTRE[0], y - CENTRE[1]
    distance = torch.sqrt(across**2 + up**2 + 1e-12)
    angle = torch.atan2(up, across + 1e-9)
    iris = _iris(gathered(identities, "eyes.iris", surface), distance, angle)
    corner = rise(IRIS_RADIUS, 0.16, distance)[:, None]
    white = surface.canonical.new_tensor(_WHITE) * gathered(identities, "eyes.sclera", surface)[:, None]
    white = white * (1.0 - corner * surface.canonical.new_tensor(_VEIN))
    albedo = over(iris, white, rise(0.92 * IRIS_RADIUS, 1.1 * IRIS_RADIUS, distance))
    lid_shadow = 1.0 - 0.55 * rise(-0.005, 0.055, up) - 0.12 * rise(-0.02, -0.06, up)
    side_shadow = 1.0 - 0.25 * rise(0.08, 0.16, across.abs())
    return Paint(
        albedo=albedo.clamp(0.0, 1.0),
        gloss=torch.full_like(x, 140.0),
        occlusion=(surface.occlusion.clamp(min=0.55) * lid_shadow * side_shadow).clamp(0.0, 1.0),
        highlight=0.022 * rise(0.05, -0.02, up) * (0.2 + 0.8 * rise(0.11, 0.05, distance)),
        label=torch.full_like(surface.material, Label.EYE, dtype=torch.uint8),
    )
