"""Attention: weights from 0 to 1 on feature channels and on pixels."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from forestgaps_core import NormFactory
from forestgaps_models.convolution import convolution

Attention = Literal["none", "gates", "cbam"]


class AttentionGate(nn.Module):
    """Weights the features x of a skip connection at each pixel by a gating signal g from the decoder.

    alpha = sigmoid(w . relu(W_x x + W_g g)), one number per pixel; returns alpha * x. In the paper, g is coarser than x; here g
    is upsampled before, so both have the same size.

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
    """Channel attention from means and maxima over the tile, then spatial attention from means and maxima over the channels.

    The channel weights depend on the whole tile, so the result of a pixel depends on its tile. Pixels without data have no
    effect: their features are 0 in the input and in the output.

    Args:
        reduction: Ratio of channels to hidden units of the channel attention; there are at least 4 hidden units.
        window: Width of the convolution of the spatial attention, in pixels, odd.

    Source: Woo et al. 2018, eq. 1 to 3, arXiv:1807.06521
    """

    def __init__(self, channels: int, *, reduction: int = 8, window: int = 7) -> None:
        super().__init__()
        hidden = max(channels // reduction, 4)
        self.channel_weights = nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.ReLU(inplace=True), nn.Conv2d(hidden, channels, 1))
        self.spatial_weights = nn.Conv2d(2, 1, window, padding=window // 2)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        mean = x.sum((2, 3), keepdim=True) / valid.sum((2, 3), keepdim=True).clamp(min=1)
        # Without valid pixels the maximum is 0, not minus infinity.
        highest = torch.where(valid, x, x.amin((1, 2, 3), keepdim=True)).amax((2, 3), keepdim=True)
        x = x * torch.sigmoid(self.channel_weights(mean) + self.channel_weights(highest))
        summary = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)
        return x * torch.sigmoid(self.spatial_weights(summary))


def make_attention(attention: Attention, channels: int) -> nn.Module | None:
    """Return the attention at the end of a residual block, or None."""
    return Cbam(channels) if attention == "cbam" else None
