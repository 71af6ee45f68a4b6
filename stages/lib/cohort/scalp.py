"""Hair too short or too thin for a surface of its own: painted on the scalp."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from stages.lib.cohort.basis import CROWN
from stages.lib.cohort.fields import gathered, rise
from stages.lib.cohort.hair_styles import AZIMUTHS, Growth
from stages.lib.cohort.scene import column
from stages.lib.cohort.skin import Grain
from stages.lib.cohort.surface import Surface


def _hairline(growths: Sequence[Growth], image: Tensor, azimuth: Tensor) -> Tensor:
    """(N,) degrees of elevation at which hair ends in the direction of each pixel."""
    table = column(growths, "hairline", azimuth.device)
    place = (azimuth / (2.0 * math.pi) + 0.5) * AZIMUTHS
    left = place.floor()
    share = place - left
    before = left.long() % AZIMUTHS
    return torch.lerp(table[image, before], table[image, (before + 1) % AZIMUTHS], share)


def scalp_opacity(surface: Surface, growths: Sequence[Growth], noise: Grain) -> Tensor:
    """(N,) 0..1: how much of the scalp hair covers; 0 on faces, ears and under scarves.

    Args:
        surface: N pixels of the material BODY.
        growths: B heads of hair.
        noise: skin noise of the pixels; it frays the hairline.
    """
    from_crown = surface.canonical - surface.canonical.new_tensor(CROWN)
    x, y, z = from_crown.unbind(1)
    azimuth = torch.atan2(x, z)
    elevation = torch.rad2deg(torch.atan2(y, torch.sqrt(x.square() + z.square() + 1e-12)))
    above = elevation - _hairline(growths, surface.image, azimuth)
    softness = gathered(growths, "softness", surface).clamp(min=0.5)
    fray = 0.35 * noise.fine[:, 0] + 0.30 * noise.pores[:, 1] + 0.2 * noise.medium[:, 0]
    grown = rise(-0.7, 0.7, above / softness + fray + 0.3)
    # A bare crown: everything but a wreath round the back and sides.
    wreath = rise(-0.2, 0.9, (elevation - 2.0 - 8.0 * (azimuth.abs() - 1.9)) / 18.0)
    grown = grown * (1.0 - gathered(growths, "crown_bare", surface) * wreath)
    covered = gathered(growths, "scalp", surface) * (1.0 - gathered(growths, "cloth", surface))
    return (grown * covered * rise(0.45, 0.25, surface.ear) * (surface.canonical[:, 1] > 6.25)).clamp(0.0, 1.0)
