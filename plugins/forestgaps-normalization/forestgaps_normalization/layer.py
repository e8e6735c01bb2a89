"""Statistics over the channels of one pixel."""

from __future__ import annotations

from functools import partial

import torch
from attrs import frozen
from torch import Tensor, nn

from forestgaps_core.components import NormFactory
from forestgaps_normalization.fields import eps_field


class ChannelLayerNorm(nn.LayerNorm):
    """`nn.LayerNorm` over the channels of (B, C, H, W), each pixel on its own. The layout in memory is kept."""

    def __init__(self, channels: int, *, eps: float = 1e-5) -> None:
        super().__init__(channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        kept = torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
        return y.contiguous(memory_format=kept)


def layer_norm(channels: int, *, eps: float) -> ChannelLayerNorm:
    return ChannelLayerNorm(channels, eps=eps)


@frozen(kw_only=True)
class LayerNormConfig:
    """The channels of a pixel less their mean over their deviation; then a learned scale and offset for each channel.

    Taken over the channels alone, not over the tile, so that a pixel's value does not depend on what else its window holds, and
    windows of a large map join without a seam. For statistics over channels and tile together use `group` with `groups = 1`.

    Formula: y = weight (x - mean) / sqrt(variance + eps) + bias, mean and variance of x (B, C, H, W) over C.

    Source: Ba, Kiros & Hinton 2016, eq. 3, arXiv:1607.06450; over the channels of a pixel as in Liu et al. 2022, arXiv:2201.03545
    """

    eps: float = eps_field()

    def build(self) -> NormFactory:
        return partial(layer_norm, eps=self.eps)
