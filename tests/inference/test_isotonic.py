from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from forestgaps_core.inference.isotonic import isotonic_regression, running_maximum

values = st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0, 1, width=32))


@st.composite
def maps(draw):
    planes, pixels = draw(st.integers(1, 8)), draw(st.integers(1, 6))
    numbers = draw(st.lists(values, min_size=planes * pixels, max_size=planes * pixels))
    return torch.tensor(numbers, dtype=torch.float32).reshape(1, planes, 1, pixels)


def pooled(column):
    """Pool adjacent violators, one pixel, in plain lines."""
    blocks = []
    for value in column:
        blocks.append([value, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (one, first), (other, second) = blocks[-2:]
            blocks[-2:] = [[(one * first + other * second) / (first + second), first + second]]
    return [value for value, count in blocks for _ in range(count)]


@given(maps())
def test_it_is_pool_adjacent_violators_at_every_pixel(given_map):
    found = isotonic_regression(given_map)
    for pixel in range(given_map.shape[-1]):
        assert found[0, :, 0, pixel].tolist() == pytest.approx(pooled(given_map[0, :, 0, pixel].tolist()), abs=1e-6)


@given(maps())
def test_it_never_falls_keeps_the_mean_and_changes_nothing_twice(given_map):
    found = isotonic_regression(given_map)
    assert (found.diff(dim=1) >= 0).all()
    assert found.mean(1) == pytest.approx(given_map.mean(1), abs=1e-6)
    assert torch.equal(isotonic_regression(found), found)
    assert found.min() >= given_map.min() - 1e-6
    assert found.max() <= given_map.max() + 1e-6


@given(maps())
def test_what_is_monotone_keeps_its_bits(given_map):
    nested = given_map.sort(1).values
    assert torch.equal(isotonic_regression(nested), nested)


@given(maps())
def test_the_running_maximum_is_that_of_torch(given_map):
    assert torch.equal(running_maximum(given_map.clone()), given_map.cummax(1).values)


def test_it_is_nearer_than_the_running_maximum():
    one_spike = torch.tensor([0.1, 0.9, 0.2, 0.3])[None, :, None, None]
    found = isotonic_regression(one_spike).flatten()
    assert found.tolist() == pytest.approx([0.1, 1.4 / 3, 1.4 / 3, 1.4 / 3])
    assert (found - one_spike.flatten()).square().sum() < (one_spike.cummax(1).values - one_spike).square().sum()


def test_it_agrees_with_scikit_learn_over_a_batch():
    reference = pytest.importorskip("sklearn.isotonic").isotonic_regression
    noisy = torch.rand((2, 10, 5, 7), generator=torch.Generator().manual_seed(0))
    found = isotonic_regression(noisy).movedim(1, -1).reshape(-1, 10)
    for row, expected in zip(found, noisy.movedim(1, -1).reshape(-1, 10), strict=True):
        assert row.tolist() == pytest.approx(reference(expected.double().numpy()).tolist(), abs=1e-6)
