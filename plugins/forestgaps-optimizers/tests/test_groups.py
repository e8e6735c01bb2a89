from __future__ import annotations

import torch
from torch import nn

from forestgaps_optimizers import can_fuse, parameter_groups


class Balance(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(2, 2))


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Conv2d(2, 1, 1))


def test_norms_biases_and_what_a_loss_learns_are_not_decayed() -> None:
    model, loss = network(), Balance()
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


def test_frozen_weights_are_left_out() -> None:
    model = network()
    model[0].requires_grad_(False)
    groups = parameter_groups([model], 0.1)
    assert sum(len(group["params"]) for group in groups) == 4


def test_parameters_that_are_not_floating_point_have_no_fused_kernel() -> None:
    assert can_fuse([{"params": [torch.zeros(1)]}])
    assert not can_fuse([{"params": [torch.zeros(1)]}, {"params": [torch.zeros(1, dtype=torch.complex64)]}])
