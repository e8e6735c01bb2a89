"""Each rule for optimizers fails for an optimizer that breaks it."""

from __future__ import annotations

import pytest
import torch
from attrs import field, frozen

from forestgaps_core.contracts import check_built
from forestgaps_core.errors import PluginError
from forestgaps_core.testing import check_optimizer


class Plain(torch.optim.SGD):
    """Gradient descent; its subclasses break one rule each."""


class Growing(Plain):
    def step(self, closure=None):
        for group in self.param_groups:
            group["lr"] = abs(group["lr"]) or 0.1
        return super().step(closure)


class Climbing(Plain):
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None if parameter.grad is None else -parameter.grad
        return super().step(closure)


class Forgetful(Plain):
    """Keeps a count where no checkpoint finds it."""

    count = 0

    def step(self, closure=None):
        self.count += 1
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = parameter.grad / self.count
        return super().step(closure)


class Shared(Plain):
    """What one does depends on what others did."""

    steps = 0

    def step(self, closure=None):
        Shared.steps += 1
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = parameter.grad / Shared.steps
        return super().step(closure)


class Unsaved(Plain):
    def state_dict(self):
        return super().state_dict() | {"code": print}


class Stuck(Plain):
    def step(self, closure=None):
        for parameter in self.param_groups[-1]["params"]:
            parameter.grad = None
        return super().step(closure)


@frozen(kw_only=True)
class Config:
    """For tests."""

    make: str = field(default="Plain", metadata={"help": "Class."})
    rate: float = field(default=0.1, metadata={"help": "Rate."})
    first_only: bool = field(default=False, metadata={"help": "Leave the loss out."})

    def build(self, modules):
        groups = [{"params": [p for p in module.parameters() if p.requires_grad]} for module in modules]
        return globals()[self.make](groups[:1] if self.first_only else groups, lr=self.rate)


def test_an_optimizer_that_keeps_the_rules_passes():
    check_optimizer(Config())


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (Config(first_only=True), "the groups do not hold each parameter that is trained once"),
        (Config(rate=0.0), "is 0.0, not a float above 0"),
        (Config(make="Growing"), "parameters move at a learning rate of 0"),
        (Config(make="Climbing"), "30 steps do not make a loss smaller"),
        (Config(make="Shared"), "the same gradients lead to other parameters the second time"),
        (Config(make="Forgetful"), "steps after loading its state_dict differ"),
        (Config(make="Unsaved"), "its state_dict cannot be kept in a checkpoint"),
        (Config(make="Stuck"), "does not move"),
    ],
)
def test_an_optimizer_that_breaks_a_rule_fails(config, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_optimizer(config)


def test_what_is_not_an_optimizer_is_refused_where_it_is_built():
    with pytest.raises(PluginError, match=r"mine made a function, expected a `torch.optim.Optimizer`"):
        check_built("optimizer", lambda step: 1.0, lambda: "mine")
