from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from stages.lib.classes import Label
from stages.lib.cohort.basis import load_basis
from stages.lib.cohort.head import Material, build_mesh
from stages.lib.cohort.identity import Identity, sample_identity
from stages.lib.cohort.light import key_direction, light_visibility, shade
from stages.lib.cohort.projection import pose_and_project
from stages.lib.cohort.shot import Light, Mask, Pose, Ranges, Shot, sample_shot
from stages.lib.cohort.surface import Paint, Surface

FLAT = ((0.0, 0.0, 0.0),) * 3
EYE = torch.tensor([[0.0, 0.0, 10.0]])


@pytest.fixture(scope="module")
def person() -> Identity:
    return sample_identity(load_basis().targets, 1, 4)


@pytest.fixture(scope="module")
def shot(person: Identity) -> Shot:
    light = Light(0.0, 0.0, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), FLAT, 1.0, 1.0)
    mask = Mask(False, "cloth", False, (0.5, 0.5, 0.5))
    return sample_shot(person, 0, Ranges(), pose=Pose(0, 0, 0), light=light, mask=mask, glasses_on=False)


def lit(shot: Shot, **light: object) -> Shot:
    return replace(shot, light=replace(shot.light, **light))  # type: ignore[arg-type]


def surface_of(normals: Tensor) -> Surface:
    one = torch.ones(len(normals))
    return Surface(
        image=torch.zeros(len(normals), dtype=torch.int64),
        material=torch.full((len(normals),), int(Material.BODY)),
        canonical=torch.zeros(len(normals), 3),
        position=torch.zeros(len(normals), 3),
        normal=normals,
        facing=torch.ones(len(normals), dtype=torch.bool),
        **dict.fromkeys(("lips", "inner_mouth", "ear", "occlusion", "lid", "u", "s"), one),
    )


def matt(count: int, label: Label, albedo: float = 0.4) -> Paint:
    one = torch.ones(count)
    labels = torch.full((count,), int(label), dtype=torch.uint8)
    return Paint(torch.full((count, 3), albedo), one, one, 0 * one, labels)


def test_matt_cloth_is_lambertian(shot: Shot) -> None:
    angles = torch.deg2rad(torch.tensor([0.0, 30.0, 60.0, 90.0, 150.0]))
    normals = torch.stack([angles.sin(), 0 * angles, angles.cos()], 1)
    radiance = shade(surface_of(normals), matt(5, Label.CLOTH), [shot], EYE, torch.ones(5))
    expected = 0.4 * angles.cos().clamp(min=0)
    torch.testing.assert_close(radiance, expected[:, None].expand(5, 3), atol=1e-3, rtol=1e-3)


def test_skin_lets_red_light_round_the_terminator(shot: Shot) -> None:
    behind = torch.deg2rad(torch.tensor([97.0]))
    normal = torch.stack([behind.sin(), 0 * behind, behind.cos()], 1)
    red, green, blue = shade(surface_of(normal), matt(1, Label.SKIN), [shot], EYE, torch.ones(1))[0].tolist()
    assert red > green > blue >= 0 and red > 0.01


def test_light_comes_from_where_the_shot_says(shot: Shot) -> None:
    right, above = lit(shot, azimuth=90.0), lit(shot, elevation=90.0)
    directions = key_direction([shot, right, above], "cpu")
    torch.testing.assert_close(directions, torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]]), atol=1e-6, rtol=0)
    for one in (shot, right, above, lit(shot, azimuth=40.0, elevation=20.0)):
        angle = torch.rad2deg(key_direction([one], "cpu")[0, 2].clamp(-1, 1).acos())
        assert angle.item() == pytest.approx(one.light.angle, abs=0.05)


def test_radiance_is_finite_and_positive_on_extreme_inputs(shot: Shot) -> None:
    normals = torch.nn.functional.normalize(torch.randn(3000, 3, generator=torch.Generator().manual_seed(3)), dim=1)
    normals[:6] = torch.tensor([[0.0, 0, 1], [0, 1, 0], [0, -1, 0], [0, 0, -1], [0, 0, 0], [1, 0, 0]])
    surface = surface_of(normals)
    gradient = ((0.5, -0.5, 0.4), (-2.0, 2.0, 0.0), (1.0, 1.0, 1.0))
    for label in Label:
        for azimuth, elevation in ((0, 0), (180, 0), (0, 90), (0, -90), (110, 75)):
            light = lit(shot, azimuth=azimuth, elevation=elevation, ambient=(0.3, 0.3, 0.3), gradient=gradient)
            paint = replace(matt(3000, label), gloss=torch.full((3000,), 200.0), highlight=torch.ones(3000))
            radiance = shade(surface, paint, [light], EYE, torch.zeros(3000))
            assert radiance.isfinite().all() and radiance.min() >= 0


def visibility(person: Identity, shots: list[Shot]) -> tuple[Tensor, Tensor]:
    """(B, 68) share of the key light at the landmarks, and their outward direction towards the light."""
    basis = load_basis()
    people = [replace(person, hair=replace(person.hair, style="bald"))] * len(shots)
    mesh = build_mesh(basis, basis.weights([{}] * len(shots)), people, shots)
    projected = pose_and_project(mesh, shots, 96)
    position, normal = (values[:, mesh.landmarks].reshape(-1, 3) for values in (projected.posed, projected.normals))
    image = torch.arange(len(shots)).repeat_interleave(68)
    seen = light_visibility(mesh, projected, position, normal, image, shots)
    return seen.view(-1, 68), (normal * key_direction(shots, "cpu")[image]).sum(1).view(-1, 68)


def test_a_side_light_leaves_the_far_side_in_shadow(person: Identity, shot: Shot) -> None:
    shots = [shot, lit(shot, azimuth=80.0), lit(shot, azimuth=80.0, shadow=0.25)]
    (front, side, faint), _ = visibility(person, shots)
    jaw_in_light, jaw_behind = slice(13, 16), slice(1, 4)
    assert front[[30, 51, 57, 8]].min() > 0.9
    assert side[jaw_in_light].min() > 0.8 and side[jaw_behind].max() < 0.2
    torch.testing.assert_close(faint, 1 - 0.25 * (1 - side))


def test_shadows_of_an_image_do_not_depend_on_its_batch(person: Identity, shot: Shot) -> None:
    shots = [lit(shot, azimuth=azimuth, elevation=30.0) for azimuth in (-60.0, 10.0, 70.0)]
    together, _ = visibility(person, shots)
    alone, _ = visibility(person, shots[1:2])
    torch.testing.assert_close(together[1], alone[0], atol=1e-4, rtol=0)
