"""The convolution that all networks here are made of."""

from __future__ import annotations

from torch import nn

from forestgaps_core import NormFactory


def convolution(inputs: int, outputs: int, *, size: int = 3, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    """A convolution that keeps the size of the tile (over the stride); without bias, for the normalization that follows has one."""
    return nn.Conv2d(inputs, outputs, size, stride=stride, padding=dilation * (size // 2), dilation=dilation, bias=False)


class ConvNormAct(nn.Sequential):
    """Convolution, normalization, ReLU. Its result is not masked."""

    def __init__(self, inputs: int, outputs: int, normalization: NormFactory, *, size: int = 3, dilation: int = 1) -> None:
        super().__init__(convolution(inputs, outputs, size=size, dilation=dilation), normalization(outputs), nn.ReLU(inplace=True))
