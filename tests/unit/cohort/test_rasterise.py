from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from stages.lib.cohort.rasterise import REACH, SUBPIXELS, rasterise

HEIGHT, WIDTH = 23, 31


@pytest.fixture
def soup() -> tuple[Tensor, Tensor]:
    """(2, V, 3) screen positions, some of them off the picture or behind the camera, and triangles among them."""
    generator = torch.Generator().manual_seed(3)
    low, span = torch.tensor([-8.0, -8.0, -1.0]), torch.tensor([46.0, 38.0, 9.0])
    screen = low + span * torch.rand(2, 40, 3, generator=generator)
    return screen, torch.randint(0, 40, (90, 3), generator=generator)


def by_hand(corners: list[list[float]], x: float, y: float) -> tuple[float, float] | None:
    """Depth by inverse interpolation, and the distance to the nearest edge relative to the triangle."""
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = corners
    area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
    if area == 0 or min(az, bz, cz) <= 0:
        return None
    u = ((bx - x) * (cy - y) - (cx - x) * (by - y)) / area
    v = ((cx - x) * (ay - y) - (ax - x) * (cy - y)) / area
    w = 1 - u - v
    return (1 / (u / az + v / bz + w / cz), min(u, v, w)) if min(u, v, w) >= 0 else None


def test_every_pixel_shows_the_nearest_triangle(soup: tuple[Tensor, Tensor]) -> None:
    screen, triangles = soup
    raster = rasterise(screen, triangles, HEIGHT, WIDTH)
    snapped = screen.double().clone()
    snapped[..., :2] = (snapped[..., :2] * SUBPIXELS).round() / SUBPIXELS
    compared = 0
    for image, row, column in itertools.product(range(2), range(HEIGHT), range(0, WIDTH, 3)):
        seen = {
            face: found
            for face, corners in enumerate(triangles.tolist())
            if (found := by_hand(snapped[image, corners].tolist(), column + 0.5, row + 0.5))
        }
        if any(inside == 0 for _, inside in seen.values()):
            continue  # centres on an edge belong to one side only
        compared += 1
        nearest = min(seen, key=lambda face: seen[face][0], default=-1)
        assert raster.triangle[image, row, column] == nearest
        expected = seen[nearest][0] if seen else np.inf
        assert float(raster.depth[image, row, column]) == pytest.approx(expected, rel=1e-5)
    assert compared > 400


def test_a_picture_does_not_depend_on_its_batch(soup: tuple[Tensor, Tensor]) -> None:
    screen, triangles = soup
    both, alone = rasterise(screen, triangles, HEIGHT, WIDTH), rasterise(screen[1:], triangles, HEIGHT, WIDTH)
    assert torch.equal(both.triangle[1], alone.triangle[0])
    assert torch.equal(both.depth[1], alone.depth[0])
    assert torch.equal(both.barycentric[both.image == 1], alone.barycentric)


def test_neighbours_share_no_pixel_and_leave_no_crack() -> None:
    fan = torch.tensor([[[4.5, 4.5], [0, 0], [9, 0], [9, 9], [0, 9]]])
    screen = torch.cat([fan, torch.ones(1, 5, 1)], dim=2)
    triangles = torch.tensor([[0, 1, 2], [0, 2, 3], [0, 4, 3], [0, 4, 1]])
    covered = [rasterise(screen, face[None], 9, 9).triangle[0] >= 0 for face in triangles]
    assert torch.equal(torch.stack(covered).sum(0), torch.ones(9, 9, dtype=torch.int64))


def test_slivers_and_wild_vertices_give_finite_weights() -> None:
    generator = torch.Generator().manual_seed(5)
    ends = 20 * torch.rand(2, 500, 3, generator=generator) + 0.5
    third = torch.lerp(*ends, 0.3) + 0.05 * torch.randn(500, 3, generator=generator)
    slivers = torch.stack([*ends, third], dim=1).view(1, -1, 3)
    wild = torch.tensor([[[torch.nan, 1, 1], [torch.inf, 2, 1], [3, 1e30, 1], [0, 0, 1], [9, 0, torch.nan], [5, 9, 1]]])
    spread = torch.tensor([[[1, 1, 2], [19, 2, 2], [18.99, 2.03, 2]]])
    screen = torch.cat([slivers, wild, spread], dim=1)
    raster = rasterise(screen, torch.arange(screen.shape[1]).view(-1, 3), 20, 20)
    assert len(raster.hit) > 20
    assert torch.isfinite(raster.barycentric).all() and raster.barycentric.min() >= 0
    assert torch.allclose(raster.barycentric.sum(1), torch.ones(len(raster.hit)))
    assert torch.isfinite(raster.depth.view(-1)[raster.hit]).all()


def test_backs_are_left_out_where_asked() -> None:
    screen = torch.tensor([[[0.0, 8, 1], [8, 8, 1], [0, 0, 1]]])
    front, back = torch.tensor([[0, 1, 2]]), torch.tensor([[0, 2, 1]])
    cull = torch.tensor([True])
    assert (rasterise(screen, front, 8, 8, cull).triangle >= 0).any()
    assert (rasterise(screen, back, 8, 8, cull).triangle == -1).all()
    assert (rasterise(screen, back, 8, 8, ~cull).triangle >= 0).any()


def test_a_triangle_beyond_reach_is_left_out_and_one_within_is_exact() -> None:
    for side, seen in ((REACH, True), (REACH + 1, False)):
        screen = torch.tensor([[[0.0, 0, 1], [side, 0, 1], [0, side, 1]]])
        raster = rasterise(screen, torch.tensor([[0, 1, 2]]), REACH, REACH)
        assert int((raster.triangle >= 0).sum()) == (REACH * (REACH - 1) // 2 if seen else 0)


def test_interpolation_takes_values_of_the_image() -> None:
    screen = torch.tensor([[[0.0, 8, 1], [8, 8, 1], [0, 0, 1]]]).repeat(2, 1, 1)
    triangles = torch.tensor([[0, 1, 2]])
    raster = rasterise(screen, triangles, 8, 8)
    values = torch.tensor([1.0, 5.0])[:, None, None].expand(2, 3, 1)
    assert torch.allclose(raster.interpolate(values, triangles)[:, 0], values[raster.image, 0, 0])
    place = raster.interpolate(screen[0, :, :2], triangles)
    within = raster.hit % 64
    assert torch.allclose(place, torch.stack([within % 8 + 0.5, within // 8 + 0.5], dim=1), atol=1e-5)
