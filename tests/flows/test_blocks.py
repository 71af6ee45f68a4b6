"""The harder a picture is coded, the more it shows blocks, wherever they begin and whatever else befell it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from flows.blocks import MOST, blockiness
from flows.simulation.site import encode_jpeg
from stages.lib.codec import Pixels

MIDDLE = np.full((5, 2), 80.0, np.float32)
QUALITIES = (90, 70, 50, 30, 18, 8)


@pytest.fixture(scope="module")
def pictures() -> list[Pixels]:
    """Coarse and fine structure with the grain of a sensor, as no codec has seen it."""
    random = np.random.default_rng(1)
    found = []
    for _ in range(6):
        layers = [cv2.GaussianBlur(random.normal(size=(168, 168, 3)), (0, 0), width) for width in (2, 6, 20)]
        light = sum(layer / layer.std() for layer in layers)
        found.append(np.clip(127 + 18 * light + random.normal(0, 1.5, (168, 168, 3)), 0, 255).astype(np.uint8))
    return found


def coded(picture: Pixels, quality: int) -> Pixels:
    decoded = cv2.imdecode(np.frombuffer(encode_jpeg(picture, quality), np.uint8), cv2.IMREAD_COLOR_RGB)
    return decoded.astype(np.uint8)


def mean(pictures: list[Pixels]) -> float:
    return float(np.mean([blockiness(picture, MIDDLE) for picture in pictures]))


def test_harder_coding_shows_more_blocks(pictures: list[Pixels]) -> None:
    bare, by_quality = mean(pictures), [mean([coded(one, quality) for one in pictures]) for quality in QUALITIES]
    assert 0.0 <= bare < 0.15
    assert by_quality == sorted(by_quality) and by_quality[-2] > bare + 0.2


def test_a_crop_shows_them_as_well(pictures: list[Pixels]) -> None:
    hard = [coded(one, 18) for one in pictures]
    assert mean([np.ascontiguousarray(one[3:, 5:]) for one in hard]) == pytest.approx(mean(hard), rel=0.25)


def test_light_and_focus_are_no_blocks(pictures: list[Pixels]) -> None:
    soft = [cv2.GaussianBlur(one, (0, 0), 1.5) for one in pictures]
    dim = [(0.7 * one).astype(np.uint8) for one in pictures]
    plain, hard = mean([coded(one, 85) for one in pictures]), mean([coded(one, 18) for one in pictures])
    for other in (soft, dim):
        assert abs(mean([coded(one.astype(np.uint8), 85) for one in other]) - plain) < 0.5 * (hard - plain)


def test_a_flat_or_tiny_picture_has_none_and_a_huge_one_is_looked_at_near_the_face(pictures: list[Pixels]) -> None:
    assert blockiness(np.full((200, 300, 3), 127, np.uint8), MIDDLE) == 0.0
    assert blockiness(pictures[0][:12, :12], MIDDLE) == 0.0
    wide = np.random.default_rng(1).integers(0, 255, (1000, 1400, 3), np.uint8)
    other = wide.copy()
    other[:, MOST + 100 :] = 0
    assert blockiness(wide, MIDDLE) == blockiness(other, MIDDLE) > 0.0
    assert blockiness(wide, np.full((5, 2), np.nan, np.float32)) == blockiness(wide, np.zeros((5, 2), np.float32))
