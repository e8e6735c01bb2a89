"""Load what an optimizer keeps from a checkpoint, whatever the optimizer, and refuse what is not its own."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


def load_optimizer(optimizer: Optimizer, state: Any) -> None:
    """Do what `optimizer.load_state_dict` does, for a state that comes from a file: torch takes anything, and fails steps later.

    Raises:
        ValueError: A setting is of another type than that of this optimizer, a switch is set otherwise, or what it keeps for a
            parameter is not what it keeps after a step.
    """
    mine, theirs = optimizer.state_dict()["param_groups"], state["param_groups"]
    for own, other in zip(mine, theirs, strict=True):
        wrong = [key for key in own if key not in other or not is_alike(own[key], other[key])]
        wrong += [key for key in own if isinstance(own[key], bool) and other.get(key) is not own[key] and key not in wrong]
        if wrong or other.keys() - own.keys():
            raise ValueError(f"its settings differ: {', '.join(wrong) or ', '.join(map(str, other.keys() - own.keys()))}")
    expected = state_after_step(optimizer)
    optimizer.load_state_dict(state)
    for parameter, kept in optimizer.state.items():
        if missing := [str(name) for name in expected.get(parameter, {}) if name not in kept]:
            raise ValueError(f"it lacks {', '.join(missing)} of a parameter")
        for name, value in kept.items():
            own = expected.get(parameter, {}).get(name)
            if not (is_finite(value) and (own is None or is_alike(own, value))):
                raise ValueError(f"its {name} does not fit the parameters")


def state_after_step(optimizer: Optimizer) -> Mapping[Tensor, Mapping[Any, Any]]:
    """Return what an optimizer keeps for each parameter after a step with gradients of 0; the parameters stay as they are.

    Empty where it does not take such a step, as one that calls the loss itself. A checkpoint is then checked for values that
    are not finite only.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    before = [(parameter.detach().clone(), parameter.grad) for parameter in parameters]
    empty = optimizer.state_dict()
    try:
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        return {parameter: dict(kept) for parameter, kept in optimizer.state.items()}
    except Exception:  # code of a plugin
        return {}
    finally:
        for parameter, (value, gradient) in zip(parameters, before, strict=True):
            parameter.data.copy_(value)
            parameter.grad = gradient
        optimizer.load_state_dict(empty)


def is_finite(value: Any) -> bool:
    """Return whether all numbers in a value are finite, those in lists, tables and tensors included."""
    if isinstance(value, Tensor):
        return not value.is_floating_point() or bool(value.isfinite().all())
    if isinstance(value, Mapping):
        return all(map(is_finite, value.values()))
    if isinstance(value, list | tuple):
        return all(map(is_finite, value))
    return not isinstance(value, float) or isfinite(value)


def is_alike(own: Any, other: Any) -> bool:
    """Return whether two values are of one type, part for part, tensors of one shape, and numbers of the second finite."""
    if isinstance(own, Tensor):
        return isinstance(other, Tensor) and own.shape == other.shape and own.is_floating_point() == other.is_floating_point()
    if isinstance(own, list | tuple) and isinstance(other, list | tuple):
        return len(own) == len(other) and all(map(is_alike, own, other))
    if isinstance(own, float):
        return isinstance(other, int | float) and not isinstance(other, bool) and isfinite(other)
    return type(own) is type(other)
