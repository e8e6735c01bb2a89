"""Statistics over the batch in training, running averages otherwise."""

from __future__ import annotations

from functools import partial

from attrs import frozen
from torch import nn

from forestgaps_core.components import NormFactory
from forestgaps_normalization.fields import eps_field, momentum_field


@frozen(kw_only=True)
class BatchNormConfig:
    """Normalize each channel by its mean and standard deviation over all pixels of the batch; then a learned scale and offset.

    Outside training, running averages replace the statistics of the batch, so the result of a tile does not depend on the batch.
    Use at least about eight samples per device for reliable averages.

    Formula: y = weight (x - mean) / sqrt(variance + eps) + bias, with mean and variance of x (B, C, H, W) over B, H, W.

    Source: Ioffe & Szegedy 2015, algorithm 1, arXiv:1502.03167
    """

    momentum: float = momentum_field()
    eps: float = eps_field()

    def build(self) -> NormFactory:
        return partial(nn.BatchNorm2d, momentum=self.momentum, eps=self.eps)
