"""Statistics over the channels of one pixel."""

from __future__ import annotations

from functools import partial

import torch
from attrs import frozen
from torch import Tensor, nn

from forestgaps_core.components import NormFactory
from forestgaps_normalization.fields import eps_field


class ChannelLayerNorm(nn.LayerNorm):
    """`nn.LayerNorm` over the channels of each pixel of (B, C, H, W). The memory layout is preserved."""

    def __init__(self, channels: int, *, eps: float = 1e-5) -> None:
        super().__init__(channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        layout = torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
        return y.contiguous(memory_format=layout)


@frozen(kw_only=True)
class LayerNormConfig:
    """Normalize the channels of each pixel by their mean and standard deviation; then a learned scale and offset per channel.

    Statistics are over the channels only, not over the tile. The value of a pixel therefore does not depend on its window, and
    windows of a large map join without seams. For statistics over channels and tile, use `group` with `groups = 1`.

    Formula: y = weight (x - mean) / sqrt(variance + eps) + bias, with mean and variance of x (B, C, H, W) over C.

    Source: Ba, Kiros & Hinton 2016, eq. 3, arXiv:1607.06450; over the channels of a pixel as in Liu et al. 2022, arXiv:2201.03545
    """

    eps: float = eps_field()

    def build(self) -> NormFactory:
        return partial(ChannelLayerNorm, eps=self.eps)
