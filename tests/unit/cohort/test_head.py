from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from stages.lib.cohort.basis import Basis, load_basis
from stages.lib.cohort.hair import hair_triangles
from stages.lib.cohort.hair_styles import AZIMUTHS, NODES, STYLES
from stages.lib.cohort.head import ATTRIBUTES, Material, Mesh, build_mesh, topology
from stages.lib.cohort.identity import Identity, sample_identity
from stages.lib.cohort.mask import AXIS, BULGE, CLEARANCE, COLUMNS, HALF_ANGLE, ROWS
from stages.lib.cohort.projection import pose_and_project
from stages.lib.cohort.rasterise import rasterise
from stages.lib.cohort.shot import Mask, Pose, Ranges, Shot, sample_shot


@pytest.fixture(scope="module")
def basis() -> Basis:
    return load_basis()


@pytest.fixture(scope="module")
def people(basis: Basis) -> list[Identity]:
    return [sample_identity(basis.targets, 11, number, spread=1.3) for number in range(24)]


def mesh_of(basis: Basis, people: Sequence[Identity], shots: Sequence[Shot]) -> Mesh:
    weights = [person.shape | shot.actions for person, shot in zip(people, shots, strict=True)]
    return build_mesh(basis, basis.weights(weights), people, shots)


def part(basis: Basis, mesh: Mesh, material: Material) -> torch.Tensor:
    return mesh.vertices[:, topology(basis).parts[material]]


def test_many_draws_are_finite(basis: Basis, people: list[Identity]) -> None:
    styles = list(STYLES)
    for start in range(0, 144, 48):
        crowd = [
            replace(person, hair=replace(person.hair, style=styles[(start + row) % len(styles)], seed=start + row))
            for row, person in enumerate(2 * people)
        ]
        shots = [sample_shot(person, start + row, Ranges(yaw_sd=60.0)) for row, person in enumerate(crowd)]
        mesh = mesh_of(basis, crowd, shots)
        projected = pose_and_project(mesh, shots, 64)
        assert torch.isfinite(mesh.vertices).all() and torch.isfinite(projected.screen).all()
        assert torch.allclose(projected.normals.norm(dim=-1), torch.ones(()), atol=1e-4)
        raster = rasterise(projected.screen, mesh.triangles, 64, 64)
        assert torch.isfinite(raster.barycentric).all()
        assert torch.isfinite(raster.interpolate(mesh.attributes, mesh.triangles)).all()


def test_a_face_is_the_same_alone_and_in_a_batch(basis: Basis, people: list[Identity]) -> None:
    shots = [sample_shot(person, 0, Ranges()) for person in people[:7]]
    mesh, alone = mesh_of(basis, people[:7], shots), mesh_of(basis, people[4:5], shots[4:5])
    assert torch.allclose(mesh.vertices[4], alone.vertices[0], atol=1e-6)
    seen, seen_alone = (
        rasterise(pose_and_project(heads, of, 112).screen, heads.triangles, 112, 112).triangle
        for heads, of in ((mesh, shots), (alone, shots[4:5]))
    )
    assert (seen[4] != seen_alone[0]).float().mean() < 1e-4


def test_eyes_are_where_the_camera_expects_them(basis: Basis, people: list[Identity]) -> None:
    shots = [sample_shot(person, 0, Ranges()) for person in people]
    eyes = mesh_of(basis, people, shots).vertices[:, basis.landmarks[36:48]].mean(1)
    assert torch.allclose(eyes[:, 1:], torch.tensor([7.33, 1.2]).expand(len(people), 2), atol=1e-4)


def test_parts_are_on_as_worn(basis: Basis, people: list[Identity]) -> None:
    person = replace(people[0], hair=replace(people[0].hair, style="bald"))
    mask = Mask(True, "cloth", False, (0.5, 0.5, 0.5))
    shot = replace(sample_shot(person, 0, Ranges(), mask=mask), glasses_on=True, sunglasses=False)
    mesh, parts = mesh_of(basis, [person], [shot]), topology(basis).parts
    on = {material: bool(mesh.enabled[0, rows].all()) for material, rows in parts.items()}
    off = {material: not mesh.enabled[0, rows].any() for material, rows in parts.items()}
    assert on[Material.MASK] and on[Material.LOOP] and on[Material.FRAME]
    assert off[Material.HAIR] and off[Material.LENS]


