"""Statistics over groups of channels of one sample."""

from __future__ import annotations

from functools import partial

import torch
from attrs import frozen
from torch import Tensor, nn

from forestgaps_core.components import NormFactory
from forestgaps_normalization.fields import eps_field, groups_field


def choose_groups(channels: int, groups: int) -> int:
    """Return the largest divisor of `channels` that is at most `groups`: 8 groups become 6 for 12 channels, 1 for 13."""
    return max(divisor for divisor in range(1, min(groups, channels) + 1) if channels % divisor == 0)


class GroupNorm(nn.GroupNorm):
    """`nn.GroupNorm` that also accepts a single value per group, for which the result is the bias; the layer of torch does not."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


def group_norm(channels: int, *, groups: int, eps: float) -> nn.GroupNorm:
    return GroupNorm(choose_groups(channels, groups), channels, eps=eps)


@frozen(kw_only=True)
class GroupNormConfig:
    """Normalize each group of channels of a sample by mean and standard deviation; then a learned scale and offset per channel.

    The result of a sample does not depend on the other samples of the batch, so group norm works with small batches.

    Formula: y = weight (x - mean) / sqrt(variance + eps) + bias, with mean and variance of x (B, C, H, W) over the C / groups
    channels of a group and H, W.

    Source: Wu & He 2018, eq. 1 and 7, arXiv:1803.08494
    """

    groups: int = groups_field()
    eps: float = eps_field()

    def build(self) -> NormFactory:
        return partial(group_norm, groups=self.groups, eps=self.eps)
