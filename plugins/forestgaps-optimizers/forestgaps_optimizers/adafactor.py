"""Adafactor: the second moment of a matrix kept as one row and one column."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import field, frozen
from torch import nn, optim

from forestgaps_optimizers.groups import GROUPS, GroupSettings, parameter_groups
from forestgaps_optimizers.settings import DECOUPLED, learning_rate, weight_decay


@frozen(kw_only=True)
class Adafactor:
    """Adam without a first moment, whose second moment of a weight needs a row and a column of memory only.

    Steps are relative to the size of a weight. Source: Shazeer & Stern 2018, algorithm 4, arXiv:1804.04235
    """

    learning_rate: float = learning_rate(1e-2)
    weight_decay: float = weight_decay(0.0, DECOUPLED)
    groups: GroupSettings = field(factory=GroupSettings, metadata=GROUPS)

    def build(self, modules: Sequence[nn.Module]) -> optim.Optimizer:
        return optim.Adafactor(parameter_groups(modules, self.weight_decay, self.learning_rate, self.groups), lr=self.learning_rate)
