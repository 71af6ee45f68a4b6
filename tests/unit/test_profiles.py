"""A profile sets exactly its keys, and `default` takes every one of them back."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from stages.lib.errors import ConfigError
from stages.params import MOVERS, PATH, load, read_yaml
from stages.profiles import apply, names, read

OTHERS = sorted(set(names()) - {"default"})


def keys(values: dict[str, Any], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for name, value in values.items():
        whole = name.endswith("=") or not isinstance(value, dict)
        found |= {prefix + name} if whole else keys(value, f"{prefix}{name}.")
    return found


@pytest.fixture
def params(tmp_path: Path) -> Path:
    return Path(shutil.copy(PATH, tmp_path / "params.yaml"))


@pytest.mark.parametrize("name", OTHERS)
def test_default_takes_back_what_a_profile_sets(params: Path, name: str) -> None:
    changes = apply(name, path=params)
    assert changes
    assert load(params) != load(PATH)
    assert set(apply("default", path=params)) == set(changes)
    assert params.read_text() == PATH.read_text()
    assert apply("default", path=params) == {}


@pytest.mark.parametrize("name", OTHERS)
def test_a_profile_sets_only_what_default_can_restore(name: str) -> None:
    assert keys(read(name)) <= keys(read("default"))


@pytest.mark.parametrize("name", names())
def test_comments_and_other_keys_survive(params: Path, name: str) -> None:
    params.write_text(params.read_text().replace("max_residual: 12.0", "max_residual: 7.5"))
    apply(name, path=params)
    assert load(params).align.max_residual == 7.5
    comments = [line.partition("#")[2] for line in PATH.read_text().splitlines() if "#" in line]
    assert [line.partition("#")[2] for line in params.read_text().splitlines() if "#" in line] == comments


def test_a_comment_of_ones_own_under_a_key_is_no_obstacle(params: Path) -> None:
    params.write_text(params.read_text().replace("students:\n", "students:\n  # mine\n"))
    apply("lfw", path=params)
    assert load(params).students["unified"].embedding == 512
    params.write_text("a: [")
    with pytest.raises(ConfigError, match=r"params\.yaml"):
        apply("lfw", path=params)


def test_a_profile_that_does_not_fit_leaves_the_file_alone(params: Path) -> None:
    with pytest.raises(ConfigError, match="no profile 'huge'"):
        apply("huge", path=params)
    document = read_yaml(params)
    del document["evaluate"]
    YAML(typ="safe", pure=True).dump(document, params)
    before = params.read_bytes()
    with pytest.raises(ConfigError, match=r"sets evaluate\.\w+, but .* has no 'evaluate'"):
        apply("lfw", path=params)
    assert params.read_bytes() == before
    assert [file.name for file in params.parent.iterdir()] == ["params.yaml"]


METHODS = {"mask": "mask", "pose": "pose", "lowres": "lowres_consistent"}
QUALITIES = {
    "quality": ("cr_fiqa_aikd", ("cr_fiqa", "in_place", "no_feature")),
    "quality-net": ("pair_aikd", ("pair", "pair_in_place", "pair_no_feature")),
}


@pytest.mark.parametrize(("method", "treatment"), METHODS.items())
def test_profiles_lie_one_over_another_the_last_on_top(params: Path, method: str, treatment: str) -> None:
    apply("lfw", "ablation", method, path=params)
    found = load(params)
    assert found.teach.adopt.contract == "symmetric_rgb"  # of lfw, whose grid gives way
    assert found.distill.seeds == (1, 2, 3)
    assert set(found.synthesize.grid) == {"low_resolution", "mask"}
    assert "plain" in found.students[treatment].controls
    assert found.reference.student == treatment


@pytest.mark.parametrize("method", QUALITIES)
def test_profiles_of_quality_have_a_grid_of_faces_in_place_and_askew(params: Path, method: str) -> None:
    apply("lfw", "ablation", method, path=params)
    found, (treatment, controls) = load(params), QUALITIES[method]
    assert found.distill.seeds == (1, 2, 3)
    assert set(found.synthesize.grid) == {"low_resolution", "blur", "mask", *MOVERS}
    assert set(found.students[treatment].controls) == set(controls)
    assert found.reference.student == treatment
