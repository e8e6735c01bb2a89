"""Statistics over the batch in training, running averages of them in use."""

from __future__ import annotations

from functools import partial

from attrs import frozen
from torch import nn

from forestgaps_core.components import NormFactory
from forestgaps_normalization.fields import eps_field, momentum_field


def batch_norm(channels: int, *, momentum: float, eps: float) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, momentum=momentum, eps=eps)


@frozen(kw_only=True)
class BatchNormConfig:
    """Each channel less its mean over its deviation, taken over all pixels of the batch; then a learned scale and offset.

    Outside training, running averages stand in for the batch's mean and variance, so a tile alone is treated as in a batch. Wants
    some eight samples on a device for averages that hold.

    Formula: y = weight (x - mean) / sqrt(variance + eps) + bias, mean and variance of x (B, C, H, W) over B, H, W.

    Source: Ioffe & Szegedy 2015, algorithm 1, arXiv:1502.03167
    """

    momentum: float = momentum_field()
    eps: float = eps_field()

    def build(self) -> NormFactory:
        return partial(batch_norm, momentum=self.momentum, eps=self.eps)
