"""The rules for optimizers: an optimizer moves all parameters, follows the learning rate, and resumes bit-identically."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from forestgaps_core.files.state_tree import find_unstorable
from forestgaps_core.testing.building import build_component
from forestgaps_core.training.optimizer_state import load_optimizer

STEPS = 6


class Balance(nn.Module):
    """A loss that learns: one number."""

    def __init__(self) -> None:
        super().__init__()
        self.balance = nn.Parameter(torch.zeros(()))


def example_modules() -> list[nn.Module]:
    """Return a small network with convolutions, a norm, a linear layer and frozen weights, and a loss that learns."""
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1), nn.Flatten(), nn.Linear(8, 3), nn.Linear(3, 3)
    )
    layers[-1].requires_grad_(False)
    return [layers, Balance()]


def trainable(modules: Sequence[nn.Module]) -> list[Tensor]:
    return [parameter for module in modules for parameter in module.parameters() if parameter.requires_grad]


def move(optimizer: Optimizer, modules: Sequence[nn.Module], steps: range) -> None:
    """Take steps with gradients that depend on the number of the step only."""
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        for parameter in trainable(modules):
            parameter.grad = torch.randn(parameter.shape, generator=generator) + 0.1
        optimizer.step()


def build_optimizer(config: Any, modules: Sequence[nn.Module], arguments: dict[str, Any]) -> Optimizer:
    optimizer = build_component("optimizer", config, **arguments | {"modules": modules})
    assert isinstance(optimizer, Optimizer), f"an optimizer is a torch.optim.Optimizer, not a {type(optimizer).__name__}"
    return optimizer


def check_groups(config: Any, **arguments: Any) -> None:
    """The groups hold each parameter that is trained once, with a learning rate."""
    modules = example_modules()
    optimizer = build_optimizer(config, modules, arguments)
    grouped = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(map(id, trainable(modules))), "the groups do not hold each parameter that is trained once"
    for group in optimizer.param_groups:
        rate = group.get("lr")
        assert isinstance(rate, float) and rate > 0, f"the learning rate `lr` of a group is {rate!r}, not a float above 0"


def check_rate(config: Any, **arguments: Any) -> None:
    """Parameters follow the learning rate `lr` of their group, and stay at a rate of 0."""
    modules = example_modules()
    optimizer = build_optimizer(config, modules, arguments)
    before = [parameter.detach().clone() for parameter in trainable(modules)]
    rates = [group["lr"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    move(optimizer, modules, range(2))
    assert all(map(torch.equal, before, trainable(modules))), "parameters move at a learning rate of 0"
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    move(optimizer, modules, range(2, 5))  # an odd number: steps of one size do not cancel
    for parameter, old in zip(trainable(modules), before, strict=True):
        assert parameter.isfinite().all(), "a step makes parameters that are not finite"
        assert not torch.equal(parameter, old), f"a parameter of shape {tuple(parameter.shape)} does not move"


def check_repeatable(config: Any, **arguments: Any) -> None:
    """The same gradients lead to the same parameters."""
    ends = []
    for _ in range(2):
        modules = example_modules()
        move(build_optimizer(config, modules, arguments), modules, range(STEPS))
        ends.append(trainable(modules))
    assert all(map(torch.equal, *ends)), "the same gradients lead to other parameters the second time"


def check_descent(config: Any, **arguments: Any) -> None:
    """Steps make a simple loss smaller."""
    modules = example_modules()
    optimizer, losses = build_optimizer(config, modules, arguments), []
    for _ in range(30):
        for parameter in trainable(modules):
            parameter.grad = None
        distances = [(parameter - 3).square().mean() for parameter in trainable(modules)]
        loss = torch.stack(distances).sum()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0], f"30 steps do not make a loss smaller: {losses[0]:.6g} became {losses[-1]:.6g}"


def check_resume(config: Any, **arguments: Any) -> None:
    """Steps after loading a saved state are bit-identical."""
    modules = example_modules()
    optimizer = build_optimizer(config, modules, arguments)
    move(optimizer, modules, range(STEPS // 2))
    state = deepcopy(optimizer.state_dict())
    assert not (reason := find_unstorable(state)), f"its state_dict cannot be kept in a checkpoint: {reason}"
    resumed = deepcopy(modules)
    other = build_optimizer(config, resumed, arguments)
    load_optimizer(other, state)
    for each, its in ((optimizer, modules), (other, resumed)):
        move(each, its, range(STEPS // 2, STEPS))
    assert all(map(torch.equal, trainable(modules), trainable(resumed))), "steps after loading its state_dict differ"


RULES = (check_groups, check_rate, check_repeatable, check_descent, check_resume)
