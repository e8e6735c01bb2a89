from __future__ import annotations

import pytest
import torch
from torch import nn

from forestgaps_core.config.optimizers import SGD, Adam, AdamW, parameter_groups


class Balance(nn.Module):
    def __init__(self):
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(2, 2))


def net():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Conv2d(2, 1, 1))


def test_norms_biases_and_what_a_loss_learns_are_not_decayed():
    model, loss = net(), Balance()
    decayed, kept = parameter_groups([model, loss], 0.1)
    assert {id(p) for p in decayed["params"]} == {id(model[0].weight), id(model[2].weight)}
    assert {id(p) for p in kept["params"]} == {
        id(model[0].bias),
        id(model[1].weight),
        id(model[1].bias),
        id(model[2].bias),
        id(loss.weights),
    }
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.1, 0.0)


def test_frozen_weights_and_plain_losses_are_left_out():
    model = net()
    model[0].requires_grad_(False)
    groups = parameter_groups([model, print], 0.1)
    assert sum(len(group["params"]) for group in groups) == 4


@pytest.mark.parametrize(
    ("config", "reference"),
    [
        (Adam(learning_rate=0.01), lambda p: torch.optim.Adam(p, lr=0.01, fused=False)),
        (AdamW(learning_rate=0.01, weight_decay=0.0), lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.0, fused=False)),
        (SGD(learning_rate=0.01), lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9)),
    ],
)
def test_steps_equal_those_of_the_plain_optimizer(config, reference):
    torch.manual_seed(0)
    # In double precision: the gradient of a bias before a normalization is rounding noise, which Adam scales up to its step.
    ours, theirs = net().double(), net().double()
    theirs.load_state_dict(ours.state_dict())
    steps = config.build([ours]), reference(theirs.parameters())
    for _ in range(5):
        x = torch.randn(2, 1, 6, 6, dtype=torch.float64)
        for model, optimizer in zip((ours, theirs), steps, strict=True):
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_nesterov_without_momentum_is_refused():
    with pytest.raises(ValueError, match="needs a momentum"):
        SGD(momentum=0.0, nesterov=True)
