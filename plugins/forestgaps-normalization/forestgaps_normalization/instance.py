"""Statistics over each channel of one sample."""

from __future__ import annotations

from functools import partial

from attrs import frozen
from torch import nn

from forestgaps_core.components import NormFactory
from forestgaps_normalization.fields import eps_field
from forestgaps_normalization.group import GroupNorm


def instance_norm(channels: int, *, eps: float) -> nn.GroupNorm:
    """Group norm with a channel to a group: the same values as `nn.InstanceNorm2d`, which loses the channels-last layout."""
    return GroupNorm(channels, channels, eps=eps)


@frozen(kw_only=True)
class InstanceNormConfig:
    """Each channel of a sample less its mean over its deviation; then a learned scale and offset.

    Takes away a tile's own level and contrast, in every channel: fit for surveys that differ in them, not for what lies in them.

    Formula: y = weight (x - mean) / sqrt(variance + eps) + bias, mean and variance of x (B, C, H, W) over H, W.

    Source: Ulyanov, Vedaldi & Lempitsky 2016, arXiv:1607.08022
    """

    eps: float = eps_field()

    def build(self) -> NormFactory:
        return partial(instance_norm, eps=self.eps)
