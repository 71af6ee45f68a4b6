from __future__ import annotations

import numpy as np
import pytest
import torch

from stages.lib.cohort.noise import LATTICE, hash_normal, hash_uniform, hash_words, value_noise

WORD = (1 << 32) - 1


def mixed(word: int) -> int:
    word ^= word >> 16
    word = word * 0x7FEB352D & WORD
    word ^= word >> 15
    word = word * 0x2C1B3C6D & WORD
    return word ^ word >> 16


def test_words_are_those_of_a_plain_loop() -> None:
    seeds = [0, 1, 2**31 - 1, 2**40 + 17]
    words = hash_words(torch.tensor(seeds), 5)
    for row, seed in enumerate(seeds):
        key = mixed(mixed(seed & WORD) ^ (seed >> 32 & WORD))
        expected = [mixed(mixed(count * 0x1E3779B9 & WORD) ^ key) for count in range(5)]
        assert words[row].tolist() == expected


def test_golden_words_do_not_move() -> None:
    assert hash_words(torch.tensor([42]), 3).tolist() == [[3430700919, 1770152016, 477956911]]


def test_uniform_and_normal_have_their_moments() -> None:
    uniform = hash_uniform(torch.tensor([3]), 200_000)[0].double()
    normal = hash_normal(torch.tensor([3]), 200_001)[0].double()
    assert len(normal) == 200_001
    assert uniform.min() >= 0.0 and uniform.max() < 1.0
    assert uniform.mean().item() == pytest.approx(0.5, abs=3e-3)
    assert uniform.var().item() == pytest.approx(1 / 12, abs=1e-3)
    assert normal.mean().item() == pytest.approx(0.0, abs=0.01)
    assert normal.var().item() == pytest.approx(1.0, abs=0.015)
    assert (normal**4).mean().item() == pytest.approx(3.0, abs=0.12)


def test_no_correlation_of_neighbours_rows_or_seeds() -> None:
    count, side = 112 * 112, 112
    numbers = hash_normal(torch.arange(1000, 1064), count).double()
    bound = 5 / count**0.5
    for lag in (1, 2, 3, side, side + 1):
        assert (numbers[:, lag:] * numbers[:, :-lag]).mean(1).abs().max() < bound
    assert (numbers[1:] * numbers[:-1]).mean(1).abs().max() < bound
    spectrum = np.abs(np.fft.fft2(numbers[0].view(side, side).numpy())) ** 2 / count
    assert spectrum.max() < 20, "a peak in the spectrum is a pattern one can see"


def test_rows_depend_on_their_own_seed_alone() -> None:
    seeds = torch.tensor([5, 9, 123_456_789])
    together = hash_uniform(seeds, 64)
    for row, seed in enumerate(seeds):
        assert torch.equal(together[row], hash_uniform(seed[None], 64)[0])
        assert torch.equal(together[row, :10], hash_uniform(seed[None], 10)[0])


def test_value_noise_is_periodic_smooth_and_centred() -> None:
    points = torch.rand(4000, 3, generator=torch.Generator().manual_seed(0)) * 40 - 20
    noise = value_noise(points, 0.5)
    assert noise.shape == (4000, 4)
    assert noise.mean(0).abs().max() < 0.05
    assert ((noise.var(0) > 0.2) & (noise.var(0) < 0.4)).all()
    torch.testing.assert_close(value_noise(points + 2.0, 0.5), noise, atol=2e-3, rtol=0)
    step = 1e-3
    assert (value_noise(points + step, 0.5) - noise).abs().max() < 12 * 0.5 * LATTICE * step
