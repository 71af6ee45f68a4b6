"""Eyebrows and beards, painted on the skin as opacity of many thin hairs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stages.lib.cohort.fields import band, gathered, rise
from stages.lib.cohort.identity import Identity
from stages.lib.cohort.skin import Grain
from stages.lib.cohort.surface import Surface


def brow_cover(surface: Surface, identities: Sequence[Identity]) -> Tensor:
    """(N,) 0..1: how much of a brow a pixel is, without its single hairs.

    A parabola from the bridge of the nose outwards, as high as `Brows.height` at its inner end and thinner
    outwards.
    """
    x, y, z = surface.canonical.unbind(1)
    height, arch, lift, inner, outer = (
        gathered(identities, f"brows.{name}", surface) for name in ("height", "arch", "lift", "inner", "outer")
    )
    along = (x.abs() - (0.115 - inner)) / (0.36 + outer).clamp(min=0.05)
    middle = 7.478 + lift + arch * (0.2266 * along - 0.2566 * along.square())
    half = (height * (1.0 - 0.7 * along.clamp(0.0, 1.0) ** 1.6)).clamp(min=0.005)
    profile = torch.exp(-(((y - middle) / half).abs().clamp(max=8.0) ** 2.6))
    ends = rise(-0.04, 0.16, along) * rise(1.06, 0.86, along)
    return profile * ends * rise(0.95, 1.05, z) * gathered(identities, "brows.density", surface)


def brow_opacity(surface: Surface, cover: Tensor, noise: Grain) -> Tensor:
    """(N,) 0..1: the cover broken up into hairs that rise outwards."""
    x, y, _ = surface.canonical.unbind(1)
    hairs = torch.sin((x.abs() + 0.8 * (y - 7.478)) * 240.0 + 3.0 * noise.fine[:, 2])
    full = 1.0 - (1.0 - cover.clamp(0.0, 1.0)) ** 1.7  # hairs overlap
    return (full * (0.92 + 0.16 * hairs + 0.22 * noise.pores[:, 2] + 0.10 * noise.fine[:, 0])).clamp(0.0, 0.95)


def _moustache(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    droop = 0.35 * (x - 0.06).clamp(min=0.0)
    return band(6.825, 6.875, 0.03, y + droop) * rise(0.30, 0.17, x) * rise(1.1, 1.2, z)


def _chin(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    chin = band(6.18, 6.49, 0.07, y) * rise(0.33, 0.22, x) * rise(0.7, 0.85, z)
    below_lip = torch.exp(-((x / 0.06) ** 2)) * band(6.42, 6.535, 0.03, y)
    corners = torch.exp(-(((x - 0.25) / 0.05) ** 2)) * band(6.52, 6.81, 0.05, y) * rise(1.0, 1.1, z)
    return torch.maximum(torch.maximum(chin, below_lip), corners)


def _cheek(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    top = 6.62 + 0.55 * (x - 0.25).clamp(min=0.0)
    return rise(0.06, -0.07, y - top) * rise(0.19, 0.31, x) * rise(5.95, 6.2, y + 0.25 * (z - 0.5)) * rise(0.25, 0.5, z)


def _sideburn(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    return rise(0.48, 0.59, x) * band(6.58, 7.17, 0.16, y) * band(0.52, 0.72, 0.1, z)


def beard_opacity(surface: Surface, identities: Sequence[Identity], noise: Grain) -> Tensor:
    """(N,) 0..1: beard over skin; thin where it is sparse, ragged at its edges, never on the lips."""
    x, y, z = surface.canonical.unbind(1)
    x = x.abs()
    parts = {"moustache": _moustache, "chin": _chin, "cheek": _cheek, "sideburn": _sideburn}
    cover = torch.zeros_like(x)
    for name, part in parts.items():
        cover = torch.maximum(cover, part(x, y, z) * gathered(identities, f"beard.{name}", surface))
    hairs = 0.07 * noise.fine[:, 3] + 0.05 * noise.medium[:, 1] + 0.17 * noise.pores[:, 1]
    # Noise counts most where the cover is half: sparse hair, not a darker skin.
    cover = cover * 0.95 + 4.0 * cover * (1.0 - cover) * hairs
    return (cover * (1.0 - rise(0.2, 0.8, surface.lips)) * (1.0 - surface.inner_mouth)).clamp(0.0, 0.95)
