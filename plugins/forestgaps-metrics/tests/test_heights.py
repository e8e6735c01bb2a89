from __future__ import annotations

import math
from itertools import pairwise

import attrs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forestgaps_core.errors import DataError
from forestgaps_core.testing import example_batch, example_logits
from forestgaps_metrics import Heights
from forestgaps_metrics.heights import compute_expected_height


def scored(logits, batch):
    metric = Heights()
    metric.update(logits, batch)
    return metric.compute()


def test_a_canopy_surely_between_two_thresholds_stands_in_their_middle():
    # Surely not below 2 m, surely below 10 m: the distribution function rises in between, at 6 m on average.
    height = compute_expected_height(torch.tensor([0.0, 1.0]).reshape(1, 2, 1, 1), torch.tensor([[2.0, 10.0]]))
    assert height.item() == 6


@pytest.mark.parametrize(("gap", "meters"), [([0, 0, 0], 10), ([1, 1, 1], 1), ([0.5, 0.5, 0.5], (2 * 0.75 + 8 * 0.5))])
def test_heights_worked_by_hand(gap, meters):
    probability = torch.tensor(gap, dtype=torch.float32).reshape(1, 3, 1, 1)
    assert compute_expected_height(probability, torch.tensor([[2.0, 5.0, 10.0]])).item() == pytest.approx(meters)


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 8))
def test_heights_lie_between_the_ground_and_the_largest_threshold_and_fall_with_gaps(seed, planes):
    generator = torch.Generator().manual_seed(seed)
    thresholds = (torch.rand((2, planes), generator=generator) + 0.1).cumsum(1)
    probability = torch.rand((2, planes, 3, 3), generator=generator)
    height = compute_expected_height(probability, thresholds)
    assert (height >= 0).all()
    assert (height <= thresholds[:, -1:, None, None] * (1 + 1e-6)).all()
    assert (compute_expected_height(probability * 0.9, thresholds) > height - 1e-6).all()


def test_heights_agree_with_an_integral_done_slowly():
    thresholds = [2.0, 5.0, 10.0]
    gap = [0.1, 0.35, 0.9]
    total, count = 0.0, 100_000
    for step in range(count):
        t = (step + 0.5) * 10 / count
        knots = [(0.0, 0.0), *zip(thresholds, gap, strict=True)]
        for (low, f_low), (high, f_high) in pairwise(knots):
            if low <= t < high:
                total += (1 - (f_low + (f_high - f_low) * (t - low) / (high - low))) * 10 / count
    probability = torch.tensor(gap).reshape(1, 3, 1, 1)
    assert compute_expected_height(probability, torch.tensor([thresholds])).item() == pytest.approx(total, abs=1e-4)


def test_scores_agree_with_scikit_learn():
    sk = pytest.importorskip("sklearn.metrics")
    batch = example_batch()
    logits = example_logits(batch)
    inside = batch.valid
    predicted = compute_expected_height(logits.sigmoid(), batch.thresholds)[inside].numpy()
    surveyed = batch.height[inside].clamp(0, 10).numpy()
    found = scored(logits, batch)
    assert found["mae_m"] == pytest.approx(sk.mean_absolute_error(surveyed, predicted), abs=1e-3)
    assert found["rmse_m"] == pytest.approx(sk.root_mean_squared_error(surveyed, predicted), abs=1e-3)
    assert found["bias_m"] == pytest.approx((predicted - surveyed).mean(), abs=1e-3)
    assert found["r2"] == pytest.approx(sk.r2_score(surveyed, predicted), abs=1e-3)


def test_trees_taller_than_the_largest_threshold_count_as_that_tall():
    batch = example_batch()
    tall = attrs.evolve(batch, height=torch.full_like(batch.height, 40.0))
    found = scored(torch.full_like(batch.target, -50.0), tall)
    assert found["mae_m"] == found["rmse_m"] == found["bias_m"] == 0
    assert math.isnan(found["r2"])


def test_batches_without_heights_are_refused_with_a_sentence():
    batch = example_batch()
    with pytest.raises(DataError, match="canopy heights"):
        scored(example_logits(batch), attrs.evolve(batch, height=None))
