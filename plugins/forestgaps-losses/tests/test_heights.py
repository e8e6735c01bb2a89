from __future__ import annotations

import math
from itertools import pairwise

import attrs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forestgaps_core.components import Batch
from forestgaps_core.errors import DataError
from forestgaps_core.testing import example_batch, example_logits
from forestgaps_losses.heights import Huber, Pinball, compute_expected_height, huber, pinball

THRESHOLDS = torch.tensor([[2.0, 5.0, 10.0]])


def pixels(*shares: float) -> torch.Tensor:
    """Logits (1, K, 1, 1) of these probabilities of being below each threshold."""
    return torch.tensor(shares, dtype=torch.float64).logit().clamp(-1e4, 1e4).reshape(1, -1, 1, 1)


@pytest.mark.parametrize(
    ("below", "meters"),
    [
        ((0, 0, 0), 10.0),  # above all thresholds: cut off at the largest
        ((1, 1, 1), 1.0),  # below 2 m for sure: halfway from 0
        ((0, 1, 1), 3.5),  # between 2 and 5 m for sure: halfway
        ((0, 0, 1), 7.5),
        ((0.2, 0.5, 1), 10 - (0.2 * 2.5 + 0.5 * 4 + 1 * 2.5)),
    ],
)
def test_the_expected_height_worked_by_hand(below: tuple[float, ...], meters: float) -> None:
    assert compute_expected_height(pixels(*below), THRESHOLDS).item() == pytest.approx(meters)


@settings(deadline=None)
@given(st.floats(1.0, 25.0))
def test_with_close_thresholds_it_is_the_mean_of_the_clipped_height(scale: float) -> None:
    """Heights exponential of mean `scale`: the mean of min(h, 30) is scale (1 - exp(-30 / scale))."""
    thresholds = torch.linspace(0.1, 30, 300, dtype=torch.float64)[None]
    found = compute_expected_height(torch.logit(1 - torch.exp(-thresholds / scale))[:, :, None, None], thresholds)
    assert found.item() == pytest.approx(scale * (1 - math.exp(-30 / scale)), rel=1e-3)


@pytest.mark.parametrize("error", [-5.0, -2.0, -1.0, 0.0, 0.5, 2.0, 7.0])
def test_huber_is_squared_near_and_absolute_far(error: float) -> None:
    expected = error**2 / 2 if abs(error) <= 2 else 2 * (abs(error) - 1)
    assert huber(torch.tensor(error), delta_m=2.0).item() == pytest.approx(expected)


@pytest.mark.parametrize(("error", "price"), [(-2.0, 1.8), (2.0, 0.2), (0.0, 0.0)])
def test_pinball_weights_too_low_and_too_high_differently(error: float, price: float) -> None:
    assert pinball(torch.tensor(error), quantile=0.9).item() == pytest.approx(price)


@settings(deadline=None)
@given(st.lists(st.floats(0, 30), min_size=3, max_size=30), st.sampled_from([0.1, 0.5, 0.9]))
def test_the_best_constant_under_pinball_is_the_quantile(heights: list[float], quantile: float) -> None:
    surveyed = torch.tensor(heights, dtype=torch.float64)
    best = min(pinball(height - surveyed, quantile=quantile).mean() for height in surveyed)
    at_quantile = pinball(surveyed.quantile(quantile, interpolation="lower") - surveyed, quantile=quantile).mean()
    higher = pinball(surveyed.quantile(quantile, interpolation="higher") - surveyed, quantile=quantile).mean()
    assert min(at_quantile, higher).item() == pytest.approx(best.item(), abs=1e-9)


@pytest.mark.parametrize("config", [Huber(delta_m=1.5), Pinball(quantile=0.8)])
def test_it_agrees_with_ten_slow_lines(config: Huber | Pinball) -> None:
    batch = example_batch(samples=2, size=5, nodata=0.3)
    logits = example_logits(batch)
    means = []
    for sample in range(2):
        prices = []
        for row in range(5):
            for column in range(5):
                if batch.valid[sample, 0, row, column]:
                    curve = [(0.0, 0.0), *zip((2.0, 5.0, 10.0), logits[sample, :, row, column].sigmoid().tolist(), strict=True)]
                    steps = pairwise(curve)
                    height = sum((b - a) * (1 - (below + next_below) / 2) for (a, below), (b, next_below) in steps)
                    e = height - min(max(batch.height[sample, 0, row, column].item(), 0.0), 10.0)
                    if isinstance(config, Huber):
                        prices.append(e * e / 2 if abs(e) <= 1.5 else 1.5 * (abs(e) - 0.75))
                    else:
                        prices.append(-0.8 * e if e < 0 else 0.2 * e)
        means.append(sum(prices) / len(prices))
    assert config(logits, batch).item() == pytest.approx(sum(means) / 2, rel=1e-5)


def test_heights_above_the_largest_threshold_and_below_the_ground_are_clipped() -> None:
    batch = example_batch(nodata=0)
    logits = example_logits(batch)
    for extreme, limit in ((500.0, 10.0), (-3.0, 0.0)):
        beyond, at = (attrs.evolve(batch, height=torch.full_like(batch.dsm, height)) for height in (extreme, limit))
        assert Huber()(logits, beyond) == Huber()(logits, at)


def test_what_stands_under_pixels_without_data_may_be_nan() -> None:
    batch = example_batch()
    torn = attrs.evolve(batch, height=torch.where(batch.valid, batch.height, torch.nan))
    logits = example_logits(batch).requires_grad_()
    value = Huber()(logits, torn)
    assert value == Huber()(logits, batch)
    assert torch.autograd.grad(value, logits)[0].isfinite().all()


def test_batches_without_heights_are_refused_with_a_sentence() -> None:
    batch: Batch = attrs.evolve(example_batch(), height=None)
    with pytest.raises(DataError, match="height"):
        Pinball()(example_logits(batch), batch)
