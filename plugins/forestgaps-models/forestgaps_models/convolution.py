"""Convolutions of all networks."""

from __future__ import annotations

from torch import nn

from forestgaps_core import NormFactory


def convolution(inputs: int, outputs: int, *, size: int = 3, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    """Return a convolution that keeps the size of the tile, divided by the stride. The normalization after it has the bias."""
    return nn.Conv2d(inputs, outputs, size, stride=stride, padding=dilation * (size // 2), dilation=dilation, bias=False)


class ConvNormAct(nn.Sequential):
    """Convolution, normalization, ReLU. The result is not masked."""

    def __init__(self, inputs: int, outputs: int, normalization: NormFactory, *, size: int = 3, dilation: int = 1) -> None:
        super().__init__(convolution(inputs, outputs, size=size, dilation=dilation), normalization(outputs), nn.ReLU(inplace=True))
