"""A network and a loss in which every sample is by itself: no statistics over a batch, no dropout, no share of valid pixels."""

from __future__ import annotations

from attrs import frozen
from torch import nn

from forestgaps_core import hookimpl


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 1, 1)

    def forward(self, dsm, valid, thresholds):
        relief = (dsm - dsm.mean((2, 3), keepdim=True)) / 10
        return self.last(self.first(relief).relu()) + thresholds[:, :, None, None] / 10


@frozen(kw_only=True)
class PlainConfig:
    """See the module."""

    def build(self):
        return Plain()


@frozen(kw_only=True)
class EachConfig:
    """Mean squared error, every sample the same."""

    def build(self):
        return lambda logits, batch: ((logits.sigmoid() - batch.target) ** 2).mean()


@hookimpl
def forestgaps_models():
    return {"plain": PlainConfig}


@hookimpl
def forestgaps_losses():
    return {"each": EachConfig}
