"""Batch norm or group norm, as the size of the training batch demands."""

from __future__ import annotations

from typing import Literal

from attrs import field, frozen
from attrs.validators import ge
from torch import nn

from forestgaps_core.components import NormFactory
from forestgaps_normalization.batch import BatchNormConfig
from forestgaps_normalization.fields import eps_field, groups_field, momentum_field
from forestgaps_normalization.group import GroupNormConfig


@frozen
class Decision:
    """A factory that says what it makes, and why.

    Attributes:
        chosen: The name of the normalization.
        batch_per_device: Samples a device sees at once in training.
        small_batch: Below so many it would be, or is, group norm.
        factory: Makes the layers.
    """

    chosen: Literal["batch", "group"]
    batch_per_device: int
    small_batch: int
    factory: NormFactory = field(repr=False)

    def __call__(self, channels: int) -> nn.Module:
        return self.factory(channels)


@frozen(kw_only=True)
class Adaptive:
    """Batch norm where a device sees enough samples to estimate it, group norm where it does not.

    Decided once, when the network is built, from the samples per device in training: a layer that switched by the size of the
    batch at hand would use untrained weights to map a single tile. The factory keeps the decision as `chosen`.

    Formula: that of `batch` if batch_per_device >= small_batch, else that of `group`.

    Source: Wu & He 2018, figure 1 (the error of batch norm grows as a device sees fewer samples), arXiv:1803.08494
    """

    small_batch: int = field(default=8, validator=ge(2), metadata={"help": "Samples per device, 2 or more; below it, group norm."})
    groups: int = groups_field()
    momentum: float = momentum_field()
    eps: float = eps_field()

    def build(self, batch_per_device: int) -> Decision:
        if batch_per_device < self.small_batch:
            return Decision("group", batch_per_device, self.small_batch, GroupNormConfig(groups=self.groups, eps=self.eps).build())
        factory = BatchNormConfig(momentum=self.momentum, eps=self.eps).build()
        return Decision("batch", batch_per_device, self.small_batch, factory)
