from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from stages.lib.classes import Label
from stages.lib.cohort.basis import Basis, load_basis
from stages.lib.cohort.head import ATTRIBUTES, Material, topology
from stages.lib.cohort.identity import Beard, Hair, Identity, sample_identity
from stages.lib.cohort.materials import PAINTERS, paint
from stages.lib.cohort.shot import Ranges, Shot, sample_shot
from stages.lib.cohort.surface import Paint, Surface


@pytest.fixture(scope="module")
def basis() -> Basis:
    return load_basis()


@pytest.fixture(scope="module")
def person(basis: Basis) -> Identity:
    drawn = sample_identity(basis.targets, 1, 0)
    hair = replace(drawn.hair, style="shorn", hairline=0.0, grey=0.0)
    brows = replace(drawn.brows, density=1.0, lift=0.0, arch=1.0, height=0.045)
    return replace(drawn, hair=hair, brows=brows, beard=Beard("none", 0, 0, 0, 0, hair.colour))


@pytest.fixture(scope="module")
def shot(person: Identity) -> Shot:
    return sample_shot(person, 0, Ranges())


def surface_at(basis: Basis, rows: Tensor, material: Material, images: int = 1) -> Surface:
    """Pixels that show the given vertices in each image, facing the camera."""
    values = topology(basis).attributes[rows].repeat(images, 1)
    count = len(values)
    shares = {name: values[:, getattr(ATTRIBUTES, name)] for name in ("lips", "inner_mouth", "ear", "occlusion", "lid")}
    return Surface(
        image=torch.arange(images).repeat_interleave(len(rows)),
        material=torch.full((count,), int(material)),
        canonical=values[:, ATTRIBUTES.canonical],
        position=values[:, ATTRIBUTES.canonical] - 7.0,
        normal=torch.tensor([0.0, 0.0, 1.0]).expand(count, 3),
        facing=torch.ones(count, dtype=torch.bool),
        u=values[:, ATTRIBUTES.u],
        s=values[:, ATTRIBUTES.s],
        **shares,
    )


def assert_sound(painted: Paint, count: int) -> None:
    assert painted.albedo.shape == (count, 3) and painted.label.shape == (count,)
    for values in (painted.albedo, painted.occlusion, painted.highlight):
        assert values.isfinite().all() and values.min() >= 0 and values.max() <= 1
    assert painted.gloss.isfinite().all() and painted.gloss.min() >= 1
    assert painted.label.dtype == torch.uint8


@pytest.mark.parametrize(
    ("points", "label"),
    [
        ((18, 19, 20, 23, 24, 25), Label.BROW),
        ((29, 30), Label.NOSE),
        ((51, 57), Label.LIP),
        ((5, 11), Label.SKIN),
    ],
)
def test_landmarks_have_their_class(
    basis: Basis, person: Identity, shot: Shot, points: tuple[int, ...], label: Label
) -> None:
    surface = surface_at(basis, basis.landmarks[list(points)], Material.BODY)
    assert paint(surface, [person], [shot]).label.tolist() == [label] * len(points)


def test_canonical_places_have_their_class(basis: Basis, person: Identity, shot: Shot) -> None:
    places = {
        (0.35, 7.0, 1.25): Label.SKIN,
        (0.0, 8.35, 0.4): Label.HAIR,
        (0.0, 5.0, 0.6): Label.CLOTH,
        (0.25, 6.2, 0.3): Label.NECK,
    }
    surface = surface_at(basis, basis.landmarks[: len(places)], Material.BODY)
    zero = torch.zeros(len(places))
    surface = replace(surface, canonical=torch.tensor(list(places)), lips=zero, inner_mouth=zero, ear=zero, lid=zero)
    assert paint(surface, [person], [shot]).label.tolist() == list(places.values())


def test_pupil_iris_and_white_of_the_eye(basis: Basis, person: Identity, shot: Shot) -> None:
    surface = surface_at(basis, basis.landmarks[:3], Material.EYE)
    centre = torch.tensor([0.2875, 7.352, 1.25])
    surface = replace(surface, canonical=centre + torch.tensor([[0.0, 0, 0], [0.04, 0, 0], [0.12, 0, 0]]))
    painted = paint(surface, [person], [shot])
    pupil, iris, white = painted.albedo.mean(1).tolist()
    assert pupil < 0.02 and pupil < iris < white and white > 0.25
    assert painted.label.tolist() == [Label.EYE] * 3


def test_beard_darkens_the_chin_and_never_the_lips(basis: Basis, person: Identity, shot: Shot) -> None:
    surface = surface_at(basis, basis.landmarks[[8, 51, 57]], Material.BODY)
    bearded = replace(person, beard=Beard("full", 0.9, 0.9, 0.9, 0.9, (0.01, 0.01, 0.01)))
    bare = paint(surface, [person], [shot]).albedo.mean(1)
    covered = paint(surface, [bearded], [shot]).albedo.mean(1)
    assert covered[0] < 0.6 * bare[0]
    torch.testing.assert_close(covered[1:], bare[1:], atol=0.02, rtol=0)


def test_scarf_is_cloth_and_hair_is_hair(basis: Basis, person: Identity, shot: Shot) -> None:
    part = topology(basis).parts[Material.HAIR]
    surface = surface_at(basis, torch.arange(part.start, part.start + 40), Material.HAIR)
    for style, label in (("scarf", Label.CLOTH), ("bob", Label.HAIR)):
        worn: Hair = replace(person.hair, style=style)
        assert set(paint(surface, [replace(person, hair=worn)], [shot]).label.tolist()) == {label}


@pytest.mark.parametrize("material", list(Material))
def test_every_material_is_sound_alone_and_in_a_batch(basis: Basis, material: Material) -> None:
    people = [sample_identity(basis.targets, 2, number) for number in range(3)]
    shots = [sample_shot(someone, 0, Ranges(mask_rate=1.0)) for someone in people]
    rows = torch.arange(0, len(topology(basis).attributes), 7)
    together = paint(surface_at(basis, rows, material, images=3), people, shots)
    assert_sound(together, 3 * len(rows))
    alone = paint(surface_at(basis, rows, material), people[1:2], shots[1:2])
    middle = slice(len(rows), 2 * len(rows))
    for name, values in vars(alone).items():
        torch.testing.assert_close(getattr(together, name)[middle], values, atol=1e-5, rtol=1e-5)


def test_points_far_outside_the_head_are_sound(basis: Basis, person: Identity, shot: Shot) -> None:
    rows = torch.arange(4096)
    wild = torch.randn(4096, 3, generator=torch.Generator().manual_seed(0)) * 30
    wild[:8] = 0.0
    for material in PAINTERS:
        surface = replace(surface_at(basis, rows, material), canonical=wild, u=wild[:, 0], s=wild[:, 1])
        assert_sound(paint(surface, [person], [shot]), 4096)


def test_no_pixels_no_paint(basis: Basis, person: Identity, shot: Shot) -> None:
    surface = surface_at(basis, basis.landmarks[:0], Material.BODY)
    assert len(paint(surface, [person], [shot]).label) == 0
