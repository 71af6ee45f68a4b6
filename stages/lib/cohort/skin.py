"""Skin: a tone under which melanin and blood vary, with lips, make-up and lines on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from stages.lib.classes import Label
from stages.lib.cohort.fields import band, gathered, over, rise, spot
from stages.lib.cohort.identity import Identity
from stages.lib.cohort.noise import value_noise
from stages.lib.cohort.surface import Surface

# Absorbance of red, green and blue by a unit of pigment: melanin takes more the bluer the light; blood takes green
# most and leaves red (shape of the spectra as in Krishnaswamy and Baranoski, "A biophysically-based spectral model
# of light interaction with human skin", 2004).
_MELANIN: Final = (0.55, 0.80, 1.00)
_BLOOD: Final = (0.05, 0.60, 0.60)
_FREQUENCIES: Final = (0.055, 0.21, 0.8, 1.9)  # bumps 5.7, 1.5, 0.4 and 0.16 cm wide
_MOLE_TOP: Final = 8.6  # head space: moles not in use lie above


@dataclass(frozen=True)
class Grain:
    """Noise on a person's skin, from blotches to pores; each (N, `noise.CHANNELS`)."""

    coarse: Tensor
    medium: Tensor
    fine: Tensor
    pores: Tensor


def grain(surface: Surface, identities: Sequence[Identity]) -> Grain:
    """The skin noise of each pixel's person; it sticks to the skin."""
    offset = gathered(identities, "skin.offset", surface)
    coarse, medium, fine, pores = (
        value_noise(surface.canonical + offset.roll(turn, 1) / frequency, frequency)
        for turn, frequency in enumerate(_FREQUENCIES)
    )
    return Grain(coarse, medium, fine, pores)


def _melanin(surface: Surface, identities: Sequence[Identity], noise: Grain) -> Tensor:
    """(N,) melanin beyond that of the tone: mottling, sun, freckles, moles and tired eyes."""
    point = surface.canonical
    _, y, z = point.unbind(1)
    unevenness = 0.10 * noise.coarse[:, 0] + 0.09 * noise.medium[:, 0] + 0.06 * noise.fine[:, 0]
    amount = gathered(identities, "skin.blotches", surface) * unevenness + 0.05 * noise.pores[:, 0]
    sun = spot(point, (0.0, 7.2, 1.5), 0.22) + spot(point, (0.0, 7.75, 1.3), 0.4) - rise(6.4, 6.1, y)
    amount = amount + 0.05 * sun
    dots = (noise.fine[:, 1] + 0.7 * noise.medium[:, 2] + 0.4 * noise.pores[:, 1] - 0.75).clamp(0.0, 0.6)
    cheeks = torch.exp(-(((y - 7.1) / 0.28) ** 2)) * rise(0.7, 1.0, z)
    amount = amount + 1.6 * gathered(identities, "skin.freckles", surface) * dots * cheeks
    sockets = spot(point, (0.30, 7.20, 1.36), 0.11) + 0.6 * spot(point, (0.16, 7.27, 1.33), 0.08)
    amount = amount + 0.22 * gathered(identities, "skin.bags", surface) * sockets
    return amount + 1.3 * _moles(surface, identities)


def _moles(surface: Surface, identities: Sequence[Identity]) -> Tensor:
    """(N,) 0..1: flat-topped dots at the places that the identity lists, on the front of the head."""
    moles = gathered(identities, "skin.moles", surface)
    offset = surface.canonical[:, None, :2] - moles[..., :2]
    distance = offset.square().sum(2) / moles[..., 2].clamp(min=1e-3).square()
    dots = (1.6 - distance).clamp(0.0, 1.0) * (moles[..., 1] < _MOLE_TOP)
    return dots.amax(1) * rise(0.3, 0.5, surface.canonical[:, 2])


def _blood(surface: Surface, identities: Sequence[Identity], noise: Grain) -> Tensor:
    """(N,) blood beyond that of the tone: cheeks, nose, ears, lids and chin."""
    point = surface.canonical
    flush = 0.75 * spot(point, (0.0, 6.99, 1.55), 0.17) + 0.75 * spot(point, (0.42, 6.98, 1.3), 0.27)
    flush = flush + 0.6 * surface.ear + 0.25 * spot(point, (0.0, 6.42, 1.4), 0.2)
    flush = flush + 0.3 * spot(point, (0.29, 7.27, 1.32), 0.14) + 0.35 * spot(point, (0.14, 7.31, 1.3), 0.05)
    flush = flush + 0.25 * spot(point, (0.10, 6.95, 1.4), 0.09) - 0.15 * spot(point, (0.0, 7.8, 1.3), 0.4)
    flush = flush * (0.85 + 0.35 * noise.medium[:, 1] + 0.15 * noise.fine[:, 3])
    amount = 0.75 * gathered(identities, "skin.haemoglobin", surface) * flush
    mottling = 0.07 * noise.coarse[:, 1] + 0.10 * noise.medium[:, 3] + 0.07 * noise.fine[:, 2]
    bags = 0.30 * gathered(identities, "skin.bags", surface) * spot(point, (0.28, 7.22, 1.36), 0.10)
    return amount + gathered(identities, "skin.blotches", surface) * mottling + bags + 0.04 * noise.pores[:, 2]


