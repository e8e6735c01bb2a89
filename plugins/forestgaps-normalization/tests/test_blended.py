from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from forestgaps_core.testing import require_close
from forestgaps_normalization.blended import BlendedNorm, BlendedNormConfig


def activations() -> Tensor:
    x = torch.randn(4, 6, 5, 5, generator=torch.Generator().manual_seed(8))
    return x * torch.arange(1.0, 5)[:, None, None, None] + torch.arange(6.0)[:, None, None]


def test_it_is_the_formula() -> None:
    x, layer = activations(), BlendedNorm(6, groups=3)
    share = [0.1, 0.3, 0.5, 0.7, 0.9, 0.99]
    with torch.no_grad():
        layer.gate.copy_(torch.logit(torch.tensor(share)))
        layer.weight.copy_(torch.arange(6) + 1.0)
        layer.bias.copy_(torch.arange(6) - 2.0)
    y = layer(x)
    for b in range(4):
        for c in range(6):
            channel, group = x[:, c].flatten().tolist(), x[b, c // 2 * 2 : c // 2 * 2 + 2].flatten().tolist()
            parts = []
            for pixels in (channel, group):
                mean = sum(pixels) / len(pixels)
                deviation = (sum((pixel - mean) ** 2 for pixel in pixels) / len(pixels) + 1e-5) ** 0.5
                parts.append([(pixel - mean) / deviation for pixel in x[b, c].flatten().tolist()])
            mixed = [share[c] * batch + (1 - share[c]) * alone for batch, alone in zip(*parts, strict=True)]
            assert y[b, c].flatten().tolist() == pytest.approx([(c + 1) * value + c - 2 for value in mixed], abs=1e-4)


@pytest.mark.parametrize(("gate", "alike"), [(40.0, nn.BatchNorm2d(6)), (-40.0, nn.GroupNorm(3, 6))])
def test_at_either_end_it_is_the_one_or_the_other(gate: float, alike: nn.Module) -> None:
    x, layer = activations(), BlendedNorm(6, groups=3)
    nn.init.constant_(layer.gate, gate)
    require_close(layer(x), alike(x), "not the plain layer")
    require_close(layer.eval()(x), alike.eval()(x), "not the plain layer outside training")


@settings(deadline=None)
@given(start=st.floats(0.01, 0.99))
def test_it_starts_at_the_fraction_requested(start: float) -> None:
    layer = BlendedNormConfig(start=start).build()(4)
    assert layer.gate.sigmoid().tolist() == pytest.approx([start] * 4, rel=1e-5)


def test_the_gate_learns_which_statistics_help() -> None:
    """Asked for what batch norm would give, the gates open towards it, in every channel."""
    x, layer = activations(), BlendedNorm(6, groups=3)
    wanted = nn.BatchNorm2d(6)(x).detach()
    optimizer = torch.optim.SGD([layer.gate], lr=20.0)
    for _ in range(120):
        optimizer.zero_grad()
        (layer(x) - wanted).square().mean().backward()
        optimizer.step()
    assert (layer.gate.sigmoid() > 0.9).all()
