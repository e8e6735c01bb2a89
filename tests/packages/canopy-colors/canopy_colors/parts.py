"""Data with further input layers, a model that uses them, an augmentation that changes them.

Only colors tell where the canopy of these tiles is: the DSM is ground alone.
"""

from typing import ClassVar

import torch
from attrs import define, evolve, field, frozen
from attrs.validators import deep_iterable, ge, in_
from torch import nn

from forestgaps_core import InputLayer, Tile
from forestgaps_core.runtime.rng import uniform

LAYERS = {
    "rgb": InputLayer(mean=(120.0, 130.0, 90.0), std=(30.0, 30.0, 30.0)),
    "infrared": InputLayer(mean=(120.0,), std=(30.0,)),
}


@define(eq=False)
class ColoredTiles:
    samples: int
    salt: int
    layers: tuple[str, ...]
    lacking: int

    def __len__(self):
        return self.samples

    def read(self, index, draw):
        key = torch.tensor([index * 10 + self.salt])
        relief, coarse = (uniform(key, name, count).float() for name, count in (("relief", 32 * 32), ("gaps", 16)))
        gap = (coarse.reshape(4, 4) < 0.4).repeat_interleave(8, 0).repeat_interleave(8, 1)
        height = torch.where(gap, 1.0, 20.0)
        valid = relief.reshape(32, 32) < 0.95
        colors = torch.where(valid, torch.where(gap, 90.0, 150.0), 0.0)
        layers = {} if index == self.lacking else {name: colors.expand(LAYERS[name].channels, -1, -1) for name in self.layers}
        return Tile(dsm=400 + relief.reshape(32, 32), height=height, valid=valid, layers=layers)


@define(eq=False)
class ColoredData:
    layers: dict[str, InputLayer]
    train: ColoredTiles
    validation: ColoredTiles
    test: ColoredTiles
    resolution_m: float = 1.0


@frozen(kw_only=True)
class Colored:
    """Tiles whose canopy shows in their colors only."""

    layers: tuple[str, ...] = field(
        default=(), validator=deep_iterable(in_(tuple(LAYERS))), metadata={"help": "Further layers of the tiles."}
    )
    samples: int = field(default=16, validator=ge(1), metadata={"help": "Tiles in an epoch."})
    lacking: int = field(default=-1, metadata={"help": "A tile without further layers, to try it."})

    def build(self):
        splits = [ColoredTiles(self.samples, salt, self.layers, self.lacking) for salt in range(3)]
        return ColoredData({name: LAYERS[name] for name in self.layers}, *splits)


class ColorNetwork(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.scales = {
            name: (torch.tensor(one.mean), torch.tensor([std or 1.0 for std in one.std])) for name, one in layers.items()
        }
        self.first = nn.Conv2d(1 + sum(one.channels for one in layers.values()), 8, 3, padding=1)
        self.last = nn.Conv2d(8, 1, 1)

    def forward(self, dsm, valid, thresholds, layers=None):
        mean = (dsm * valid).sum((2, 3), keepdim=True) / valid.sum((2, 3), keepdim=True).clamp(min=1)
        channels = [torch.where(valid, (dsm - mean) / 10, 0.0)]
        for name, (center, width) in self.scales.items():
            scaled = (layers[name] - center[:, None, None]) / width[:, None, None]
            channels.append(torch.where(valid, scaled, 0.0))
        found = self.last(self.first(torch.cat(channels, dim=1)).relu())
        return found + thresholds[:, :, None, None] / 10


@frozen(kw_only=True)
class ColorModel:
    """A convolution over the DSM and the further layers."""

    def build(self, layers):
        return ColorNetwork(layers)


@frozen(kw_only=True)
class Brightness:
    """Another brightness of all further layers."""

    changes: ClassVar[tuple[str, ...]] = ("layers",)

    def build(self):
        return brighten


def brighten(tiles):
    factor = (0.9 + 0.2 * uniform(tiles.draw, "brightness", 1).float())[:, :, None, None]
    return evolve(tiles, layers={name: layer * factor for name, layer in tiles.layers.items()})
