from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from forestgaps_models.drop_path import DropPath, compute_depth_shares, set_drop_path


@settings(deadline=None)
@given(rate=st.floats(0.05, 0.9), seed=st.integers(0, 1000))
def test_each_sample_is_dropped_whole_or_scaled(rate: float, seed: int) -> None:
    torch.manual_seed(seed)
    out = DropPath(rate=rate)(torch.ones(64, 3, 2, 2))
    samples = out.flatten(1)
    assert (samples == samples[:, :1]).all()
    kept = samples[:, 0] > 0
    torch.testing.assert_close(samples[kept, 0], torch.full((int(kept.sum()),), 1 / (1 - rate)))


def test_the_expectation_stays() -> None:
    torch.manual_seed(0)
    out = DropPath(rate=0.3)(torch.ones(100_000, 1))
    # The mean of so many has a standard error of sqrt(0.3 / 0.7 / 1e5) = 0.002.
    assert out.mean().item() == pytest.approx(1.0, abs=0.01)
    assert (out == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)


def test_evaluation_and_rate_zero_change_nothing() -> None:
    x = torch.randn(8, 3)
    assert torch.equal(DropPath(rate=0.5).eval()(x), x)
    assert torch.equal(DropPath()(x), x)
    assert torch.equal(DropPath(share=0.0, rate=0.9)(x), x)


def test_linear_shares_rise_from_none_to_all() -> None:
    assert compute_depth_shares(5, "linear") == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert compute_depth_shares(3, "constant") == [1.0, 1.0, 1.0]
    assert compute_depth_shares(1, "linear") == [0.0]


def test_the_rate_of_a_whole_network_can_be_set_later() -> None:
    network = nn.Sequential(*(DropPath(share) for share in compute_depth_shares(3, "linear")))
    set_drop_path(network, 0.4)
    assert [layer.keep.item() for layer in network] == pytest.approx([1.0, 0.8, 0.6])
    set_drop_path(network, 0.0)
    assert not any(layer.active for layer in network)


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_rates_that_are_no_probability_below_one_are_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="at least 0 and below 1"):
        DropPath(rate=rate)
