from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
import torch

from stages.lib.classes import Label
from stages.lib.degrade import OPERATORS, degrade, relabel, replay, training_variant
from stages.lib.degrade.mask import wear
from stages.lib.errors import ConfigError

EVERYTHING = dict.fromkeys(OPERATORS, 0.5)
CASES = [(name, level) for name, op in OPERATORS.items() for level in (None, 1, len(op.levels))]


@pytest.mark.parametrize(("operator", "level"), CASES)
def test_a_face_does_not_depend_on_its_batch(faces, operator, level) -> None:
    whole = degrade(faces.images[:7], faces.ids[:7], faces.landmarks[:7], operator, level, seed=3)
    order = np.array([4, 0, 6, 2, 5, 1, 3])
    ids = [faces.ids[i] for i in order]
    shuffled = degrade(faces.images[order], ids, faces.landmarks[order], operator, level, seed=3)
    assert torch.equal(shuffled.images, whole.images[order])
    for i in range(7):
        alone = degrade(faces.images[i : i + 1], [faces.ids[i]], faces.landmarks[i : i + 1], operator, level, seed=3)
        assert torch.equal(alone.images[0], whole.images[i])
        assert alone.params == [whole.params[i]]


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_change_no_pixel(faces, threads) -> None:
    before = torch.get_num_threads()
    reference = training_variant(faces.images, faces.ids, faces.landmarks, EVERYTHING, 1, 0)
    try:
        torch.set_num_threads(threads)
        again = training_variant(faces.images, faces.ids, faces.landmarks, EVERYTHING, 1, 0)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(again.images, reference.images)


def test_a_chain_does_not_depend_on_the_batch_either(faces) -> None:
    whole = training_variant(faces.images, faces.ids, faces.landmarks, EVERYTHING, seed=1, variant=2)
    for i in (0, 5, 11):
        one = slice(i, i + 1)
        alone = training_variant(faces.images[one], faces.ids[one], faces.landmarks[one], EVERYTHING, 1, 2)
        assert torch.equal(alone.images[0], whole.images[i])
        assert alone.params == whole.params[one]


@pytest.mark.parametrize("operator", OPERATORS)
def test_the_clean_faces_stay_as_they_are(faces, operator) -> None:
    before = faces.images.clone()
    degraded = degrade(faces.images, faces.ids, faces.landmarks, operator, len(OPERATORS[operator].levels), 1)
    assert torch.equal(faces.images, before)
    assert degraded.images.data_ptr() != faces.images.data_ptr()
    degraded.images.zero_()
    assert torch.equal(faces.images, before), "the degraded faces share memory with the clean ones"
    assert degraded.images.dtype == torch.uint8 and degraded.images.shape == faces.images.shape


@pytest.mark.parametrize("operator", OPERATORS)
def test_an_operator_itself_does_not_write_to_its_input(faces, operator) -> None:
    chosen = OPERATORS[operator]
    before = faces.images.clone()
    u = np.random.default_rng(0).random((12, chosen.draws))
    out = chosen.apply(faces.images, chosen.parameters(u, None), faces.landmarks)
    out.zero_()
    assert torch.equal(faces.images, before)


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_harder_severity_is_further_from_the_clean_face(faces, operator) -> None:
    levels = range(1, 1 + len(OPERATORS[operator].levels))
    distance = [
        float(
            (
                degrade(faces.images, faces.ids, faces.landmarks, operator, level, seed=1).images.double()
                - faces.images.double()
            )
            .abs()
            .mean()
        )
        for level in levels
    ]
    assert distance[0] > 0.5
    assert all(hard > 1.1 * mild for mild, hard in pairwise(distance)), distance


@pytest.mark.parametrize("operator", OPERATORS)
def test_severities_of_a_face_differ_only_in_what_the_level_fixes(faces, operator) -> None:
    chosen = OPERATORS[operator]
    mild, hard = (
        json.loads(degrade(faces.images, faces.ids, faces.landmarks, operator, level, 1).params[0])[0]
        for level in (1, len(chosen.levels))
    )
    fixed = set(chosen.levels[0])
    assert fixed == {name for name in mild if mild[name] != hard[name]}
    assert {name: hard[name] for name in fixed} == chosen.levels[-1]


def test_recorded_parameters_give_the_same_pixels(faces) -> None:
    made = training_variant(faces.images, faces.ids, faces.landmarks, EVERYTHING, seed=5, variant=0)
    recorded = json.loads(json.dumps(made.params))
    assert torch.equal(replay(faces.images, faces.landmarks, recorded), made.images)
    for operator in OPERATORS:
        single = degrade(faces.images, faces.ids, faces.landmarks, operator, 2, seed=5)
        assert torch.equal(replay(faces.images, faces.landmarks, single.params), single.images)


def test_steps_are_taken_in_the_order_in_which_they_were_recorded(faces) -> None:
    orders = [["jpeg", "blur", "exposure"], ["blur", "jpeg", "mask", "blur"], [], ["exposure"], ["noise", "jpeg"]]
    single = {
        name: [
            json.loads(chain)[0] for chain in degrade(faces.images, faces.ids, faces.landmarks, name, None, 2).params
        ]
        for name in OPERATORS
    }
    chains = [[single[name][face] for name in names] for face, names in enumerate(orders)]
    together = replay(faces.images[:5], faces.landmarks[:5], [json.dumps(chain) for chain in chains])
    for face, chain in enumerate(chains):
        alone = faces.images[face : face + 1]
        for step in chain:
            alone = replay(alone, faces.landmarks[face : face + 1], [json.dumps([step])])
        assert torch.equal(together[face], alone[0])


