from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from forestgaps_core.training.optimizer_state import is_alike, is_finite, load_optimizer, state_after_step


class Odd(Optimizer):
    """Keeps what torch's optimizers do not keep: a matrix for each dimension, counts, lists, tables."""

    def __init__(self, parameters, closure_only=False):
        super().__init__(parameters, {"lr": 0.1})
        self.closure_only = closure_only

    @torch.no_grad()
    def step(self, closure=None):
        if self.closure_only:
            closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                kept = self.state[parameter]
                kept.setdefault("count", 0)
                kept["count"] += 1
                square = kept.setdefault("squares", [torch.zeros(size, size) for size in parameter.shape])
                square[0] += 1
                kept["table"] = {"largest": parameter.grad.abs().max().item()}
                parameter -= group["lr"] * parameter.grad / (1 + square[0].mean())


def optimizer_of(make, steps=2, **settings):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    optimizer = make(network.parameters(), **settings)
    for step in range(steps):
        for parameter in network.parameters():
            parameter.grad = torch.full_like(parameter, 0.5 + step)
        optimizer.step()
    return optimizer


MAKERS = [
    Odd,
    torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD, torch.optim.NAdam, torch.optim.RAdam, torch.optim.Adafactor,
    torch.optim.Adagrad, torch.optim.RMSprop, torch.optim.ASGD, torch.optim.Rprop, torch.optim.Adadelta, torch.optim.Adamax,
]  # fmt: skip


@pytest.mark.parametrize("make", MAKERS)
def test_the_state_of_any_optimizer_is_loaded(make):
    state = deepcopy(optimizer_of(make).state_dict())
    other = optimizer_of(make, steps=0)
    before = [parameter.detach().clone() for group in other.param_groups for parameter in group["params"]]
    load_optimizer(other, state)
    assert all(map(torch.equal, before, (parameter for group in other.param_groups for parameter in group["params"])))
    loaded = other.state_dict()
    assert repr(loaded) == repr(state)


@pytest.mark.parametrize("make", MAKERS)
def test_a_state_that_lacks_a_part_is_refused(make):
    state = deepcopy(optimizer_of(make).state_dict())
    name = list(state["state"][1])[-1] if state["state"] else pytest.skip("keeps nothing")  # torch itself misses the first
    del state["state"][1][name]
    with pytest.raises(ValueError, match=f"lacks {name} of a parameter"):
        load_optimizer(optimizer_of(make, steps=0), state)


@pytest.mark.parametrize(
    "value",
    [None, torch.zeros(3), torch.full((2, 3), torch.nan), torch.tensor(1.0), 1.0, "exp_avg"],
    ids=repr,
)
def test_a_moment_that_is_something_else_is_refused(value):
    state = deepcopy(optimizer_of(torch.optim.AdamW).state_dict())
    state["state"][0]["exp_avg"] = value
    with pytest.raises(ValueError, match="its exp_avg does not fit the parameters"):
        load_optimizer(optimizer_of(torch.optim.AdamW, steps=0), state)


@pytest.mark.parametrize("value", [[torch.zeros(2, 2)], [torch.zeros(3, 3), torch.zeros(2, 2)], {"a": torch.zeros(2, 2)}], ids=repr)
def test_a_list_of_other_shapes_is_refused(value):
    state = deepcopy(optimizer_of(Odd).state_dict())
    state["state"][0]["squares"] = value
    with pytest.raises(ValueError, match="its squares does not fit the parameters"):
        load_optimizer(optimizer_of(Odd, steps=0), state)


def test_an_optimizer_that_takes_no_step_by_itself_is_checked_for_finite_values():
    state = deepcopy(optimizer_of(Odd).state_dict())
    other = optimizer_of(Odd, steps=0, closure_only=True)
    assert state_after_step(other) == {}
    load_optimizer(other, state)
    state["state"][0]["table"] = {"largest": float("nan")}
    with pytest.raises(ValueError, match="its table does not fit"):
        load_optimizer(other, state)


@pytest.mark.parametrize(("key", "value"), [("lr", "1"), ("lr", float("inf")), ("amsgrad", True), ("betas", (0.9,)), ("more", 1)])
def test_other_settings_are_refused(key, value):
    state = deepcopy(optimizer_of(torch.optim.Adam).state_dict())
    state["param_groups"][0][key] = value
    with pytest.raises(ValueError, match=f"its settings differ: {key}"):
        load_optimizer(optimizer_of(torch.optim.Adam, steps=0), state)


def test_gradients_and_parameters_stay_after_the_trial_step():
    optimizer = optimizer_of(torch.optim.SGD, steps=1, momentum=0.9)
    parameters = optimizer.param_groups[0]["params"]
    before = [(parameter.detach().clone(), parameter.grad) for parameter in parameters]
    assert {tuple(kept) for kept in state_after_step(optimizer).values()} == {("momentum_buffer",)}
    for parameter, (value, gradient) in zip(parameters, before, strict=True):
        assert torch.equal(parameter, value)
        assert parameter.grad is gradient


def test_values_are_compared_part_for_part():
    assert is_alike([1.0, (2, True)], [3, (4, False)])
    assert not is_alike([1.0], [1.0, 2.0])
    assert not is_alike(1.0, True)
    assert not is_alike(1.0, float("nan"))
    assert not is_alike({}, [])
    assert is_finite({"a": [torch.zeros(2), 1, None, "x", torch.ones(1, dtype=torch.bool)]})
    assert not is_finite({"a": [torch.tensor([0.0, torch.inf])]})
