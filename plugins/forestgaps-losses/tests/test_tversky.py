from __future__ import annotations

from types import ModuleType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forestgaps_core.testing import example_batch, example_logits
from forestgaps_losses.dice import dice_loss
from forestgaps_losses.tversky import focal_tversky_loss, tversky_loss

ALL = torch.ones(1, 1, 2, 2)
HALF = torch.eye(2)[None, None]


def test_half_sure_everywhere_of_half_a_channel_of_gaps() -> None:
    """Found, false and missed are 1/4 each: errors 1/4 (0.2 + 0.6) = 1/5, and 1/5 / (1/4 + 1/5 + 1/20) = 2/5."""
    assert tversky_loss(0 * ALL, HALF, ALL, alpha=0.2, beta=0.6, eps=0.05).item() == pytest.approx(0.4)


@settings(deadline=None)
@given(st.integers(0, 1000), st.floats(1e-4, 1))
def test_with_equal_prices_it_is_dice(seed: int, eps: float) -> None:
    batch = example_batch(samples=2, size=6, seed=seed)
    arguments = example_logits(batch, seed), batch.target, batch.valid.float()
    found = tversky_loss(*arguments, alpha=0.5, beta=0.5, eps=eps / 2)
    torch.testing.assert_close(found, dice_loss(*arguments, eps=eps))


def test_it_agrees_with_monai(monai: ModuleType) -> None:
    batch = example_batch(nodata=0)
    logits, eps = example_logits(batch), 1e-3
    pixels = eps * 32 * 32
    peer = monai.TverskyLoss(sigmoid=True, alpha=0.2, beta=0.9, smooth_nr=pixels, smooth_dr=pixels, reduction="none")
    found = tversky_loss(logits, batch.target, batch.valid.float(), alpha=0.2, beta=0.9, eps=eps)
    torch.testing.assert_close(found, peer(logits, batch.target).flatten(1))


def test_missing_a_gap_costs_more_when_its_price_is_higher() -> None:
    missed, false = (tversky_loss(x, y, ALL, alpha=0.3, beta=0.7, eps=1e-3) for x, y in ((-ALL, HALF), (ALL, HALF)))
    assert missed > false


def test_the_power_of_the_paper() -> None:
    """A Tversky loss of 0.4 to the power of 3/4 is 0.503."""
    found = focal_tversky_loss(0 * ALL, HALF, ALL, alpha=0.2, beta=0.6, eps=0.05, power=0.75)
    assert found.item() == pytest.approx(0.4**0.75, abs=1e-4)


@pytest.mark.parametrize("power", [0.25, 0.75, 1.0, 2.0])
def test_a_plane_answered_perfectly_is_zero_with_a_finite_slope(power: float) -> None:
    for sure in (50.0, 1e4):
        logits = (sure * (2 * HALF - 1)).requires_grad_()
        value = focal_tversky_loss(logits, HALF, ALL, alpha=0.3, beta=0.7, eps=1e-3, power=power)
        assert value.item() == pytest.approx(0, abs=1e-6)
        assert torch.autograd.grad(value.sum(), logits)[0].isfinite().all()
