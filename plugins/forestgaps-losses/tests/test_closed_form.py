from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from forestgaps_losses import closed_form
from forestgaps_losses.closed_form import FocalDiceFunction, FocalDiceSettings
from forestgaps_losses.dice import dice_loss
from forestgaps_losses.focal import focal_loss

gammas = pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 3.3])


def settings_for(gamma: float, eps: float = 0.02) -> FocalDiceSettings:
    return FocalDiceSettings(gamma=gamma, eps=eps, focal_weight=1.3, dice_weight=0.6)


def composed(logits: Tensor, target: Tensor, pixels: Tensor, chosen: FocalDiceSettings) -> Tensor:
    focal = focal_loss(logits, target, pixels, gamma=chosen.gamma)
    return chosen.focal_weight * focal + chosen.dice_weight * dice_loss(logits, target, pixels, eps=chosen.eps)


def question(seed: int, *, size: int = 6, spread: float = 3.0, weight_channels: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, uncertain targets and uneven pixels, some without data, of two samples with three channels, in float64."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, size, size, generator=generator, dtype=torch.float64) * spread
    target = torch.rand(2, 3, size, size, generator=generator, dtype=torch.float64)
    pixels = torch.rand(2, weight_channels, size, size, generator=generator, dtype=torch.float64)
    return logits.requires_grad_(), target, pixels * (pixels > 0.3)


@gammas
@pytest.mark.parametrize("weight_channels", [1, 3])
def test_its_gradient_is_that_of_its_value(gamma: float, weight_channels: int) -> None:
    logits, target, pixels = question(0, weight_channels=weight_channels)
    assert torch.autograd.gradcheck(lambda x: FocalDiceFunction.apply(x, target, pixels, settings_for(gamma)), (logits,))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), gamma=st.floats(0, 6), eps=st.floats(1e-6, 1), spread=st.floats(0.1, 8))
def test_it_is_the_plain_formulas_put_together(seed: int, gamma: float, eps: float, spread: float) -> None:
    logits, target, pixels = question(seed, spread=spread)
    target = target.round()
    gradient = torch.rand(2, 3, dtype=torch.float64)
    chosen = settings_for(gamma, eps)
    values = [formula(logits, target, pixels, chosen) for formula in (FocalDiceFunction.apply, composed)]
    torch.testing.assert_close(*values)
    torch.testing.assert_close(*(torch.autograd.grad(value, logits, gradient)[0] for value in values))


@gammas
def test_channels_one_by_one_give_what_channels_at_once_give(gamma: float, monkeypatch: pytest.MonkeyPatch) -> None:
    logits, target, pixels = question(1)
    found = []
    for large in (1, 10_000):
        monkeypatch.setattr(closed_form, "LARGE_CHANNEL", large)
        value = FocalDiceFunction.apply(logits, target, pixels, settings_for(gamma))
        found.append((value.detach(), torch.autograd.grad(value.sum(), logits)[0]))
    torch.testing.assert_close(*found)


def test_the_layout_of_the_logits_does_not_matter() -> None:
    logits, target, pixels = question(2)
    chosen = settings_for(2.0)
    other = logits.detach().to(memory_format=torch.channels_last).requires_grad_()
    values = [FocalDiceFunction.apply(x, target, pixels, chosen) for x in (logits, other)]
    torch.testing.assert_close(*values)
    torch.testing.assert_close(torch.autograd.grad(values[0].sum(), logits), torch.autograd.grad(values[1].sum(), other))


@gammas
def test_it_stays_finite_and_exact_however_sure_the_network(gamma: float) -> None:
    sure = torch.tensor([-1e4, -90.0, -20.0, 0.0, 20.0, 90.0, 1e4]).reshape(1, 1, 1, 7).requires_grad_()
    for target in (torch.zeros(1, 1, 1, 7), torch.ones(1, 1, 1, 7)):
        values = [
            formula(sure, target, torch.ones(1, 1, 1, 7), settings_for(gamma)) for formula in (FocalDiceFunction.apply, composed)
        ]
        torch.testing.assert_close(*values)
        slopes = [torch.autograd.grad(value.sum(), sure)[0] for value in values]
        torch.testing.assert_close(*slopes)


def test_without_any_pixel_that_counts_it_is_zero_and_flat() -> None:
    logits, target, pixels = question(3)
    value = FocalDiceFunction.apply(logits, target, 0 * pixels, settings_for(2.0))
    assert (torch.autograd.grad(value.sum(), logits)[0] == 0).all()
    assert (value == 0).all()


def test_validation_keeps_no_gradient() -> None:
    logits, target, pixels = question(4)
    with torch.no_grad():
        assert not FocalDiceFunction.apply(logits, target, pixels, settings_for(2.0)).requires_grad
