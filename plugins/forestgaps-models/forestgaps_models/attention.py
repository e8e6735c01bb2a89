"""Attention: weights from 0 to 1 on feature channels and on places."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from forestgaps_core import NormFactory
from forestgaps_models.convolution import convolution

Attention = Literal["none", "gates", "cbam"]


class AttentionGate(nn.Module):
    """What comes from the way down, weighted at each place by how it fits what comes from below.

    alpha = sigmoid(w . relu(W_x x + W_g g)), one number per pixel; returns alpha * x. The paper's gating signal is coarser than
    x and its weights are enlarged; here g has been enlarged already, so both have one size.

    Args:
        channels: Channels of x.
        signal: Channels of g.

    Source: Oktay et al. 2018, eq. 1, arXiv:1804.03999
    """

    def __init__(self, channels: int, signal: int, normalization: NormFactory) -> None:
        super().__init__()
        inner = max(channels // 2, 1)
        self.of_skip = nn.Sequential(convolution(channels, inner, size=1), normalization(inner))
        self.of_signal = nn.Sequential(convolution(signal, inner, size=1), normalization(inner))
        self.weight = nn.Conv2d(inner, 1, 1)

    def forward(self, x: Tensor, signal: Tensor) -> Tensor:
        return x * torch.sigmoid(self.weight(torch.relu(self.of_skip(x) + self.of_signal(signal))))


class Cbam(nn.Module):
    """Weights on channels, from their means and maxima over the tile; then weights on places, from those over the channels.

    The first weights depend on the whole tile, so a pixel's result depends on the tile it was cut in. Pixels without data take
    no part: features are 0 there when they come in, and when they go out.

    Args:
        reduction: How many times fewer hidden units the weights on channels have; at least 4 are kept.
        window: Width of the convolution that makes the weights on places, pixels, odd.

    Source: Woo et al. 2018, eq. 1 to 3, arXiv:1807.06521
    """

    def __init__(self, channels: int, *, reduction: int = 8, window: int = 7) -> None:
        super().__init__()
        hidden = max(channels // reduction, 4)
        self.channel_weights = nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.ReLU(inplace=True), nn.Conv2d(hidden, channels, 1))
        self.spatial_weights = nn.Conv2d(2, 1, window, padding=window // 2)

    def forward(self, x: Tensor, known: Tensor) -> Tensor:
        mean = x.sum((2, 3), keepdim=True) / known.sum((2, 3), keepdim=True).clamp(min=1)
        # 0, and not minus infinity, without any known pixel.
        highest = torch.where(known, x, x.amin((1, 2, 3), keepdim=True)).amax((2, 3), keepdim=True)
        x = x * torch.sigmoid(self.channel_weights(mean) + self.channel_weights(highest))
        summary = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)
        return x * torch.sigmoid(self.spatial_weights(summary))


def make_attention(attention: Attention, channels: int) -> nn.Module | None:
    """The attention at the end of a residual block, if any."""
    return Cbam(channels) if attention == "cbam" else None
