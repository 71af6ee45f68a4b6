from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from pydantic import ValidationError

from stages.lib.models.contract import (
    OF_TEACHER,
    PRESETS,
    SERVED_INPUT,
    Contract,
    InputContract,
    OcclusionContract,
    QualityContract,
    ScoreContract,
    Technique,
    Threshold,
)
from stages.params import Quality

FACES = np.random.default_rng(3).integers(0, 256, (2, 112, 112, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_prepare_is_the_declared_mapping_of_every_pixel(name: str) -> None:
    contract = PRESETS[name]
    side = contract.size
    faces = FACES[:, :side, :side]
    prepared = contract.prepare(faces)
    assert prepared.dtype == np.float32
    assert prepared.flags.c_contiguous
    for face, y, x in ((0, 0, 0), (1, side - 1, 5), (1, 30, side - 1)):
        for channel in range(3):
            source = channel if contract.colour == "rgb" else 2 - channel
            wanted = (float(faces[face, y, x, source]) * contract.scale - contract.mean) / contract.std
            place = (face, channel, y, x) if contract.layout == "nchw" else (face, y, x, channel)
            assert prepared[place] == pytest.approx(wanted, abs=1e-5)


def test_the_ranges_are_what_the_names_say() -> None:
    extremes = np.zeros((2, 112, 112, 3), np.uint8)
    extremes[1] = 255
    for name, bounds in {"raw_rgb": (0, 255), "unit_rgb": (0, 1), "symmetric_rgb": (-1, 1)}.items():
        prepared = PRESETS[name].prepare(extremes)
        assert (prepared.min(), prepared.max()) == pytest.approx(bounds, abs=1e-6)


def test_served_models_take_the_pixels_as_they_are() -> None:
    np.testing.assert_array_equal(SERVED_INPUT.prepare(FACES), FACES)


@pytest.mark.parametrize("faces", [FACES[0], FACES.astype(np.float32), FACES[:, :100], FACES.transpose(0, 3, 1, 2)])
def test_other_faces_are_refused(faces: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected uint8"):
        SERVED_INPUT.prepare(faces)


def test_a_contract_survives_json_and_stays_closed() -> None:
    contract = Contract(
        name="student",
        version="1",
        input=InputContract(scale=1 / 255, mean=0.5, std=0.5),
        score=ScoreContract(dim=128),
        thresholds={"1e-3": Threshold(cosine=0.31, impostor_pairs=20_000, people=30)},
        licence="MIT",
        hashes={"weights": "ab"},
    )
    assert Contract.model_validate_json(contract.model_dump_json()) == contract
    with pytest.raises(ValidationError):
        Contract.model_validate({**contract.model_dump(), "colour": "rgb"})
    with pytest.raises(ValidationError):
        InputContract(std=0.0)


def test_a_contract_of_before_there_were_maps_and_integers_is_read() -> None:
    old = {"name": "student", "version": "1", "input": {}, "score": {"dim": 8}, "licence": "MIT"}
    contract = Contract.model_validate({**old, "schema_version": 1, "outputs": ["embedding", "norm"]})
    assert (contract.precision, contract.occlusion, contract.quality) == ("fp32", None, None)
    assert contract.output_shapes == {"embedding": (8,), "norm": ()}


def test_outputs_are_those_that_the_contract_explains() -> None:
    about = {
        "name": "student",
        "version": "1",
        "input": InputContract(),
        "score": ScoreContract(dim=8),
        "licence": "MIT",
    }
    seeing = Contract(
        **about, outputs=("embedding", "norm", "occlusion"), occlusion=OcclusionContract(rows=7, columns=7)
    )
    assert list(seeing.output_shapes.values()) == [(8,), (), (7, 7)]
    quality = QualityContract(technique="pair")
    grading = Contract(**about, outputs=("embedding", "norm", "quality"), quality=quality)
    assert list(grading.output_shapes.values()) == [(8,), (), ()]
    for outputs, occlusion in ((seeing.outputs, None), (("embedding", "norm"), seeing.occlusion), (("norm",), None)):
        with pytest.raises(ValidationError, match="the contract explains"):
            Contract(**about, outputs=outputs, occlusion=occlusion)


def test_params_offer_the_techniques_that_a_contract_can_name() -> None:
    """Params write them once more, since they load no library of numbers."""
    named = get_args(Technique)
    assert get_args(Quality.model_fields["technique"].annotation) == named
    assert {technique for technique in named if technique.startswith("teacher_")} == OF_TEACHER


@pytest.mark.parametrize(("technique", "told"), [("ser_fiq", "quality"), ("teacher_pair", "norm"), (None, "norm")])
def test_the_norm_tells_where_no_other_output_is_of_the_models_own(technique: Technique | None, told: str) -> None:
    outputs = ("embedding", "norm", "quality") if technique else ("embedding", "norm")
    contract = Contract(
        name="student",
        version="1",
        input=SERVED_INPUT,
        score=ScoreContract(dim=8),
        outputs=outputs,
        quality=technique and QualityContract(technique=technique),
        licence="MIT",
    )
    assert contract.own_quality == told
