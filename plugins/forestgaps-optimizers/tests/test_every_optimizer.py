"""What holds for all optimizers, whatever their settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from forestgaps_core.testing import check_optimizer
from forestgaps_optimizers import SGD, Adafactor, Adam, AdamW, GroupSettings, Lion, Muon, NAdam, RAdam

REFERENCES: list[tuple[Any, Callable[[Iterable[Tensor]], Optimizer]]] = [
    (Adam(learning_rate=0.01), lambda p: torch.optim.Adam(p, lr=0.01, fused=False)),
    (AdamW(learning_rate=0.01, weight_decay=0.0), lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.0, fused=False)),
    (Adafactor(learning_rate=0.01), lambda p: torch.optim.Adafactor(p, lr=0.01)),
    (NAdam(learning_rate=0.01, weight_decay=0.0), lambda p: torch.optim.NAdam(p, lr=0.01)),
    (RAdam(learning_rate=0.01, weight_decay=0.0), lambda p: torch.optim.RAdam(p, lr=0.01)),
    (SGD(learning_rate=0.01), lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9)),
]
GROUPS = GroupSettings(decay_all=True, layer_decay=0.7, rates={"0.*": 0.5})
SETTINGS = [
    *(Adam(), Adam(weight_decay=0.1), AdamW(), AdamW(betas=(0.5, 0.9)), SGD(), SGD(momentum=0.0), SGD(nesterov=True)),
    *(Lion(), Lion(weight_decay=0.0), NAdam(), RAdam(), Adafactor(), Adafactor(weight_decay=0.1)),
    *(Muon(), Muon(momentum=0.0, weight_decay=0.0)),
    *(kind(groups=GROUPS) for kind in (Adam, AdamW, SGD, Lion, NAdam, RAdam, Adafactor, Muon)),
]


@pytest.mark.parametrize("config", SETTINGS, ids=repr)
def test_the_contract_of_an_optimizer_holds(config: Any) -> None:
    check_optimizer(config)


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Conv2d(2, 1, 1))


@pytest.mark.parametrize(("config", "reference"), REFERENCES)
def test_steps_equal_those_of_the_plain_optimizer(config: Any, reference: Callable[[Iterable[Tensor]], Optimizer]) -> None:
    torch.manual_seed(0)
    # In double precision: the gradient of a bias before a normalization is rounding noise, which Adam scales up to its step.
    ours, theirs = network().double(), network().double()
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
