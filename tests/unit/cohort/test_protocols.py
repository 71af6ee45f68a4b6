"""Pair lists by factor: who is compared with whom."""

from __future__ import annotations

from collections import Counter

from stages.lib.cohort.basis import load_targets
from stages.lib.cohort.identity import sample_identity
from stages.lib.cohort.protocols import FACTORS, IMPOSTORS, factor_pairs
from stages.lib.cohort.shot import Ranges, Shot, sample_shot

PEOPLE, SHOTS = 30, 8


def people() -> list[list[Shot]]:
    identities = [sample_identity(load_targets(), 3, number) for number in range(PEOPLE)]
    ranges = Ranges(yaw_sd=40.0, mask_rate=0.3)
    return [[sample_shot(identity, number, ranges) for number in range(SHOTS)] for identity in identities]


def test_a_template_is_plain_and_nobodys_probe() -> None:
    shots = people()
    pairs = list(factor_pairs(shots))
    templates = {(t.identity, t.number) for _, t, _ in pairs}
    probes = {(p.identity, p.number) for _, _, p in pairs}
    assert len(templates) == len({identity for identity, _ in templates}) == PEOPLE
    assert not templates & probes
    for person in shots:
        template = next(t for _, t, _ in pairs if t.identity == person[0].identity)
        bare = [shot for shot in person if not shot.mask.worn]
        assert not template.mask.worn or not bare


def test_a_probe_meets_its_own_template_once_and_others() -> None:
    met = Counter((name, p.identity, p.number, t.identity == p.identity) for name, t, p in factor_pairs(people()))
    genuine = {key[:3]: count for key, count in met.items() if key[3]}
    impostor = {key[:3]: count for key, count in met.items() if not key[3]}
    assert set(genuine.values()) == {1}
    assert set(impostor.values()) == {min(IMPOSTORS, PEOPLE - 1)}
    assert set(genuine) == set(impostor)
    pairs = [(name, t.identity, p.identity, p.number) for name, t, p in factor_pairs(people())]
    assert len(set(pairs)) == len(pairs)


def test_probes_lie_in_their_bin() -> None:
    seen = set()
    for name, _, probe in factor_pairs(people()):
        seen.add(name)
        yaw = abs(probe.pose.yaw)
        assert probe.mask.worn == (name == "mask")
        if name.startswith("yaw"):
            low, high = (float(word) for word in name.split()[1::2])
            assert low <= yaw < high + (high == 90)
        else:
            assert yaw < 30
        if name.startswith("expression"):
            assert (probe.expression == "neutral") == name.endswith("neutral")
    assert seen == set(FACTORS)