def test_seeds_and_variants_differ_and_repeat(faces) -> None:
    def made(seed: int, variant: int) -> torch.Tensor:
        return training_variant(faces.images, faces.ids, faces.landmarks, EVERYTHING, seed, variant).images

    first = made(1, 0)
    assert torch.equal(made(1, 0), first)
    assert not torch.equal(made(1, 1), first)
    assert not torch.equal(made(2, 0), first)


@pytest.mark.parametrize("added", ["occlusion", "wrong_landmarker", "box_only"])
def test_a_further_operator_leaves_the_draws_of_the_others_alone(faces, added) -> None:
    few = {name: 0.5 for name in OPERATORS if name != added}
    before = training_variant(faces.images, faces.ids, faces.landmarks, few, 1, 0)
    after = training_variant(faces.images, faces.ids, faces.landmarks, few | {added: 0.5}, 1, 0)
    hit = 0
    for face, chain in enumerate(map(json.loads, after.params)):
        others = [step for step in chain if step["operator"] != added]
        assert others == json.loads(before.params[face])
        hit += len(chain) > len(others)
        assert len(chain) > len(others) or torch.equal(after.images[face], before.images[face])
    assert 0 < hit < 12


def test_probabilities_are_kept_and_independent(faces) -> None:
    ids = [f"id{i}" for i in range(600)]
    images = torch.zeros(600, 3, 112, 112, dtype=torch.uint8)
    landmarks = np.broadcast_to(faces.landmarks[0], (600, 5, 2))
    made = training_variant(images, ids, landmarks, {"exposure": 0.3, "blur": 1.0, "jpeg": 0.0}, 1, 0)
    names = [[step["operator"] for step in json.loads(chain)] for chain in made.params]
    exposed = np.array(["exposure" in chain for chain in names])
    assert abs(exposed.mean() - 0.3) < 3 * np.sqrt(0.21 / 600)
    assert all(chain[-1] == "blur" for chain in names)
    assert not any("jpeg" in chain for chain in names)


def test_no_faces_and_no_operators_are_fine(faces) -> None:
    none = degrade(faces.images[:0], [], faces.landmarks[:0], "blur", 1, seed=1)
    assert none.images.shape == (0, 3, 112, 112) and none.params == []
    clean = training_variant(faces.images, faces.ids, faces.landmarks, {}, seed=1, variant=0)
    assert torch.equal(clean.images, faces.images) and set(clean.params) == {"[]"}


def test_wrong_settings_and_inputs_name_the_fault(faces) -> None:
    inputs = faces.images, faces.ids, faces.landmarks
    with pytest.raises(ConfigError, match=r"no degradation operator 'fog'.*blur"):
        degrade(*inputs, "fog", 1, seed=1)
    for level in (0, 9):
        with pytest.raises(ConfigError, match=f"blur: severity {level} is not in 1 to 4"):
            degrade(*inputs, "blur", level, seed=1)
    with pytest.raises(ConfigError, match=r"jpeg: probability 1\.5"):
        training_variant(*inputs, {"jpeg": 1.5}, seed=1, variant=0)
    with pytest.raises(ValueError, match="expected uint8"):
        degrade(faces.images.float() / 255, faces.ids, faces.landmarks, "blur", 1, seed=1)
    with pytest.raises(ValueError, match="landmarks must be finite"):
        degrade(faces.images, faces.ids, faces.landmarks * np.nan, "mask", 1, seed=1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("operator", ["exposure", "blur", "motion_blur", "low_resolution", "jpeg", "occlusion"])
def test_operators_in_whole_numbers_or_pixel_by_pixel_give_the_same_pixels_on_a_gpu(faces, operator) -> None:
    cpu, gpu = (degrade(faces.images, faces.ids, faces.landmarks, operator, 2, 1, d) for d in ("cpu", "cuda"))
    assert torch.equal(gpu.images.cpu(), cpu.images)


def test_a_segmentation_follows_its_face(faces) -> None:
    quarters = np.kron([[Label.HAIR, Label.SKIN], [Label.LIP, Label.CLOTH]], np.ones((56, 56))).astype(np.uint8)
    classes = torch.from_numpy(quarters).expand(12, -1, -1).contiguous()
    painted = (classes * 20)[:, None].expand(-1, 3, -1, -1).contiguous()  # the same quarters as pixels
    for operator in OPERATORS:
        done = degrade(painted, faces.ids, faces.landmarks, operator, len(OPERATORS[operator].levels), seed=1)
        seen = relabel(classes, faces.landmarks, done.params)
        if operator == "mask":
            worn = {
                key: np.array([json.loads(chain)[0][key] for chain in done.params]) for key in ("shape", "fit", "tint")
            }
            alpha = wear(painted, worn, faces.landmarks)[1][:, 0]
            assert torch.equal(seen == Label.MASK, alpha >= 0.5)
            assert 0.1 < (seen == Label.MASK).float().mean() < 0.6
            assert torch.equal(seen[alpha < 0.5], classes[alpha < 0.5])
        elif operator == "occlusion":
            changed = (done.images != painted).any(dim=1)
            assert changed[seen == Label.OCCLUDER].float().mean() > 0.95, "what is called so is seen"
            assert 0.1 < (seen == Label.OCCLUDER).float().mean() < 0.6
            assert torch.equal(seen[~changed & (seen != Label.OCCLUDER)], classes[~changed & (seen != Label.OCCLUDER)])
            assert (changed & (seen != Label.OCCLUDER)).float().mean() < 0.05, "a soft edge and no more"
        elif OPERATORS[operator].moves:
            agree = (seen * 20 == done.images[:, 0]).float().mean()  # all but the pixels that mix two quarters
            assert agree > 0.95 > (classes * 20 == done.images[:, 0]).float().mean()
        else:
            assert torch.equal(seen, classes)
    assert torch.equal(classes, torch.from_numpy(quarters).expand(12, -1, -1))
