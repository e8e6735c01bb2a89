from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from forestgaps_core.runtime.rng import mix, random_numbers, uniform

WORD = 2**64


def splitmix64_slowly(x):
    """One step of the published algorithm, in Python's integers."""
    z = (x + 0x9E3779B97F4A7C15) % WORD
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % WORD
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % WORD
    return z ^ (z >> 31)


def test_the_first_numbers_are_those_published_for_seed_1234567():
    states = torch.tensor([1234567, 1234567 + 0x9E3779B97F4A7C15 - WORD])
    assert [value % WORD for value in mix(states).tolist()] == [6457827717110365317, 3203168211198807973]


@given(st.integers(-(2**63), 2**63 - 1))
def test_mixing_equals_the_published_algorithm(x):
    assert mix(torch.tensor([x])).item() % WORD == splitmix64_slowly(x % WORD)


def test_samples_epochs_and_seeds_draw_differently():
    index = torch.arange(1000)
    everything = torch.cat([random_numbers(seed, epoch, index) for seed in (0, 1) for epoch in (0, 1)])
    assert len(everything.unique()) == 4000


def test_a_draw_depends_on_nothing_but_seed_epoch_and_index():
    whole = random_numbers(3, 2, torch.arange(100))
    assert torch.equal(random_numbers(3, 2, torch.tensor([77, 5])), whole[[77, 5]])


def test_uniform_numbers_are_uniform_and_streams_independent():
    draw = random_numbers(0, 0, torch.arange(20_000))
    one, two = uniform(draw, "crop", 2), uniform(draw, "tilt", 2)
    numbers = torch.stack([one[:, 0], one[:, 1], two[:, 0], two[:, 1]])
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert (numbers.mean(1) - 0.5).abs().max() < 0.01
    correlation = torch.corrcoef(numbers) - torch.eye(4)
    assert correlation.abs().max() < 0.03
    counts = torch.histc(one[:, 0], 20, 0, 1)
    assert ((counts - 1000).abs() < 5 * 1000**0.5).all()
