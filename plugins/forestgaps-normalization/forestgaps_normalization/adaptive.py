"""Batch norm or group norm, depending on the size of the training batch."""

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
    """A factory of layers with the choice it implements and the reason for it.

    Attributes:
        chosen: Name of the normalization.
        batch_per_device: Number of samples per device and step in training.
        small_batch: With fewer samples, group norm is chosen.
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
    """Batch norm for large batches per device, group norm for small ones.

    The choice is made once, when the network is built, from the number of samples per device in training. A layer that chose by
    the size of the current batch would use untrained weights to map a single tile. The factory has the choice as `chosen`.

    Formula: that of `batch` if batch_per_device >= small_batch, else that of `group`.

    Source: Wu & He 2018, figure 1 (the error of batch norm grows as a device sees fewer samples), arXiv:1803.08494
    """

    small_batch: int = field(
        default=8, validator=ge(2), metadata={"help": "Samples per device below which group norm is used, at least 2."}
    )
    groups: int = groups_field()
    momentum: float = momentum_field()
    eps: float = eps_field()

    def build(self, batch_per_device: int) -> Decision:
        if batch_per_device < self.small_batch:
            return Decision("group", batch_per_device, self.small_batch, GroupNormConfig(groups=self.groups, eps=self.eps).build())
        factory = BatchNormConfig(momentum=self.momentum, eps=self.eps).build()
        return Decision("batch", batch_per_device, self.small_batch, factory)
