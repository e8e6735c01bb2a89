"""Statistics over each channel of one sample."""

from __future__ import annotations

from functools import partial

from attrs import frozen
from torch import nn

from forestgaps_core.components import NormFactory
from forestgaps_normalization.fields import eps_field
from forestgaps_normalization.group import GroupNorm


def instance_norm(channels: int, *, eps: float) -> nn.GroupNorm:
    """Return a group norm with one channel per group: equal to `nn.InstanceNorm2d`, but it preserves the memory layout."""
    return GroupNorm(channels, channels, eps=eps)


@frozen(kw_only=True)
class InstanceNormConfig:
    """Normalize each channel of a sample by its mean and standard deviation; then a learned scale and offset.

    It removes the level and contrast of each tile in every channel. Use it if they differ between surveys and are not relevant.

    Formula: y = weight (x - mean) / sqrt(variance + eps) + bias, with mean and variance of x (B, C, H, W) over H, W.

    Source: Ulyanov, Vedaldi & Lempitsky 2016, arXiv:1607.08022
    """

    eps: float = eps_field()

    def build(self) -> NormFactory:
        return partial(instance_norm, eps=self.eps)
