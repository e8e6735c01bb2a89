"""Muon: steps along the orthogonalized momentum of each weight matrix; AdamW for all other parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import sqrt
from typing import Any

import torch
from attrs import field, frozen
from attrs.validators import and_, ge, lt
from torch import Tensor, nn, optim

from forestgaps_optimizers.groups import GROUPS, GroupSettings, parameter_groups
from forestgaps_optimizers.settings import DECOUPLED, betas, learning_rate, weight_decay

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # coefficients of Jordan et al. 2024, kellerjordan.github.io/posts/muon
ITERATIONS = 5
EPS = 1e-8


class MuonOptimizer(optim.Optimizer):
    """Muon for the groups with `matrices`, AdamW for the others.

    `torch.optim.Muon` takes matrices only. This one also takes convolutions, as matrices of the shape (output channels, rest), and
    keeps the other parameters in the same object, so that one state resumes a run.

    Source: Liu et al. 2025, section 2, arXiv:2502.16982 (a step has the size of one of AdamW, so both use one learning rate)
    """

    def __init__(self, groups: Iterable[dict[str, Any]], *, momentum: float, betas: tuple[float, float]) -> None:
        super().__init__(groups, {"momentum": momentum, "betas": betas, "weight_decay": 0.0, "matrices": False})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take one step; `closure` is not used."""
        for group in self.param_groups:
            move = self._step_matrix if group["matrices"] else self._step_adamw
            for parameter in group["params"]:
                if parameter.grad is not None:
                    move(parameter, parameter.grad, group)
        return None

    def _step_matrix(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        moment = self.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))
        moment.lerp_(gradient, 1 - group["momentum"])
        direction = orthogonalize(gradient.lerp(moment, group["momentum"]).flatten(1))
        size = 0.2 * sqrt(max(direction.shape))
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(direction.view(parameter.shape), alpha=-group["lr"] * size)

    def _step_adamw(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state, (beta1, beta2) = self.state[parameter], group["betas"]
        first = state.setdefault("exp_avg", torch.zeros_like(parameter)).lerp_(gradient, 1 - beta1)
        second = state.setdefault("exp_avg_sq", torch.zeros_like(parameter)).mul_(beta2)
        second.addcmul_(gradient, gradient, value=1 - beta2)
        state["step"] = step = state.get("step", 0) + 1
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        scale = second.sqrt().div_(sqrt(1 - beta2**step)).add_(EPS)
        parameter.addcdiv_(first, scale, value=-group["lr"] / (1 - beta1**step))


def orthogonalize(matrix: Tensor) -> Tensor:
    """Return about U V^T of the singular value decomposition U S V^T of a matrix, (M, N), by the Newton-Schulz iteration."""
    a, b, c = NEWTON_SCHULZ
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / x.norm().clamp(min=EPS)
    for _ in range(ITERATIONS):
        square = x @ x.T
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return (x.T if tall else x).contiguous()


def is_matrix(parameter: Tensor) -> bool:
    """Return whether a weight has at least two rows and two columns as a matrix of the shape (output channels, rest)."""
    return parameter.dim() > 1 and min(parameter.shape[0], parameter.numel() // max(parameter.shape[0], 1)) > 1


@frozen(kw_only=True)
class Muon:
    """Muon for weights of two or more dimensions of the network, AdamW for norms, biases and what a loss learns.

    A convolution is a matrix of the shape (output channels, rest). Weights with one output channel, or one value for each, use
    AdamW too. Source: Liu et al. 2025, section 2, arXiv:2502.16982
    """

    learning_rate: float = learning_rate(1e-3)
    weight_decay: float = weight_decay(1e-2, DECOUPLED)
    momentum: float = field(
        default=0.95, validator=and_(ge(0), lt(1)), metadata={"help": "Fraction of the momentum of matrices kept in each step."}
    )
    betas: tuple[float, ...] = betas((0.9, 0.999), "Decay rates of the two moments of AdamW.")
    groups: GroupSettings = field(factory=GroupSettings, metadata=GROUPS)

    def build(self, modules: Sequence[nn.Module]) -> optim.Optimizer:
        of_network = {id(parameter) for parameter in modules[0].parameters() if is_matrix(parameter)}
        groups = []
        for group in parameter_groups(modules, self.weight_decay, self.learning_rate, self.groups):
            for matrices in (True, False):
                chosen = [parameter for parameter in group["params"] if (id(parameter) in of_network) == matrices]
                if chosen:
                    groups.append({**group, "params": chosen, "matrices": matrices})
        return MuonOptimizer(groups, momentum=self.momentum, betas=(self.betas[0], self.betas[1]))
