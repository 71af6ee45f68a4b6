"""A batched z-buffer in plain torch: which triangle each pixel of each picture sees.

Vertices are snapped to a fraction of a pixel and edges are evaluated in integers, as graphics hardware does.
So coverage is exact: neighbouring triangles leave no crack and share no pixel, slivers and zero areas cover
nothing, barycentric coordinates are never negative, and a picture does not depend on the rest of its batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

SUBPIXELS: Final = 32
"""Steps of a pixel that vertices are snapped to."""
REACH: Final = 512
"""Triangles wider or higher than this many pixels are left out, so that edges fit 32-bit integers."""
TRIANGLE_BITS: Final = 20
NEARNESS_SCALE: Final = float(1 << 30)


@dataclass(frozen=True)
class Raster:
    """What each pixel sees; N pixels see something.

    Attributes:
        triangle: (B, H, W) int64 row of the triangles, -1 where there is none.
        depth: (B, H, W) depth of the surface, inf where there is none.
        hit: (N,) int64, rising: flat index into (B, H, W) of the pixels that see a triangle.
        image: (N,) int64, their image in the batch.
        hit_triangle: (N,) int64, their triangle.
        barycentric: (N, 3) perspective-correct weights of its corners; at least 0, sum 1.
    """

    triangle: Tensor
    depth: Tensor
    hit: Tensor
    image: Tensor
    hit_triangle: Tensor
    barycentric: Tensor

    def interpolate(self, values: Tensor, triangles: Tensor) -> Tensor:
        """A vertex attribute at the pixels that see something.

        Args:
            values: (B, V, C) or, where all images share it, (V, C).
            triangles: (F, 3) as rasterised.

        Returns:
            (N, C).
        """
        corners = triangles[self.hit_triangle]
        if values.dim() == 3:
            corners = corners + (self.image * values.shape[1])[:, None]
            values = values.flatten(0, 1)
        weight = self.barycentric
        first, second, third = (values.index_select(0, corners[:, corner]) for corner in range(3))
        return first * weight[:, :1] + second * weight[:, 1:2] + third * weight[:, 2:]


@dataclass(frozen=True)
class _Setup:
    """K triangles that may be seen: corner positions, edge functions and box of pixels.

    Attributes:
        image, triangle: (K,) int64.
        left, top, columns, rows: (K,) int32 box of pixels.
        area: (K,) int32, twice the area; positive.
        edges: (K, 7) int32: for corners 0 and 1 the change of the edge function for a step right and down and its
            value at the first pixel, biased by the fill rule; then the sum of all three biased functions.
        nearness: (K, 3) inverse depth of the corners.
    """

    image: Tensor
    triangle: Tensor
    left: Tensor
    top: Tensor
    columns: Tensor
    rows: Tensor
    area: Tensor
    edges: Tensor
    nearness: Tensor


def rasterise(screen: Tensor, triangles: Tensor, height: int, width: int, cull: Tensor | None = None) -> Raster:
    """Project triangles on pixels and keep the nearest.

    Depth is interpolated as a pinhole camera does, through its inverse; of an orthographic view it is right to
    d^2 / 4z, d being the depth a triangle spans at depth z. Equal depths go to the higher triangle.

    Args:
        screen: (B, V, 3) x and y in pixels, y down, pixel centres at halves; depth, positive before the camera.
            A triangle with a corner at depth 0 or less, or not finite, is left out: so parts are switched off.
        triangles: (F, 3) int64 corners, F below 2^20.
        height: of the pictures, pixels.
        width: of the pictures, pixels.
        cull: (F,) bool: triangles to leave out where their back is seen. A front runs counter-clockwise to
            a viewer.

    Returns:
        The raster.
    """
    batch, device = screen.shape[0], screen.device
    buffer = torch.full((batch * height * width,), -1, dtype=torch.int64, device=device)
    setup = _set_up(screen.detach(), triangles, height, width, cull)
    pixel, key = _candidates(setup, height, width)
    buffer.scatter_reduce_(0, pixel, key, "amax")
    seen = buffer >= 0
    hit = torch.nonzero(seen).squeeze(1)
    triangle = torch.where(seen, buffer & ((1 << TRIANGLE_BITS) - 1), -1)
    image = torch.div(hit, height * width, rounding_mode="floor")
    hit_triangle = triangle[hit]
    weight, hit_depth = _barycentric(screen, triangles[hit_triangle], hit, image, height, width)
    depth = torch.full((batch * height * width,), torch.inf, dtype=screen.dtype, device=device)
    depth[hit] = hit_depth
    shape = (batch, height, width)
    return Raster(triangle.view(shape), depth.view(shape), hit, image, hit_triangle, weight)


def _snap(position: Tensor) -> Tensor:
    """Pixels to whole steps; what lies far outside is moved to the rim of what integers hold."""
    limit = float(1 << 18)
    return (position * SUBPIXELS).nan_to_num(limit, limit, -limit).clamp(-limit, limit).round().to(torch.int32)


def _set_up(screen: Tensor, triangles: Tensor, height: int, width: int, cull: Tensor | None) -> _Setup:
    """Edge functions of the triangles whose box holds a pixel centre. Images run last: rows copy quickly."""
    corners, batch = triangles.t().reshape(-1), screen.shape[0]
    x, y = (_snap(screen[..., axis].t()).index_select(0, corners).view(3, -1) for axis in (0, 1))
    depth = screen[..., 2].t()
    nearness = torch.where((depth > 0) & depth.isfinite(), depth.reciprocal(), 0.0)
    nearness = nearness.index_select(0, corners).view(3, -1)
    boxes = [*_span(x, width), *_span(y, height)]
    keep = (boxes[1] > 0) & (boxes[3] > 0) & (nearness.amin(0) > 0)
    kept = torch.nonzero(keep).squeeze(1)
    area = _cross(x[:, kept], y[:, kept])
    solid = area != 0
    if cull is not None:
        solid &= (area < 0) | ~cull[torch.div(kept, batch, rounding_mode="floor")]
    kept, area = kept[solid], area[solid]
    left, columns, top, rows = (values[kept] for values in boxes)
    edges = _edges(x[:, kept], y[:, kept], area, left, top)
    triangle = torch.div(kept, batch, rounding_mode="floor")
    return _Setup(kept - triangle * batch, triangle, left, top, columns, rows, area.abs(), edges, nearness[:, kept].t())


def _span(position: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """First pixel whose centre lies between the corners, and how many do; none for too large a triangle."""
    low, high = position.amin(0), position.amax(0)
    half, shift = SUBPIXELS // 2, SUBPIXELS.bit_length() - 1
    first = ((low + (half - 1)) >> shift).clamp_(min=0)
    last = ((high - half) >> shift).clamp_(max=size - 1)
    return first, torch.where(high - low <= REACH * SUBPIXELS, last - first + 1, 0)


def _cross(x: Tensor, y: Tensor) -> Tensor:
    return (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])


def _edges(x: Tensor, y: Tensor, area: Tensor, left: Tensor, top: Tensor) -> Tensor:
    """The edge functions of `_Setup.edges`: positive inside whichever way the triangle runs.

    A pixel centre on an edge belongs to the triangle to the right of the edge or below it; the others lose it
    by a bias of one step (Pineda, A Parallel Algorithm for Polygon Rasterization, 1988).
    """
    sign = area.sign()
    centre_x = left * SUBPIXELS + SUBPIXELS // 2
    centre_y = top * SUBPIXELS + SUBPIXELS // 2
    columns, total = [], area.abs()
    for corner in range(3):
        start, end = (corner + 1) % 3, (corner + 2) % 3
        right = (y[start] - y[end]) * sign
        down = (x[end] - x[start]) * sign
        owns = (right > 0) | ((right == 0) & (down > 0))
        bias = torch.where(owns, 0, -1).to(area.dtype)
        total = total + bias
        value = right * (centre_x - x[start]) + down * (centre_y - y[start]) + bias
        columns += [right * SUBPIXELS, down * SUBPIXELS, value]
    return torch.stack([*columns[:6], total], dim=1)


def _candidates(setup: _Setup, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Pixels inside triangles: flat index into (B, H, W), and a key that is larger the nearer the triangle."""
    count = (setup.columns * setup.rows).long()
    row = torch.repeat_interleave(torch.arange(len(count), device=count.device), count)
    within = torch.arange(len(row), device=count.device) - (torch.cumsum(count, 0) - count)[row]
    columns = setup.columns[row]
    within = within.to(torch.int32)
    down = torch.div(within, columns, rounding_mode="floor")
    right = within - down * columns
    edges = setup.edges[row]
    first = edges[:, 0] * right + edges[:, 1] * down + edges[:, 2]
    second = edges[:, 3] * right + edges[:, 4] * down + edges[:, 5]
    third = edges[:, 6] - first - second
    inside = torch.nonzero((first | second | third) >= 0).squeeze(1)
    row, right, down = row[inside], right[inside], down[inside]
    weights = torch.stack([first[inside], second[inside], third[inside]], dim=1) / setup.area[row, None]
    nearness = (weights * setup.nearness[row]).sum(1)
    key = ((nearness * NEARNESS_SCALE).long() << TRIANGLE_BITS) | setup.triangle[row]
    pixel = (setup.image[row] * height + (setup.top[row] + down)) * width + (setup.left[row] + right)
    return pixel, key


def _barycentric(
    screen: Tensor, corners: Tensor, hit: Tensor, image: Tensor, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """Perspective-correct (N, 3) weights and (N,) depth at the pixels hit, from the snapped corners."""
    place = screen.flatten(0, 1).index_select(0, (corners + (image * screen.shape[1])[:, None]).view(-1))
    place = place.view(-1, 3, 3)
    within = hit - image * (height * width)
    down = torch.div(within, width, rounding_mode="floor")
    centre = torch.stack([within - down * width, down], dim=1).to(torch.int32) * SUBPIXELS + SUBPIXELS // 2
    x, y = (_snap(place[:, :, axis]) - centre[:, axis, None] for axis in (0, 1))
    areas = torch.stack([x[:, i] * y[:, j] - x[:, j] * y[:, i] for i, j in ((1, 2), (2, 0), (0, 1))], dim=1)
    flat = areas.abs().to(screen.dtype)
    flat = flat / flat.sum(1, keepdim=True)
    weight = flat / place[..., 2]
    nearness = weight.sum(1, keepdim=True)
    return weight / nearness, nearness.squeeze(1).reciprocal()
