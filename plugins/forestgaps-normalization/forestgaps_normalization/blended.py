"""A learned mixture of batch and group statistics."""

from __future__ import annotations

import math
from functools import partial

import torch
from attrs import field, frozen
from attrs.validators import and_, gt, lt
from torch import Tensor, nn
from torch.nn import functional

from forestgaps_core.components import NormFactory
from forestgaps_normalization.fields import eps_field, groups_field, momentum_field
from forestgaps_normalization.group import choose_groups


class BlendedNorm(nn.Module):
    """A mixture of batch norm and group norm with a learned weight per channel.

    Attributes:
        gate: Weight of batch norm before the sigmoid, (C,).
        weight: Scale after the mixture, (C,).
        bias: Offset after the mixture, (C,).
        running_mean: Replaces the mean of the batch outside training, (C,).
        running_var: Replaces the variance of the batch outside training, (C,).
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, *, groups: int = 8, start: float = 0.5, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.num_channels, self.num_groups, self.momentum, self.eps = channels, choose_groups(channels, groups), momentum, eps
        self.gate = nn.Parameter(torch.full((channels,), math.log(start / (1 - start))))
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        from_batch = self.training and x.numel() > x.shape[1]  # a single value per channel has no variance
        batch = functional.batch_norm(
            x, self.running_mean, self.running_var, training=from_batch, momentum=self.momentum, eps=self.eps
        )
        group = torch.group_norm(x, self.num_groups, eps=self.eps)
        mixed = group + self.gate.sigmoid()[:, None, None] * (batch - group)
        if self.weight is not None:
            mixed = mixed * self.weight[:, None, None]
        if self.bias is not None:
            mixed = mixed + self.bias[:, None, None]
        return mixed.to(x.dtype)

    def extra_repr(self) -> str:
        return f"{self.num_channels}, groups={self.num_groups}, momentum={self.momentum}, eps={self.eps}"


@frozen(kw_only=True)
class BlendedNormConfig:
    """A mixture of batch norm and group norm with a learned weight per channel; then scale and offset.

    Outside training, batch norm uses running averages, so the result of a tile does not depend on the batch.

    Formula: y = weight (g batch(x) + (1 - g) group(x)) + bias, with g = sigmoid(gate) for each of the C channels of x (B, C, H, W).

    Source: Nam & Kim 2018, section 3, arXiv:1805.07925, with group instead of instance statistics, and with a sigmoid instead of
    clipping to keep g between 0 and 1
    """

    groups: int = groups_field()
    start: float = field(
        default=0.5, validator=and_(gt(0), lt(1)), metadata={"help": "Weight of batch norm before training, between 0 and 1."}
    )
    momentum: float = momentum_field()
    eps: float = eps_field()

    def build(self) -> NormFactory:
        return partial(BlendedNorm, groups=self.groups, start=self.start, momentum=self.momentum, eps=self.eps)
