"""Stochastic gradient descent with momentum."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import field, frozen
from attrs.validators import and_, ge, lt
from torch import nn, optim

from forestgaps_optimizers.groups import GROUPS, GroupSettings, can_fuse, parameter_groups
from forestgaps_optimizers.settings import ADDED, learning_rate, weight_decay


@frozen(kw_only=True)
class SGD:
    """Stochastic gradient descent with momentum. Source: Sutskever et al. 2013, section 2, PMLR 28(3):1139"""

    learning_rate: float = learning_rate(1e-2)
    weight_decay: float = weight_decay(0.0, ADDED)
    momentum: float = field(default=0.9, validator=and_(ge(0), lt(1)), metadata={"help": "Fraction of the previous step kept."})
    nesterov: bool = field(default=False, metadata={"help": "Look ahead along the momentum; requires momentum above 0."})
    groups: GroupSettings = field(factory=GroupSettings, metadata=GROUPS)

    def __attrs_post_init__(self) -> None:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov = true needs a momentum above 0")

    def build(self, modules: Sequence[nn.Module]) -> optim.Optimizer:
        groups = parameter_groups(modules, self.weight_decay, self.learning_rate, self.groups)
        return optim.SGD(groups, lr=self.learning_rate, momentum=self.momentum, nesterov=self.nesterov, fused=can_fuse(groups))
