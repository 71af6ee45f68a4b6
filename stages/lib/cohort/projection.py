"""From head space to the picture: the head turns on its neck, a pinhole camera looks at the face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from stages.lib.cohort.head import Mesh
from stages.lib.cohort.scene import column
from stages.lib.cohort.shot import Shot

PIVOT: Final = (0.0, 6.55, 0.1)
"""Where the head turns, head space."""
FACE: Final = (0.0, 7.12, 0.75)
"""Middle of the head, which the camera looks at, head space."""
CHEST: Final = (0.35, 0.2, 0.1)
"""Share of yaw, pitch and roll that the chest follows."""
FRAMING: Final = 0.43
"""Picture widths that a decimetre at the face takes up at scale 1."""
CENTRE: Final = (0.5, 0.52)
"""Where the middle of the head lies in the picture, widths."""


@dataclass(frozen=True, eq=False)
class Projected:
    """B posed heads in the camera frame: x right in the picture, y up, z to the camera, decimetres from `FACE`.

    Attributes:
        mesh: before it was posed.
        posed: (B, V, 3).
        screen: (B, V, 3) x and y in pixels, y down, pixel centres at halves; depth before the camera, or -1 for
            vertices that are not enabled.
        normals: (B, V, 3) unit, outward.
        eye: (B, 3) the camera.
        rotation: (B, 3, 3) of the head.
        focal: (B,) pixels.
        middle: (B, 2) where the axis of the camera meets the picture, pixels.
    """

    mesh: Mesh
    posed: Tensor
    screen: Tensor
    normals: Tensor
    eye: Tensor
    rotation: Tensor
    focal: Tensor
    middle: Tensor


def rotations(angles: Tensor) -> Tensor:
    """Head rotations as `stages.lib.geometry.pose.rotations` has them, with y up and z to the camera.

    Args:
        angles: (B, 3) yaw, pitch, roll in degrees: positive to the person's left, up, and to the left shoulder.

    Returns:
        (B, 3, 3), roll after yaw after pitch.
    """
    (cy, cp, cr), (sy, sp, sr) = torch.deg2rad(angles).cos().unbind(1), torch.deg2rad(angles).sin().unbind(1)
    rows = [
        torch.stack([cr * cy, sr * cp - cr * sy * sp, sr * sp + cr * sy * cp], dim=1),
        torch.stack([-sr * cy, cr * cp + sr * sy * sp, cr * sp - sr * sy * cp], dim=1),
        torch.stack([-sy, -cy * sp, cy * cp], dim=1),
    ]
    return torch.stack(rows, dim=1)


def pose_and_project(mesh: Mesh, shots: Sequence[Shot], size: int) -> Projected:
    """Turn heads and draw their vertices.

    Args:
        mesh: B heads.
        shots: B shots.
        size: width and height of the pictures, pixels.
    """
    device = mesh.vertices.device
    angles = torch.stack([column(shots, f"pose.{name}", device) for name in ("yaw", "pitch", "roll")], dim=1)
    rotation = rotations(angles)
    pivot, face = (mesh.vertices.new_tensor(point) for point in (PIVOT, FACE))
    offset = mesh.vertices - pivot
    chest = turned(rotations(angles * angles.new_tensor(CHEST)), offset)
    posed = torch.lerp(chest, turned(rotation, offset), mesh.turns[..., None])
    posed = posed - turned(rotation, (face - pivot).expand(len(shots), 1, 3))
    distance = column(shots, "camera.distance", device)
    focal = FRAMING * column(shots, "camera.scale", device) * distance * size
    middle = (column(shots, "camera.offset", device) + angles.new_tensor(CENTRE)) * size
    depth = distance[:, None] - posed[..., 2]
    zoom = focal[:, None] / depth
    x, y = middle[:, :1] + posed[..., 0] * zoom, middle[:, 1:] - posed[..., 1] * zoom
    screen = torch.stack([x, y, torch.where(mesh.enabled, depth, -1.0)], dim=-1)
    eye = torch.nn.functional.pad(distance[:, None], (2, 0))
    return Projected(mesh, posed, screen, normals(posed, mesh.triangles), eye, rotation, focal, middle)


def turned(rotation: Tensor, points: Tensor) -> Tensor:
    """(B, N, 3) points under (B, 3, 3) rotations, summed in an order that does not depend on the batch."""
    x, y, z = points[..., None].unbind(2)
    first, second, third = rotation[:, None].unbind(3)
    return first * x + second * y + third * z


def normals(vertices: Tensor, triangles: Tensor) -> Tensor:
    """(B, V, 3) unit normals, the mean of the triangles around weighted by area; z where they cancel out."""
    corners = [vertices.index_select(1, triangles[:, corner]) for corner in range(3)]
    area = torch.linalg.cross(corners[1] - corners[0], corners[2] - corners[0])
    total = torch.zeros_like(vertices)
    for corner in range(3):
        total.index_add_(1, triangles[:, corner], area)
    length = total.norm(dim=-1, keepdim=True)
    return torch.where(length > 1e-12, total / length.clamp(min=1e-12), total.new_tensor([0.0, 0.0, 1.0]))
