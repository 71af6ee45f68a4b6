"""The skin of head and neck, with everything that is painted on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from stages.lib.classes import Label
from stages.lib.cohort.facial_hair import beard_opacity, brow_cover, brow_opacity
from stages.lib.cohort.fields import gathered, over, rise
from stages.lib.cohort.hair_styles import Growth
from stages.lib.cohort.identity import Identity
from stages.lib.cohort.scalp import scalp_opacity
from stages.lib.cohort.skin import Grain, grain, made_up, oil, region, skin_albedo
from stages.lib.cohort.surface import Paint, Surface

GREY_HAIR: Final = (0.35, 0.335, 0.315)
_GUMS: Final = (0.20, 0.055, 0.05)
_SKIN_GLOSS: Final = 14.0
_LIP_GLOSS: Final = 26.0
_LIP_SHINE: Final = 0.03
_CLOTH_SHINE: Final = 0.0
_THREADS: Final = 2.0 * math.pi / 0.05  # head space: a coarse knit
_CAVITY: Final = 1.35  # the head model lacks the finest folds; deepening those it has makes up for them


def hair_colour(identities: Sequence[Identity], surface: Surface, strand: Tensor) -> Tensor:
    """(N, 3) linear RGB; grey hairs lie among the others, more where a strand noise (N,) around 0 is high."""
    share = gathered(identities, "hair.grey", surface)
    chosen = (share.clamp(0.0, 1.0) ** 1.4 * (1.0 + 0.4 * (1.0 - share) * strand)).clamp(0.0, 1.0)
    grey = strand.new_tensor(GREY_HAIR).expand(len(strand), 3)
    return over(gathered(identities, "hair.colour", surface), grey, chosen)


def cloth_cover(surface: Surface, identities: Sequence[Identity]) -> Tensor:
    """(N,) bool: below a collar that dips at the front."""
    x, y, z = surface.canonical.unbind(1)
    dip = 0.45 * torch.exp(-((x / 0.55) ** 2)) * rise(0.0, 0.5, z)
    return y < gathered(identities, "clothes.collar", surface) - dip


def _cloth_albedo(surface: Surface, identities: Sequence[Identity], noise: Grain) -> Tensor:
    """(N, 3) woven cloth with soft folds, darker where it meets the neck."""
    x, y, _ = surface.canonical.unbind(1)
    folds = 0.10 * noise.medium[:, 0] + 0.08 * noise.coarse[:, 2]
    threads = torch.sin(x * _THREADS) * torch.sin(y * _THREADS)
    weave = 0.05 * noise.pores[:, 0] + 0.03 * threads
    return gathered(identities, "clothes.colour", surface) * (1.0 + folds + weave).clamp(0.4, 1.6)[:, None]


def paint_body(surface: Surface, identities: Sequence[Identity], growths: Sequence[Growth]) -> Paint:
    """Paint of pixels that are skin, scalp or clothes, from the skin outwards.

    Args:
        surface: N pixels of the material BODY.
        identities: B people.
        growths: their B heads of hair.
    """
    noise = grain(surface, identities)
    cover = brow_cover(surface, identities)
    brow, beard = brow_opacity(surface, cover, noise), beard_opacity(surface, identities, noise)
    scalp, cloth = scalp_opacity(surface, growths, noise), cloth_cover(surface, identities)
    inside = surface.inner_mouth > 0.5
    albedo = made_up(skin_albedo(surface, identities, noise), surface, identities, noise)
    shade = (1.0 + 0.25 * noise.fine[:, :1] + 0.2 * noise.pores[:, :1]).clamp(0.4, 1.8)
    albedo = over(albedo, gathered(identities, "beard.colour", surface) * shade, beard)
    albedo = over(albedo, gathered(identities, "brows.colour", surface) * shade, brow)
    albedo = torch.where(inside[:, None], albedo.new_tensor(_GUMS), albedo)
    albedo = over(albedo, hair_colour(identities, surface, noise.pores[:, 0]) * shade, scalp)
    albedo = torch.where(cloth[:, None], _cloth_albedo(surface, identities, noise), albedo)
    label = region(surface).masked_fill(cover > 0.35, int(Label.BROW)).masked_fill(inside, int(Label.MOUTH))
    label = label.masked_fill(scalp > 0.45, int(Label.HAIR)).masked_fill(cloth, int(Label.CLOTH))
    lips = surface.lips * (1.0 - surface.inner_mouth)
    shine = oil(surface, identities, noise) * (1.0 - brow) * (1.0 - 0.8 * beard) * (1.0 - scalp)
    shine = torch.where(cloth, _CLOTH_SHINE, shine + (_LIP_SHINE - shine) * lips * 0.7)
    return Paint(
        albedo=albedo.clamp(0.0, 1.0),
        gloss=_SKIN_GLOSS + (_LIP_GLOSS - _SKIN_GLOSS) * lips,
        occlusion=surface.occlusion.clamp(1e-3, 1.0) ** _CAVITY,
        highlight=shine.clamp(0.0, 1.0),
        label=label.to(torch.uint8),
    )
