"""A forest, a network and a loss, small enough for tests: trained in a second, without any other package."""

from __future__ import annotations

import math

import numpy as np
import torch
from attrs import define, field, frozen
from torch import nn

from forestgaps_core import Kind, Tile, hookimpl
from forestgaps_core.runtime.rng import uniform
from forestgaps_core.testing.example_run import example_loss

SIZE = 40  # pixels of 5 m: a tile is 200 m wide and has four cells


@define(eq=False)
class Wood:
    """Crowns of 4 x 4 pixels on slopes that rise from tile to tile; two neighboring tiles make a block."""

    tiles: int
    salt: int
    garbage: float = 0.0

    def __len__(self):
        return self.tiles

    def read(self, index, draw):
        key = torch.tensor([index * 1000 + self.salt])
        crowns = uniform(key, "crowns", 100).reshape(10, 10).float() * (10 + 4 * (index % 5))
        height = crowns.repeat_interleave(4, 0).repeat_interleave(4, 1)
        steep = math.tan(math.radians(5 + 10 * (index % 4)))
        ground = 300 + 5 * steep * torch.arange(SIZE)[:, None].expand(SIZE, SIZE)
        valid = uniform(key, "valid", SIZE * SIZE).reshape(SIZE, SIZE) > 0.1
        dsm = torch.where(valid, ground + height, self.garbage)
        return Tile(dsm=dsm.float(), height=torch.where(valid, height, -self.garbage), valid=valid)

    def block(self, index):
        return index // 2

    def site(self, index):
        return "hill" if index < 6 else "vale"


@define(eq=False)
class Woods:
    train: Wood
    validation: Wood
    test: Wood
    resolution_m: float = 5.0


@frozen(kw_only=True)
class WoodsConfig:
    """Made-up woods."""

    tiles: int = field(default=8, metadata={"help": "Tiles of each split."})
    place: int = field(default=0, metadata={"help": "Another number, other tiles."})

    def build(self):
        return Woods(*(Wood(self.tiles, 10 * self.place + salt) for salt in range(3)))


class Net(nn.Module):
    """Height is what stands above the lowest ground nearby, scaled."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(0.5 + torch.rand(()))
        self.noise = nn.Parameter(torch.ones(()))

    def predict_heights(self, dsm, valid):
        return (dsm + nn.functional.max_pool2d(-dsm, 9, 1, 4)) * self.scale

    def forward(self, dsm, valid, thresholds):
        return (thresholds[:, :, None, None] - self.predict_heights(dsm, valid)) / (0.5 + self.noise.abs())


@frozen(kw_only=True)
class NetConfig:
    """Two weights."""

    def build(self):
        return Net()


class Wavering(nn.Module):
    """Says the opposite at every other threshold, and knows no heights."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, dsm, valid, thresholds):
        relief = dsm - dsm.mean((2, 3), keepdim=True)
        return relief * self.weight * (-1.0) ** torch.arange(thresholds.shape[1])[:, None, None]


@frozen(kw_only=True)
class WaveringConfig:
    """One weight."""

    def build(self):
        return Wavering()


@frozen(kw_only=True)
class Binary:
    """Cross-entropy."""

    def build(self):
        return example_loss


@hookimpl
def forestgaps_data():
    return {"woods": WoodsConfig}


@hookimpl
def forestgaps_models():
    return {"net": NetConfig, "wavering": WaveringConfig}


@hookimpl
def forestgaps_losses():
    return {"binary": Binary}


@frozen(kw_only=True)
class Descent:
    """Adam with weight decay."""

    learning_rate: float = field(default=1e-3, metadata={"help": "Of each step."})

    def build(self, modules):
        return torch.optim.AdamW(modules[0].parameters(), lr=self.learning_rate)


@hookimpl
def forestgaps_optimizers():
    return {"descent": Descent}


@frozen(kw_only=True)
class LowestPixel:
    """Ground at the lowest pixel of all, plus an offset."""

    offset_m: float = field(default=0.0, metadata={"help": "Meters."})

    def build(self):
        return lambda dsm, resolution_m: np.full(dsm.shape, np.nanmin(dsm) + self.offset_m)


@hookimpl
def forestgaps_kinds():
    return {"baseline": Kind("a function (dsm, resolution_m) that returns the ground", table=False, how="--baseline {}")}


@hookimpl
def forestgaps_components():
    return {"baseline": {"lowest": LowestPixel, "lifted": LowestPixel}}
