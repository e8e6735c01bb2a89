"""A network with an encoder of its own, and a normalization."""

from functools import partial

import torch
from attrs import field, frozen
from attrs.validators import ge
from torch import nn


class Encoder(nn.Module):
    """Features at full and half the resolution, with dropout."""

    def __init__(self, width, norm):
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, width, 3, padding=1), norm(width)
        self.second, self.dropout = nn.Conv2d(width, width, 3, padding=1), nn.Dropout(0.1)

    def forward(self, relief):
        fine = self.norm(self.first(relief)).relu()
        coarse = self.second(nn.functional.avg_pool2d(fine, 2, ceil_mode=True)).relu()
        return self.dropout(fine + nn.functional.interpolate(coarse, size=fine.shape[-2:]))


class Pyramid(nn.Module):
    def __init__(self, width, norm):
        super().__init__()
        self.encoder, self.head = Encoder(width, norm), nn.Conv2d(width, 2, 1)

    def forward(self, dsm, valid, thresholds):
        known = torch.where(valid, dsm, 0)
        relief = torch.where(valid, dsm - known.sum((2, 3), keepdim=True) / valid.sum((2, 3), keepdim=True).clamp(min=1), 0)
        scale, shift = self.head(self.encoder(relief / 10)).split(1, 1)
        return nn.functional.softplus(scale) * thresholds.log()[:, :, None, None] + shift


@frozen(kw_only=True)
class PyramidConfig:
    """A network of two resolutions."""

    width: int = field(default=4, validator=ge(1), metadata={"help": "Channels."})

    def build(self, normalization):
        return Pyramid(self.width, normalization)


class ScaledFeatures(nn.Module):
    """Features times a learned factor for each channel."""

    def __init__(self, channels, start):
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels, 1, 1), start))

    def forward(self, features):
        return features * self.weight


@frozen(kw_only=True)
class Scaled:
    """A learned factor for each channel, without statistics."""

    start: float = field(default=1.0, metadata={"help": "Factor at the beginning."})

    def build(self):
        return partial(ScaledFeatures, start=self.start)