def creases(surface: Surface, identities: Sequence[Identity], noise: Grain) -> Tensor:
    """(N,) 0..1: how much light the lines of a face swallow; forehead, crow's feet and beside the nose."""
    x, y, z = surface.canonical.unbind(1)
    across = x.abs()
    wave = torch.sin((y + 0.03 * noise.medium[:, 3] + 0.03 * across) * (6.2832 / 0.125))
    forehead = wave.clamp(min=0.0) ** 6 * band(7.70, 7.96, 0.08, y) * rise(0.55, 0.3, across)
    forehead = forehead * (0.6 + 0.5 * noise.coarse[:, 3]).clamp(0.0, 1.0)
    fold_distance = across - (0.19 + 0.5 * (6.95 - y) + 0.012 * noise.medium[:, 2])
    fold = torch.exp(-((fold_distance / 0.024) ** 2)) * band(6.70, 6.93, 0.08, y) * rise(0.85, 0.95, z)
    fan = torch.sin(torch.atan2(y - 7.34, across - 0.36) * 9.0 + noise.medium[:, 1])
    crow = fan.clamp(min=0.0) ** 4 * band(0.46, 0.54, 0.05, across) * rise(0.6, 0.7, z)
    crow = crow * torch.exp(-(((y - 7.34) / 0.12) ** 2))
    depth = gathered(identities, "skin.wrinkles", surface)
    return ((0.22 * forehead + 0.30 * fold + 0.25 * crow) * depth + 0.05 * fold).clamp(0.0, 0.6)


def skin_albedo(surface: Surface, identities: Sequence[Identity], noise: Grain) -> Tensor:
    """(N, 3) linear RGB of bare skin: the tone behind pigments that vary (Beer-Lambert)."""
    tone = gathered(identities, "skin.tone", surface)
    melanin = _melanin(surface, identities, noise)
    # Melanin lies above the vessels and hides them.
    blood = _blood(surface, identities, noise) * (1.0 - 0.8 * gathered(identities, "skin.melanin", surface))
    lines = creases(surface, identities, noise)
    absorbance = (melanin + 0.9 * lines)[:, None] * tone.new_tensor(_MELANIN)
    absorbance = absorbance + (blood + 0.5 * lines)[:, None] * tone.new_tensor(_BLOOD)
    return (tone * torch.exp(-absorbance.clamp(-0.5, 4.0))).clamp(0.0, 0.95)


def made_up(skin: Tensor, surface: Surface, identities: Sequence[Identity], noise: Grain) -> Tensor:
    """(N, 3) skin with lips, eye shadow and the dark line of the lashes."""
    x, y, z = surface.canonical.unbind(1)
    lips = gathered(identities, "lips.colour", surface)
    lips = lips * (1.0 + 0.10 * noise.fine[:, 1:2] + 0.08 * noise.pores[:, 3:4]).clamp(0.5, 1.5)
    opacity = rise(0.15, 0.95, surface.lips) * gathered(identities, "lips.strength", surface)
    skin = over(skin, lips, opacity * (1.0 - 0.25 * spot(surface.canonical, (0.0, 6.62, 1.5), 0.05)))
    shade = torch.exp(-(((y - 7.41) / 0.05) ** 2) - ((x.abs() - 0.30) / 0.16) ** 2) * rise(1.05, 1.15, z)
    shade = shade * gathered(identities, "eyes.shadow_strength", surface)
    skin = over(skin, gathered(identities, "eyes.shadow", surface), shade)
    upper = 0.40 + 0.60 * rise(7.325, 7.345, y)
    lashes = (0.35 + 0.6 * gathered(identities, "eyes.liner", surface)) * rise(0.25, 0.95, surface.lid) * upper
    return over(skin, torch.full_like(skin, 0.018), lashes.clamp(0.0, 0.92))


def oil(surface: Surface, identities: Sequence[Identity], noise: Grain) -> Tensor:
    """(N,) reflectance of skin at normal incidence: more on nose and forehead, broken up by pores."""
    point = surface.canonical
    zone = 0.45 + 0.6 * spot(point, (0.0, 7.05, 1.55), 0.13) + 0.35 * spot(point, (0.0, 7.7, 1.35), 0.32)
    zone = zone + 0.2 * spot(point, (0.4, 7.1, 1.25), 0.15)
    rough = (1.0 + 0.35 * noise.pores[:, 3] + 0.25 * noise.fine[:, 3]).clamp(0.3, 1.8)
    return 0.014 + 0.028 * gathered(identities, "skin.oil", surface) * zone * rough


def region(surface: Surface) -> Tensor:
    """(N,) int64 `Label` of bare skin: skin, nose, neck, ear, lip or the inside of the mouth."""
    x, y, z = surface.canonical.unbind(1)
    label = torch.full_like(surface.material, Label.SKIN)
    slope = 1.0 - 0.55 * ((y - 6.98) / 0.36).clamp(0.0, 1.0)
    depth = 1.36 - 0.10 * ((7.2 - y) / 0.3).clamp(0.0, 1.0)
    nose = (x.abs() < 0.17 * slope) & (y > 6.885) & (y < 7.28) & (z > depth)
    neck = (y < 6.39 + 0.28 * (1.0 - z.clamp(0.0, 1.3) / 1.3)) & (z < 1.02) & (y < 6.62)
    for kind, where in (
        (Label.NOSE, nose),
        (Label.NECK, neck),
        (Label.EAR, surface.ear > 0.5),
        (Label.LIP, surface.lips > 0.5),
        (Label.MOUTH, surface.inner_mouth > 0.5),
    ):
        label = label.masked_fill(where, int(kind))
    return label
