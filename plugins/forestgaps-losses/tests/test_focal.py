from __future__ import annotations

from types import ModuleType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forestgaps_core.testing import example_batch, example_logits
from forestgaps_losses.bce import bce_loss
from forestgaps_losses.focal import focal_loss

EVERYWHERE = torch.ones(1, 1, 1, 1)


def pixel(p: float, gamma: float, target: float = 1.0) -> float:
    """What one pixel costs whose gap has probability `p`."""
    return focal_loss(torch.tensor(p).logit().reshape(1, 1, 1, 1), EVERYWHERE * target, EVERYWHERE, gamma=gamma).item()


def test_a_gap_seen_at_nine_tenths_costs_a_hundred_times_less_with_focus_two() -> None:
    assert pixel(0.9, gamma=0) / pixel(0.9, gamma=2) == pytest.approx(100, rel=1e-4)


def test_a_gap_hardly_seen_costs_at_most_four_times_less_with_focus_two() -> None:
    """Lin et al. 2017, section 3.2: at p <= 0.5 the loss is scaled down by at most 4."""
    assert pixel(0.5, gamma=0) / pixel(0.5, gamma=2) == pytest.approx(4, rel=1e-4)


@settings(deadline=None)
@given(st.floats(0.01, 0.99), st.floats(0, 5))
def test_gap_and_canopy_are_treated_alike(p: float, gamma: float) -> None:
    assert pixel(p, gamma) == pytest.approx(pixel(1 - p, gamma, target=0.0), rel=1e-3, abs=1e-6)


@settings(deadline=None)
@given(st.floats(0.01, 0.99), st.floats(0, 1), st.floats(0, 5))
def test_an_uncertain_label_costs_the_mean_of_the_certain_ones(p: float, share: float, gamma: float) -> None:
    expected = share * pixel(p, gamma) + (1 - share) * pixel(p, gamma, target=0.0)
    assert pixel(p, gamma, target=share) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_without_focus_it_is_cross_entropy() -> None:
    batch = example_batch()
    arguments = example_logits(batch), batch.target, batch.valid.float()
    torch.testing.assert_close(focal_loss(*arguments, gamma=0.0), bce_loss(*arguments))


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 3.5])
def test_it_agrees_with_monai(monai: ModuleType, gamma: float) -> None:
    batch = example_batch(nodata=0)
    logits = example_logits(batch)
    expected = monai.FocalLoss(gamma=gamma, reduction="none")(logits, batch.target).mean((2, 3))
    torch.testing.assert_close(focal_loss(logits, batch.target, batch.valid.float(), gamma=gamma), expected)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_its_gradient_is_finite_however_sure_the_network(gamma: float) -> None:
    logits = torch.tensor([-1e4, -100.0, 0.0, 100.0, 1e4]).reshape(1, 1, 1, 5).requires_grad_()
    for target in (0.0, 1.0):
        value = focal_loss(logits, torch.full_like(logits, target), torch.ones(1, 1, 1, 5), gamma=gamma).sum()
        assert torch.autograd.grad(value, logits)[0].isfinite().all()
