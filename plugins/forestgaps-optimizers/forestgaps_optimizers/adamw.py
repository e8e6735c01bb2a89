"""Adam with decoupled weight decay."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import field, frozen
from torch import nn, optim

from forestgaps_optimizers.groups import GROUPS, GroupSettings, can_fuse, parameter_groups
from forestgaps_optimizers.settings import DECOUPLED, MOMENTS, betas, learning_rate, weight_decay


@frozen(kw_only=True)
class AdamW:
    """Adam with decoupled weight decay. Source: Loshchilov & Hutter 2019, algorithm 2, arXiv:1711.05101"""

    learning_rate: float = learning_rate(1e-3)
    weight_decay: float = weight_decay(1e-2, DECOUPLED)
    betas: tuple[float, ...] = betas((0.9, 0.999), MOMENTS)
    groups: GroupSettings = field(factory=GroupSettings, metadata=GROUPS)

    def build(self, modules: Sequence[nn.Module]) -> optim.Optimizer:
        groups = parameter_groups(modules, self.weight_decay, self.learning_rate, self.groups)
        return optim.AdamW(groups, lr=self.learning_rate, betas=(self.betas[0], self.betas[1]), fused=can_fuse(groups))
