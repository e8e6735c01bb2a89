"""Optimizers, with parameter groups: norms and biases, and whatever a loss learns, are not decayed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf, isfinite
from typing import Any

import torch
from attrs import field, frozen
from attrs.validators import and_, deep_iterable, ge, gt, le, lt, max_len, min_len
from torch import Tensor, nn

OPTIMIZERS: Mapping[str, str] = {
    "adam": "forestgaps_core.config.optimizers:Adam",
    "adamw": "forestgaps_core.config.optimizers:AdamW",
    "sgd": "forestgaps_core.config.optimizers:SGD",
}

RATE: Any = and_(gt(0), le(1000))
DECAY: Any = and_(ge(0), le(1000))
BETAS: Any = and_(min_len(2), max_len(2), deep_iterable(and_(ge(0), lt(1))))


def parameter_groups(modules: Iterable[object], weight_decay: float) -> list[dict[str, Any]]:
    """Two groups: weights of two or more dimensions, which decay, and the rest (norms, biases, scalars), which do not."""
    decayed: list[Tensor] = []
    kept: list[Tensor] = []
    for place, module in enumerate(modules):
        if isinstance(module, nn.Module):
            for parameter in module.parameters():
                if parameter.requires_grad:
                    # The first module is the network; what a loss learns is a balance, not a weight.
                    (decayed if parameter.dim() > 1 and place == 0 else kept).append(parameter)
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def clip(gradients: list[Tensor], largest: float) -> Tensor:
    """Scale gradients down, in place, to a norm of at most `largest`; their norm before, (), on the device.

    As `torch.nn.utils.clip_grad_norm_`, whose bookkeeping costs more than the kernels where networks are small. All on one device.
    Source: Pascanu et al. 2013, algorithm 1, arXiv:1211.5063
    """
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    if largest < inf:
        torch._foreach_mul_(gradients, (largest / (norm + 1e-6)).clamp_(max=1.0))
    return norm


def fused(groups: list[dict[str, Any]]) -> bool:
    """One kernel for all parameters, where torch has it (a third of the default's time on a CPU)."""
    return all(p.device.type in ("cpu", "cuda", "mps") and p.is_floating_point() for group in groups for p in group["params"])


@frozen(kw_only=True)
class Adam:
    """Adam with L2 regularization. Source: Kingma & Ba 2015, algorithm 1, arXiv:1412.6980"""

    learning_rate: float = field(default=1e-3, validator=RATE, metadata={"help": "Base rate, before the schedule's factor."})
    weight_decay: float = field(default=0.0, validator=DECAY, metadata={"help": "Added to the gradient of weights."})
    betas: tuple[float, ...] = field(default=(0.9, 0.999), validator=BETAS, metadata={"help": "Decay of the two moments."})

    def build(self, modules: Iterable[object]) -> torch.optim.Optimizer:
        groups = parameter_groups(modules, self.weight_decay)
        return torch.optim.Adam(groups, lr=self.learning_rate, betas=(self.betas[0], self.betas[1]), fused=fused(groups))


@frozen(kw_only=True)
class AdamW:
    """Adam with decoupled weight decay. Source: Loshchilov & Hutter 2019, algorithm 2, arXiv:1711.05101"""

    learning_rate: float = field(default=1e-3, validator=RATE, metadata={"help": "Base rate, before the schedule's factor."})
    weight_decay: float = field(default=1e-2, validator=DECAY, metadata={"help": "Share of a weight lost a step, times the rate."})
    betas: tuple[float, ...] = field(default=(0.9, 0.999), validator=BETAS, metadata={"help": "Decay of the two moments."})

    def build(self, modules: Iterable[object]) -> torch.optim.Optimizer:
        groups = parameter_groups(modules, self.weight_decay)
        return torch.optim.AdamW(groups, lr=self.learning_rate, betas=(self.betas[0], self.betas[1]), fused=fused(groups))


@frozen(kw_only=True)
class SGD:
    """Stochastic gradient descent with momentum. Source: Sutskever et al. 2013, section 2, PMLR 28(3):1139"""

    learning_rate: float = field(default=1e-2, validator=RATE, metadata={"help": "Base rate, before the schedule's factor."})
    weight_decay: float = field(default=0.0, validator=DECAY, metadata={"help": "Added to the gradient of weights."})
    momentum: float = field(default=0.9, validator=and_(ge(0), lt(1)), metadata={"help": "Share of the last step kept."})
    nesterov: bool = field(default=False, metadata={"help": "Look ahead along the momentum; needs momentum above 0."})

    def __attrs_post_init__(self) -> None:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov = true needs a momentum above 0")

    def build(self, modules: Iterable[object]) -> torch.optim.Optimizer:
        groups = parameter_groups(modules, self.weight_decay)
        return torch.optim.SGD(groups, lr=self.learning_rate, momentum=self.momentum, nesterov=self.nesterov, fused=fused(groups))


# --- resuming -------------------------------------------------------------------------------------------------------


MOMENTS: Mapping[type, set[str]] = {kind: {"step", "exp_avg", "exp_avg_sq"} for kind in (torch.optim.Adam, torch.optim.AdamW)}


def load_optimizer(optimizer: torch.optim.Optimizer, state: Any) -> None:
    """What `optimizer.load_state_dict` does, for a state that comes from a file: torch takes anything, and fails steps later.

    Raises:
        ValueError: A setting is of another type than that of this optimizer, a switch is set otherwise, or a moment does not fit
            its weights.
    """
    mine, theirs = optimizer.state_dict()["param_groups"], state["param_groups"]
    for own, other in zip(mine, theirs, strict=True):
        wrong = [key for key in own if key not in other or not alike(own[key], other[key])]
        wrong += [key for key in own if isinstance(own[key], bool) and other.get(key) is not own[key] and key not in wrong]
        if wrong or other.keys() - own.keys():
            raise ValueError(f"its settings differ: {', '.join(wrong) or ', '.join(map(str, other.keys() - own.keys()))}")
    optimizer.load_state_dict(state)
    for parameter, kept in optimizer.state.items():
        if kept.keys() != MOMENTS.get(type(optimizer), kept.keys()):
            raise ValueError("it lacks moments of the weights, or has others")
        for name, value in kept.items():
            shape = () if name == "step" else parameter.shape
            fits = isinstance(value, Tensor) and value.shape == shape and value.is_floating_point() and value.isfinite().all()
            if not fits and (name, value) != ("momentum_buffer", None):  # which SGD without momentum keeps
                raise ValueError(f"its {name} does not fit the weights")


def alike(own: Any, other: Any) -> bool:
    """Of one type, part for part; a number that is not finite is none."""
    if isinstance(own, list | tuple) and isinstance(other, list | tuple):
        return len(own) == len(other) and all(map(alike, own, other))
    if isinstance(own, float):
        return isinstance(other, int | float) and not isinstance(other, bool) and isfinite(other)
    return type(own) is type(other)
