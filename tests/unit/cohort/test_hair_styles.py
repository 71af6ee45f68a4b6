"""Growth tables of every style."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stages.lib.cohort.appearance import Hair
from stages.lib.cohort.hair_styles import AZIMUTHS, NODES, STYLES, grow, style_weights

HAIR = Hair("short", (0.1, 0.1, 0.1), 0.0, 0.0, 1.0, 1, (0.2, 0.2, 0.2), 0.0)


@pytest.mark.parametrize("style", STYLES)
def test_tables_are_whole_for_every_style(style: str) -> None:
    for seed in range(30):
        growth = grow(replace(HAIR, style=style, seed=seed))
        assert growth.displacement.shape == (AZIMUTHS, NODES)
        for table in (growth.hairline, growth.tip, growth.thickness, growth.ragged):
            assert table.shape == (AZIMUTHS,)
        for table in (growth.hairline, growth.tip, growth.thickness, growth.ragged, growth.displacement):
            assert table.dtype == np.float32 and np.isfinite(table).all()
        assert (growth.thickness > 0).all() and growth.thickness.max() < 0.6
        assert (np.abs(growth.hairline) < 75).all() and growth.tip.max() <= 7.75


def test_same_seed_same_hair_and_receding_lifts_the_front() -> None:
    assert grow(HAIR) is grow(replace(HAIR))
    front = AZIMUTHS // 2
    assert grow(replace(HAIR, hairline=-0.15)).hairline[front] > grow(HAIR).hairline[front] + 5


def test_hair_that_falls_leaves_the_face_open() -> None:
    azimuth = np.abs(np.linspace(-180, 180, AZIMUTHS, endpoint=False))
    tip = grow(replace(HAIR, style="long")).tip
    assert (tip[azimuth < 50] < 0).all() and (tip[azimuth > 120] > 0).all()


def test_styles_suit_the_person() -> None:
    straight_man = style_weights(STYLES, 0.9, 0.2, curled=False)
    curly_woman = style_weights(STYLES, 0.1, 0.2, curled=True)
    assert straight_man["afro"] == straight_man["bob"] == 0 < straight_man["short"]
    assert curly_woman["afro"] > 0 == curly_woman["bob"]
    assert style_weights(STYLES, 0.9, 0.9, False)["horseshoe"] > straight_man["horseshoe"]


def test_unknown_style_is_named() -> None:
    with pytest.raises(ValueError, match="mohawk"):
        grow(replace(HAIR, style="mohawk"))
