"""What readers are told about severities and classes is what operators and labels are."""

from __future__ import annotations

import re

import pytest

from stages.lib.classes import Label
from stages.lib.degrade import OPERATORS
from stages.lib.report import words
from stages.lib.report.sheet import CLASSES

NUMBER = {
    "noise": None,
    "mask": None,
    "occlusion": None,
    "wrong_landmarker": None,
}  # told as an effect, not the setting


@pytest.mark.parametrize("name", [name for name in OPERATORS if name not in NUMBER])
def test_severities_are_told_in_the_unit_of_the_operator(name: str) -> None:
    told = [float(number) for number in re.findall(r"[0-9.]+[0-9]|[0-9]", words.OPERATORS[name])]
    assert told[: len(OPERATORS[name].levels)] == [next(iter(level.values())) for level in OPERATORS[name].levels]


def test_every_operator_has_words() -> None:
    assert set(words.OPERATORS) == {*OPERATORS, "clean"}


def test_every_class_of_the_segmentation_has_a_colour() -> None:
    assert list(CLASSES) == [label.name.lower() for label in Label]
