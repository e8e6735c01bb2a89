"""Lion: steps in the direction of the sign of an interpolated momentum."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from attrs import field, frozen
from torch import nn, optim

from forestgaps_optimizers.groups import GROUPS, GroupSettings, parameter_groups
from forestgaps_optimizers.settings import DECOUPLED, betas, learning_rate, weight_decay


class LionOptimizer(optim.Optimizer):
    """Keeps one moment for each parameter, half of what Adam keeps.

    Source: Chen et al. 2023, algorithm 2, arXiv:2302.06675
    """

    def __init__(self, groups: Iterable[dict[str, Any]], *, lr: float, betas: tuple[float, float]) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take one step; `closure` is not used."""
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                moment = self.state[parameter].setdefault("exp_avg", torch.zeros_like(parameter))
                direction = torch.lerp(parameter.grad, moment, beta1).sign_()
                parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(direction, alpha=group["lr"])
                moment.lerp_(parameter.grad, 1 - beta2)
        return None


@frozen(kw_only=True)
class Lion:
    """Steps of one size for every weight, with decoupled weight decay. Use a third to a tenth of the learning rate of AdamW.

    Source: Chen et al. 2023, algorithm 2, arXiv:2302.06675
    """

    learning_rate: float = learning_rate(1e-4)
    weight_decay: float = weight_decay(0.1, DECOUPLED)
    betas: tuple[float, ...] = betas((0.9, 0.99), "Decay rates of the direction of a step and of the moment.")
    groups: GroupSettings = field(factory=GroupSettings, metadata=GROUPS)

    def build(self, modules: Sequence[nn.Module]) -> optim.Optimizer:
        groups = parameter_groups(modules, self.weight_decay, self.learning_rate, self.groups)
        return LionOptimizer(groups, lr=self.learning_rate, betas=(self.betas[0], self.betas[1]))