@pytest.mark.parametrize("kind", BULGE)
@pytest.mark.parametrize("below_nose", [False, True])
def test_nothing_reaches_through_a_mask(basis: Basis, people: list[Identity], kind: str, below_nose: bool) -> None:
    mask = Mask(True, kind, below_nose, (0.5, 0.5, 0.5))  # type: ignore[arg-type]
    crowd = [person for person in people[:9] for _ in range(3)]
    extremes = [
        {"act:mouthPucker": 1.0, "act:jawOpen": 0.4},
        {"act:jawOpen": 0.8, "act:tongueOut": 1.0},
        {"act:jawForward": 1.0},
    ]
    shots = [
        replace(sample_shot(person, 0, Ranges(), mask=mask), actions=extremes[row % 3])
        for row, person in enumerate(crowd)
    ]
    mesh = mesh_of(basis, crowd, shots)
    cloth = part(basis, mesh, Material.MASK).view(-1, COLUMNS, ROWS, 3)
    radius = torch.hypot(cloth[..., 0], cloth[..., 2] - AXIS)
    skin = basis.triangles[(basis.part != 4) & (basis.neutral[basis.triangles][..., 2] > 1.0).all(1)].unique()
    for image, points in enumerate(mesh.vertices[:, skin]):
        angle = torch.atan2(points[:, 0], points[:, 2] - AXIS)
        column = (angle / HALF_ANGLE + 1) * (COLUMNS - 1) / 2
        left = column.floor().long().clamp(0, COLUMNS - 2)
        along = (column - left)[:, None]
        height = torch.lerp(cloth[image, left, :, 1], cloth[image, left + 1, :, 1], along)
        reach = torch.lerp(radius[image, left], radius[image, left + 1], along)
        row = (height > points[:, 1, None]).sum(1) - 1
        within = (row >= 0) & (row < ROWS - 1) & (column > 0) & (column < COLUMNS - 1)
        row = row.clamp(0, ROWS - 2)[:, None]
        top, bottom = height.gather(1, row), height.gather(1, row + 1)
        share = (top - points[:, 1:2]) / (top - bottom)
        outside = torch.lerp(reach.gather(1, row), reach.gather(1, row + 1), share)[:, 0]
        gap = outside - torch.hypot(points[:, 0], points[:, 2] - AXIS)
        assert within.sum() > 150
        assert gap[within].min() > 0.5 * CLEARANCE


def test_a_mask_hides_mouth_and_chin_from_all_sides(basis: Basis, people: list[Identity]) -> None:
    shots = [
        sample_shot(person, 0, Ranges(), mask=Mask(True, "cloth", False, (0.5, 0.5, 0.5)), pose=Pose(yaw, 0.0, 0.0))
        for yaw in (-60.0, 0.0, 35.0)
        for person in people[:8]
    ]
    mesh = mesh_of(basis, people[:8] * 3, shots)
    projected = pose_and_project(mesh, shots, 112)
    raster = rasterise(projected.screen, mesh.triangles, 112, 112, mesh.material == Material.BODY)
    lips = raster.interpolate(mesh.attributes, mesh.triangles)[:, ATTRIBUTES.lips] > 0.5
    bare = mesh.material[raster.hit_triangle] == Material.BODY
    assert int((lips & bare).sum()) == 0


def test_hair_covers_the_skull_above_the_hairline(basis: Basis, people: list[Identity]) -> None:
    for style in ("short", "tied", "curly crop", "long"):
        crowd = [
            replace(person, hair=replace(person.hair, style=style, seed=row)) for row, person in enumerate(people[:8])
        ]
        yaws = (90.0, 130.0, 180.0, -110.0)
        shots = [
            sample_shot(
                person, 0, Ranges(), pose=Pose(yaws[row % 4], 0.0, 0.0), mask=Mask(False, "cloth", False, (0, 0, 0))
            )
            for row, person in enumerate(crowd)
        ]
        mesh = mesh_of(basis, crowd, shots)
        raster = rasterise(pose_and_project(mesh, shots, 112).screen, mesh.triangles, 112, 112)
        place = raster.interpolate(mesh.attributes, mesh.triangles)[:, ATTRIBUTES.canonical]
        material = mesh.material[raster.hit_triangle]
        scalp = (place[:, 1] > 7.75) & (place[:, 2] < 0.3)
        assert (material[scalp] == Material.HAIR).float().mean() > 0.985


def test_hair_closes_round_the_head(basis: Basis, people: list[Identity]) -> None:
    shots = [sample_shot(person, 0, Ranges()) for person in people]
    locks = part(basis, mesh_of(basis, people, shots), Material.HAIR).view(-1, AZIMUTHS + 1, NODES, 3)
    assert torch.equal(locks[:, 0], locks[:, -1])
    assert (locks[:, :, 0] - locks[:, :1, 0]).norm(dim=-1).max() < 0.05, "locks meet at the crown"
    assert int(hair_triangles().max()) == (AZIMUTHS + 1) * NODES - 1


def test_lenses_are_before_the_eyes(basis: Basis, people: list[Identity]) -> None:
    shots = [replace(sample_shot(person, 0, Ranges()), actions={}) for person in people]
    mesh = mesh_of(basis, people, shots)
    lens = part(basis, mesh, Material.LENS)
    eyeballs = mesh.vertices[:, basis.triangles[basis.part == 1].unique()]
    assert (lens[..., 2].amin(1) > eyeballs[..., 2].amax(1) - 0.12).all()
    for side, rows in ((0, slice(36, 42)), (1, slice(42, 48))):
        rim = lens.view(len(people), 2, -1, 3)[:, side, :-1, :2]
        eye = mesh.vertices[:, basis.landmarks[rows], :2].mean(1)
        assert ((rim.amin(1) < eye) & (eye < rim.amax(1))).all()
