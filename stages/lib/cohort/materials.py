"""Painters of what is not skin, and the one that picks the painter."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from stages.lib.classes import Label
from stages.lib.cohort.body import hair_colour, paint_body
from stages.lib.cohort.eyes import paint_eyes
from stages.lib.cohort.fields import band, gathered, rise
from stages.lib.cohort.hair_styles import Growth, grow
from stages.lib.cohort.head import Material
from stages.lib.cohort.identity import Identity
from stages.lib.cohort.noise import value_noise
from stages.lib.cohort.scene import flag
from stages.lib.cohort.shot import Shot
from stages.lib.cohort.surface import Paint, Surface

_ENAMEL: Final = (0.66, 0.60, 0.50)
_TONGUE: Final = (0.42, 0.14, 0.13)
_ELASTIC: Final = (0.68, 0.68, 0.67)
_DARK_GLASS: Final = (0.013, 0.012, 0.012)
_STRAND_CURL: Final = (0.18, 2.2)  # periods of the noise along a lock, straight and curled


@dataclass(frozen=True)
class Scene:
    """Who and what is in the B images."""

    identities: Sequence[Identity]
    shots: Sequence[Shot]
    growths: Sequence[Growth]


def _plain(
    surface: Surface, albedo: Tensor, label: Label | Tensor, gloss: float, highlight: float | Tensor, occlusion: Tensor
) -> Paint:
    """A paint with one gloss; the albedo is (3,) or (N, 3)."""
    one = torch.ones_like(surface.occlusion)
    labels = label if isinstance(label, Tensor) else torch.full_like(surface.material, int(label))
    return Paint(
        albedo=albedo.expand(len(surface), 3).clamp(0.0, 1.0),
        gloss=one * gloss,
        occlusion=occlusion.clamp(0.0, 1.0),
        highlight=(one * highlight).clamp(0.0, 1.0),
        label=labels.to(torch.uint8),
    )


def _body(surface: Surface, scene: Scene) -> Paint:
    return paint_body(surface, scene.identities, scene.growths)


def _eye(surface: Surface, scene: Scene) -> Paint:
    return paint_eyes(surface, scene.identities)


def _teeth(surface: Surface, scene: Scene) -> Paint:
    """Darker towards the back of the mouth, with gaps between the teeth."""
    x, _, z = surface.canonical.unbind(1)
    gaps = 1.0 - 0.25 * torch.sin(x * (math.pi / 0.085)).abs().clamp(0.0, 1.0) ** 8
    depth = 0.45 + 0.55 * rise(0.95, 1.35, z)
    albedo = surface.canonical.new_tensor(_ENAMEL) * (gaps * depth)[:, None]
    return _plain(surface, albedo, Label.MOUTH, 50.0, 0.03, (surface.occlusion * 0.8).clamp(min=0.3))


def _tongue(surface: Surface, scene: Scene) -> Paint:
    return _plain(surface, surface.canonical.new_tensor(_TONGUE), Label.MOUTH, 30.0, 0.03, surface.occlusion * 0.7)


def _hair(surface: Surface, scene: Scene) -> Paint:
    """Locks and strands: noise that is fine round the head and long down the hair; scarves are smooth."""
    frizz = gathered(scene.growths, "frizz", surface)
    clump = gathered(scene.growths, "clump", surface)
    scarf = gathered(scene.growths, "cloth", surface)
    place = gathered(scene.identities, "hair.seed", surface) % 997 * 0.061
    along = surface.s * (_STRAND_CURL[0] * (1.0 - frizz) + _STRAND_CURL[1] * frizz)
    fine = value_noise(torch.stack([surface.u * 6.5, along, place], 1), 1.0)
    locks = value_noise(torch.stack([surface.u * 2.3, along * 0.7, place + 0.5], 1), 1.0)
    strand = fine[:, 0] + 0.5 * fine[:, 1]
    light = 1.0 + (0.22 - 0.10 * frizz) * strand + (0.10 + 0.16 * clump) * locks[:, 0]
    colour = hair_colour(scene.identities, surface, strand) * light.clamp(0.35, 1.9)[:, None]
    folds = 1.0 + 0.12 * locks[:, 1] + 0.04 * fine[:, 2]
    cloth = gathered(scene.identities, "hair.scarf", surface) * folds.clamp(0.5, 1.5)[:, None]
    is_cloth = scarf > 0.5
    gaps = (0.82 + 0.16 * locks[:, 0] + 0.10 * strand - 0.12 * frizz).clamp(0.3, 1.0)
    shine = 0.012 * (1.0 - 0.9 * frizz) * (1.0 + 0.5 * fine[:, 3] + 0.4 * locks[:, 2]).clamp(0.2, 1.8)
    label = torch.where(is_cloth, int(Label.CLOTH), int(Label.HAIR))
    occlusion = torch.where(surface.facing, torch.where(is_cloth, 0.9, gaps), 0.25) * surface.occlusion
    albedo = torch.where(is_cloth[:, None], cloth, colour)
    return _plain(surface, albedo, label, 18.0, torch.where(is_cloth, 0.0, shine), occlusion)


def _mask(surface: Surface, scene: Scene) -> Paint:
    """Pleats, a seam or plain cloth; a hem all round, and the dent of a nose wire."""
    u, s = surface.u, surface.s
    device = u.device
    pleated, ridged = (
        flag(scene.shots, "mask.kind", kind, device=device)[surface.image] for kind in ("pleated", "ffp2")
    )
    pleats = 1.0 - 0.20 * torch.exp(-((((s * 4.0) % 1.0 - 0.5) / 0.10) ** 2)) * band(0.18, 0.82, 0.04, s)
    ridge = 1.0 - 0.14 * torch.exp(-((u / 0.025) ** 2))
    form = torch.where(pleated, pleats, torch.where(ridged, ridge, torch.ones_like(s)))
    hem = 1.0 - 0.12 * (1.0 - band(0.07, 0.93, 0.02, s) * rise(0.97, 0.92, u.abs()))
    wire = 1.0 - 0.06 * torch.exp(-(((s - 0.06) / 0.02) ** 2)) * rise(0.35, 0.25, u.abs())
    fibres = value_noise(torch.stack([u * 2.1, s * 1.1, surface.canonical[:, 2]], 1), 1.0)
    texture = 1.0 + 0.025 * fibres[:, 0] + 0.03 * fibres[:, 1]
    albedo = 0.85 * gathered(scene.shots, "mask.colour", surface) * (form * hem * wire * texture)[:, None]
    occlusion = torch.where(surface.facing, 0.92, 0.3) * form.clamp(0.6, 1.0)
    return _plain(surface, albedo, Label.MASK, 8.0, 0.006, occlusion)


def _loop(surface: Surface, scene: Scene) -> Paint:
    return _plain(surface, surface.canonical.new_tensor(_ELASTIC), Label.MASK, 1.0, 0.0, surface.occlusion)


def _frame(surface: Surface, scene: Scene) -> Paint:
    colour = gathered(scene.identities, "glasses.colour", surface)
    return _plain(surface, colour, Label.GLASSES, 40.0, 0.05, surface.occlusion)


def _lens(surface: Surface, scene: Scene) -> Paint:
    return _plain(surface, surface.canonical.new_tensor(_DARK_GLASS), Label.GLASSES, 60.0, 0.015, surface.occlusion)


PAINTERS: Final[dict[Material, Callable[[Surface, Scene], Paint]]] = {
    Material.BODY: _body,
    Material.EYE: _eye,
    Material.TEETH: _teeth,
    Material.TONGUE: _tongue,
    Material.HAIR: _hair,
    Material.MASK: _mask,
    Material.LOOP: _loop,
    Material.FRAME: _frame,
    Material.LENS: _lens,
}


def paint(surface: Surface, identities: Sequence[Identity], shots: Sequence[Shot]) -> Paint:
    """Colours, gloss and class of every pixel of a batch.

    Args:
        surface: N pixels of B images.
        identities: B people.
        shots: B shots.

    Returns:
        The paint, row by row as the surface.
    """
    scene = Scene(identities, shots, [grow(identity.hair) for identity in identities])
    count, like = len(surface), surface.canonical
    whole = Paint(
        albedo=like.new_zeros(count, 3),
        gloss=like.new_ones(count),
        occlusion=like.new_ones(count),
        highlight=like.new_zeros(count),
        label=torch.zeros(count, dtype=torch.uint8, device=like.device),
    )
    for material, painter in PAINTERS.items():
        rows = torch.nonzero(surface.material == int(material)).squeeze(1)
        if len(rows):
            part = painter(surface.where(rows), scene)
            for name, values in vars(whole).items():
                values[rows] = getattr(part, name)
    return whole
