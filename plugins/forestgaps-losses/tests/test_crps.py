from __future__ import annotations

import attrs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forestgaps_core.testing import build_component, example_batch, example_logits
from forestgaps_losses.crps import Crps, brier_loss, compute_threshold_widths

np = pytest.importorskip("numpy")


def test_knowing_nothing_scores_a_quarter() -> None:
    assert brier_loss(torch.zeros(1, 1, 2, 2), torch.eye(2)[None, None], torch.ones(1, 1, 2, 2)) == 0.25


@settings(deadline=None)
@given(st.floats(0.02, 0.98))
def test_it_is_proper(truth: float) -> None:
    """Where gaps have probability `truth`, no other answer is better on average."""
    answers = torch.linspace(0.01, 0.99, 197, dtype=torch.float64).logit().reshape(-1, 1, 1, 1)
    one, zero = (brier_loss(answers, torch.full_like(answers, y), torch.ones_like(answers)).flatten() for y in (1.0, 0.0))
    best = answers.flatten()[(truth * one + (1 - truth) * zero).argmin()].sigmoid().item()
    assert best == pytest.approx(truth, abs=0.006)


def test_a_threshold_stands_for_half_the_meters_to_its_neighbors() -> None:
    assert compute_threshold_widths(torch.tensor([[2.0, 5.0, 10.0]])).tolist() == [[2.5, 4.0, 2.5]]
    assert compute_threshold_widths(torch.tensor([[8.0]])).tolist() == [[4.0]]


def test_it_is_the_integral_over_heights_by_the_trapezoidal_rule() -> None:
    batch = example_batch(samples=1, size=1, thresholds=(2.0, 5.0, 10.0, 20.0), nodata=0)
    logits = example_logits(batch)
    score = (logits.sigmoid() - batch.target).square().flatten().numpy()
    integral = np.trapezoid([0.0, *score], [0.0, 2.0, 5.0, 10.0, 20.0])
    weights = np.trapezoid([0.0, 1, 1, 1, 1], [0.0, 2.0, 5.0, 10.0, 20.0])
    assert Crps()(logits, batch).item() == pytest.approx(integral / weights, rel=1e-5)


def test_with_equal_spacing_it_is_the_mean_of_the_scores() -> None:
    batch = example_batch(nodata=0)
    logits = example_logits(batch)
    torch.testing.assert_close(Crps(spacing="equal")(logits, batch), (logits.sigmoid() - batch.target).square().mean())


def test_threshold_weights_multiply_the_meters() -> None:
    batch = example_batch(nodata=0)
    logits = example_logits(batch)
    scores = (logits.sigmoid() - batch.target).square().mean((2, 3))
    weights = torch.tensor([3.0, 2.0, 1.0]) * torch.tensor([2.5, 4.0, 2.5])
    expected = (scores * weights).sum() / weights.sum() / len(batch)
    torch.testing.assert_close(build_component("loss", Crps(threshold_weights=(3.0, 2.0, 1.0)))(logits, batch), expected)


def test_each_sample_has_its_own_thresholds() -> None:
    batch = example_batch(samples=2, nodata=0)
    own = attrs.evolve(batch, thresholds=torch.tensor([[2.0, 5.0, 10.0], [3.0, 4.0, 30.0]]))
    logits = example_logits(own)
    scores, weights = (logits.sigmoid() - own.target).square().mean((2, 3)), compute_threshold_widths(own.thresholds)
    torch.testing.assert_close(Crps()(logits, own), (scores * weights).sum() / weights.sum())
