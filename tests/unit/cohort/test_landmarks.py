from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from stages.lib.cohort.basis import Basis, load_basis
from stages.lib.cohort.head import Material, build_mesh
from stages.lib.cohort.identity import Identity, sample_identity
from stages.lib.cohort.landmarks import Landmarks, landmarks
from stages.lib.cohort.projection import Projected, pose_and_project
from stages.lib.cohort.rasterise import Raster, rasterise
from stages.lib.cohort.shot import Mask, Pose, Ranges, sample_shot

BARE = Mask(False, "cloth", False, (0.5, 0.5, 0.5))
SIZE = 112


@pytest.fixture(scope="module")
def basis() -> Basis:
    return load_basis()


@pytest.fixture(scope="module")
def people(basis: Basis) -> list[Identity]:
    return [sample_identity(basis.targets, 8, number) for number in range(12)]


def seen(
    basis: Basis, people: list[Identity], yaws: list[float], mask: Mask = BARE
) -> tuple[Projected, Raster, Landmarks]:
    crowd = [people[row % len(people)] for row in range(len(yaws))]
    shots = [
        sample_shot(person, 0, Ranges(), pose=Pose(yaw, 0.0, 0.0), mask=mask, glasses_on=False, sunglasses=False)
        for person, yaw in zip(crowd, yaws, strict=True)
    ]
    weights = basis.weights([person.shape | shot.actions for person, shot in zip(crowd, shots, strict=True)])
    projected = pose_and_project(build_mesh(basis, weights, crowd, shots), shots, SIZE)
    mesh = projected.mesh
    cull = (mesh.material == Material.BODY) | (mesh.material == Material.EYE)
    raster = rasterise(projected.screen, mesh.triangles, SIZE, SIZE, cull)
    return projected, raster, landmarks(projected, raster)


def first_depths(projected: Projected, image: int, places: Tensor) -> Tensor:
    """Depth of the first surface on the rays through (P, 2) pixels, by brute force over all triangles."""
    mesh = projected.mesh
    on = mesh.enabled[image][mesh.triangles].all(1)
    corners = projected.posed[image].double()[mesh.triangles[on]]
    distance = float(projected.eye[image, 2])
    depths = []
    for place in places.double():
        across = (place - projected.middle[image]) / projected.focal[image]
        ray = torch.stack([across[0], -across[1], torch.tensor(-1.0)])
        normal = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        eye = corners.new_tensor([0.0, 0.0, distance])
        depth = ((corners[:, 0] - eye) * normal).sum(1) / (normal @ ray)
        point = eye + depth[:, None] * ray
        sides = [
            (torch.linalg.cross(corners[:, (k + 1) % 3] - corners[:, k], point - corners[:, k]) * normal).sum(1) >= 0
            for k in range(3)
        ]
        hit = torch.stack(sides).all(0) & (depth > 0)
        depths.append(depth[hit].min() if hit.any() else torch.tensor(torch.inf, dtype=torch.float64))
    return torch.stack(depths)


def test_the_raster_is_what_rays_hit(basis: Basis, people: list[Identity]) -> None:
    projected, _, _ = seen(basis, people, [-50.0, 10.0], Mask(True, "pleated", False, (0.5, 0.5, 0.5)))
    raster = rasterise(projected.screen, projected.mesh.triangles, SIZE, SIZE)
    generator = np.random.default_rng(1)
    for image in range(2):
        pixels = torch.from_numpy(generator.integers(0, SIZE, (100, 2)))
        cast = first_depths(projected, image, pixels + 0.5)
        drawn = raster.depth[image, pixels[:, 1], pixels[:, 0]].double()
        same = (cast.isinf() & drawn.isinf()) | ((cast - drawn).abs() < 0.01)
        assert same.float().mean() > 0.98, "all but pixels on outlines, which snapping to subpixels moves"


def test_visibility_agrees_with_rays(basis: Basis, people: list[Identity]) -> None:
    projected, _, found = seen(basis, people, [-75.0, -40.0, 0.0, 30.0, 60.0])
    agree = []
    for image in range(5):
        places = found.points68[image]
        gap = projected.screen[image, basis.landmarks, 2] - first_depths(projected, image, places)
        plain = (gap < 0.01) | (gap > 0.10)
        clear = (gap < 0.05) & ((places >= 0) & (places < SIZE)).all(1)
        agree.append((clear == found.visible[image])[plain])
    assert torch.cat(agree).float().mean() > 0.95
    assert len(torch.cat(agree)) > 0.85 * 5 * 68


def test_frontal_landmarks_lie_inside_the_face(basis: Basis, people: list[Identity]) -> None:
    projected, raster, found = seen(basis, people, [0.0] * 12)
    assert found.visible[:, 17:].float().mean() > 0.97
    column, row = found.points68.floor().long().unbind(-1)
    inner = torch.arange(27, 68)
    shown = raster.triangle[torch.arange(12)[:, None], row[:, inner], column[:, inner]]
    assert (shown >= 0).all()
    assert (projected.mesh.material[shown] < Material.HAIR).float().mean() > 0.98
    order = found.points5
    assert (order[:, 0, 0] < order[:, 2, 0]).all() and (order[:, 2, 0] < order[:, 1, 0]).all()
    assert (order[:, :2, 1].amax(1) < order[:, 2, 1]).all() and (order[:, 2, 1] < order[:, 3:, 1].amin(1)).all()


@pytest.mark.parametrize("kind", ["pleated", "cloth", "ffp2"])
def test_a_worn_mask_hides_the_mouth(basis: Basis, people: list[Identity], kind: str) -> None:
    yaws = [-70.0, -40.0, -15.0, 0.0, 15.0, 40.0, 70.0]
    _, _, found = seen(basis, people, yaws, Mask(True, kind, False, (0.5, 0.5, 0.5)))  # type: ignore[arg-type]
    assert not found.visible[:, 48:].any()
    assert not found.visible[:, 30:36].any()
    _, _, below = seen(basis, people, yaws, Mask(True, kind, True, (0.5, 0.5, 0.5)))  # type: ignore[arg-type]
    assert not below.visible[:, 48:].any()
    assert below.visible[2:5, 30].all()


def test_the_far_side_of_a_profile_is_hidden(basis: Basis, people: list[Identity]) -> None:
    _, _, found = seen(basis, people, [-90.0, 90.0])
    right, left = torch.arange(36, 42), torch.arange(42, 48)
    assert found.visible[0, left].any() and not found.visible[0, right].any()
    assert found.visible[1, right].any() and not found.visible[1, left].any()
