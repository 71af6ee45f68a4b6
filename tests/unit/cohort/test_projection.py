from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from stages.lib.cohort.basis import Basis, load_basis
from stages.lib.cohort.head import build_mesh
from stages.lib.cohort.identity import Identity, sample_identity
from stages.lib.cohort.projection import Projected, normals, pose_and_project, rotations
from stages.lib.cohort.shot import Pose, Ranges, sample_shot
from stages.lib.geometry.pose import pose_from_landmarks
from stages.lib.geometry.pose import rotations as image_rotations

TO_IMAGE = np.diag([1.0, -1.0, -1.0])


@pytest.fixture(scope="module")
def basis() -> Basis:
    return load_basis()


@pytest.fixture(scope="module")
def people(basis: Basis) -> list[Identity]:
    return [sample_identity(basis.targets, 2, number) for number in range(6)]


def posed(basis: Basis, people: list[Identity], poses: list[Pose], size: int = 112) -> Projected:
    crowd = [people[row % len(people)] for row in range(len(poses))]
    shots = [sample_shot(person, 0, Ranges(), pose=pose) for person, pose in zip(crowd, poses, strict=True)]
    weights = basis.weights([person.shape | shot.actions for person, shot in zip(crowd, shots, strict=True)])
    return pose_and_project(build_mesh(basis, weights, crowd, shots), shots, size)


def test_rotations_are_those_of_the_pose_module() -> None:
    degrees = np.random.default_rng(0).uniform(-80, 80, (40, 3))
    found = rotations(torch.from_numpy(degrees)).numpy()
    assert np.allclose(TO_IMAGE @ found @ TO_IMAGE, image_rotations(degrees))


@pytest.mark.parametrize("yaw", range(-80, 81, 20))
def test_pose_is_recovered_from_the_landmarks(basis: Basis, people: list[Identity], yaw: int) -> None:
    poses = [Pose(float(yaw), pitch, roll) for pitch, roll in ((0.0, 0.0), (20.0, -10.0), (-15.0, 8.0))]
    projected = posed(basis, people, poses)
    rows = projected.mesh.landmarks
    for image, pose in enumerate(poses):
        camera = np.diag([float(projected.focal[image])] * 2 + [1.0])
        camera[:2, 2] = projected.middle[image]
        model = projected.mesh.vertices[image, rows].double().numpy() @ TO_IMAGE
        drawn = projected.screen[image, rows, :2].double().numpy()
        solved, turn, _ = cv2.solvePnP(model, drawn, camera, None, flags=cv2.SOLVEPNP_SQPNP)
        assert solved
        candidates = image_rotations([[pose.yaw, pose.pitch, pose.roll]])[0]
        error = np.rad2deg(np.linalg.norm(cv2.Rodrigues(cv2.Rodrigues(turn)[0] @ candidates.T)[0]))
        assert error < 0.5


def test_five_points_tell_the_same_signs(basis: Basis, people: list[Identity]) -> None:
    poses = [
        Pose(30.0, 0.0, 0.0),
        Pose(-30.0, 0.0, 0.0),
        Pose(0.0, 20.0, 0.0),
        Pose(0.0, -20.0, 0.0),
        Pose(0.0, 0.0, 15.0),
    ]
    place = posed(basis, people, poses).screen[:, basis.landmarks, :2]
    five = torch.stack([place[:, 36:42].mean(1), place[:, 42:48].mean(1), *place[:, [30, 48, 54]].unbind(1)], dim=1)
    found = pose_from_landmarks(five.numpy())
    assert found[0, 0] > 20 and found[1, 0] < -20
    assert found[2, 1] - found[3, 1] > 25
    assert found[4, 2] == pytest.approx(15, abs=4)


def test_a_frontal_face_is_upright_in_the_middle(basis: Basis, people: list[Identity]) -> None:
    place = posed(basis, people, [Pose(0.0, 0.0, 0.0)] * 6).screen[:, basis.landmarks, :2]
    assert ((place[:, 17:] > 0) & (place[:, 17:] < 112)).all()
    assert (place[:, 36, 0] < place[:, 45, 0]).all(), "the person's right eye is on the left"
    assert (place[:, 27, 1] < place[:, 57, 1]).all(), "the mouth is below the eyes"


def test_a_decimetre_at_the_face_takes_the_same_room_at_any_distance(basis: Basis, people: list[Identity]) -> None:
    person = people[0]
    shot = sample_shot(person, 0, Ranges(), pose=Pose(0.0, 0.0, 0.0))
    shots = [replace(shot, camera=replace(shot.camera, distance=distance)) for distance in (6.0, 12.0, 40.0)]
    mesh = build_mesh(basis, basis.weights([person.shape] * 3), [person] * 3, shots)
    projected = pose_and_project(mesh, shots, 112)
    ears = projected.screen[:, basis.landmarks[[0, 16]], 0]
    assert torch.allclose((ears[:, 1] - ears[:, 0]) / (ears[2, 1] - ears[2, 0]), torch.ones(3), atol=0.05)


def test_the_chest_turns_less_than_the_head(basis: Basis, people: list[Identity]) -> None:
    mesh = posed(basis, people, [Pose(0.0, 0.0, 0.0)]).mesh
    canonical = mesh.attributes[: len(basis.neutral), :3]
    jaw = basis.landmarks[:17]
    assert (mesh.turns[0, jaw] == 1).all()
    assert (mesh.turns[0, : len(canonical)][canonical[:, 1] < 5.2] == 0).all()


def test_normals_point_outward_and_are_never_nan(basis: Basis) -> None:
    found = normals(basis.neutral[None], basis.triangles)[0]
    skull = basis.scalp[:, :8].reshape(-1)
    outward = basis.neutral[skull] - torch.tensor([0.0, 7.55, 0.3])
    assert ((found[skull] * outward).sum(1) > 0).all()
    flat = normals(torch.zeros(1, 3, 3), torch.tensor([[0, 1, 2]]))
    assert torch.equal(flat, torch.tensor([[[0.0, 0, 1]] * 3]))
