"""The data component: landscapes to train on, others to choose on, others to test on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from attrs import field, frozen
from attrs.validators import ge, in_, le
from torch import Tensor

from forestgaps_core.components import Tile
from forestgaps_core.data.class_balance import ClassBalance
from forestgaps_core.data.stratified import Strata, classify, make_strata
from forestgaps_core.errors import DataError
from forestgaps_core.output.counts import format_count
from forestgaps_core.runtime.rng import random_numbers, uniform
from forestgaps_landscapes.sampling import LandscapeStack, find_center_tiles, list_tile_places, measure_tiles
from forestgaps_landscapes.simulation.landscape import Landscape, simulate
from forestgaps_landscapes.simulation.variety import FORESTS, Forest, sample_settings

SPLITS = ("train", "validation", "test")


def validate_range(limit: float) -> Callable[[Any, Any, tuple[float, ...]], None]:
    """A validator: two numbers above 0, the second neither below the first nor above `limit`."""

    def check(instance: Any, attribute: Any, value: tuple[float, ...]) -> None:
        if len(value) != 2 or not 0 < value[0] <= value[1] <= limit:
            raise ValueError(f"must be the least and the most, both above 0 and at most {limit:g}: {list(value)}")

    return check


@frozen(eq=False)
class RandomCrops:
    """`samples` tiles an epoch, each at a random place of a random landscape, both given by its `draw`."""

    landscapes: LandscapeStack
    tile_px: int
    samples: int
    places: Tensor  # rows of `list_tile_places`
    strata: Strata

    def __len__(self) -> int:
        return self.samples

    def read(self, index: int, draw: int) -> Tile:
        return self.landscapes.tile(*self.sample_place(draw), self.tile_px)

    def place(self, index: int, draw: int) -> str:
        """Where a tile was taken, for people."""
        return describe_place(*self.sample_place(draw), self.tile_px)

    def sample_place(self, draw: int) -> tuple[int, int, int]:
        """Landscape, row and column."""
        where, y, x, kind = uniform(torch.tensor([draw]), "crop", 4)[0].tolist()
        place = self.strata.place(self.strata.stratum(kind), where)
        landscape, row, column, rows, columns = self.places[place].tolist()
        return landscape, row + int(y * rows), column + int(x * columns)


@frozen(eq=False)
class FixedTiles:
    """All tiles of a grid that fit, landscape by landscape; none overlaps another, and `draw` changes nothing."""

    landscapes: LandscapeStack
    tile_px: int
    places: Tensor  # landscape, row and column of each tile, (N, 3)
    strata: Tensor  # of training that each tile is like, (criteria, N); -1 where there is none

    def __len__(self) -> int:
        return len(self.places)

    def read(self, index: int, draw: int) -> Tile:
        landscape, row, column = self.places[index].tolist()
        return self.landscapes.tile(landscape, row, column, self.tile_px)

    def place(self, index: int, draw: int) -> str:
        """Where a tile lies, for people."""
        landscape, row, column = self.places[index].tolist()
        return describe_place(landscape, row, column, self.tile_px)

    def block(self, index: int) -> int:
        """The landscape of a tile: tiles of one are alike, those of two are not."""
        return int(self.places[index, 0])


def describe_place(landscape: int, row: int, column: int, size: int) -> str:
    return f"landscape {landscape}, rows {row}-{row + size}, columns {column}-{column + size}"


@frozen(eq=False)
class LandscapeData:
    """The three splits; see `forestgaps_core.Data`."""

    resolution_m: float
    train: RandomCrops
    validation: FixedTiles
    test: FixedTiles


MAX_PIXELS = 2**30  # of all landscapes: 10 GB, and half an hour to make them


@frozen(kw_only=True)
class Landscapes:
    """Simulated landscapes, made in memory when the run begins: no files, no download.

    Each landscape draws its own forest, steepness and gap fraction. The splits share no landscape. All of it is a function
    of the settings below, so runs that differ elsewhere (in the seed of the run, say) see the same landscapes. A landscape of 384
    pixels takes about 0.2 s.
    """

    train: int = field(default=10, validator=[ge(1), le(10_000)], metadata={"help": "Landscapes to train on."})
    validation: int = field(default=2, validator=[ge(1), le(10_000)], metadata={"help": "Landscapes to choose on."})
    test: int = field(default=3, validator=[ge(1), le(10_000)], metadata={"help": "Landscapes to test on."})
    size_px: int = field(
        default=384, validator=[ge(16), le(8192)], metadata={"help": "Pixels on a side of a landscape, 16 to 8192."}
    )
    tile_px: int = field(
        default=128, validator=[ge(16), le(8192)], metadata={"help": "Pixels on a side of a tile, at most `size_px`."}
    )
    samples_per_epoch: int = field(
        default=256, validator=[ge(1), le(10_000_000)], metadata={"help": "Random tiles in an epoch of training."}
    )
    resolution_m: float = field(default=1.0, validator=[ge(0.25), le(5)], metadata={"help": "Pixel size, 0.25 to 5 meters."})
    forest: Forest = field(
        default="any", validator=in_(("any", *FORESTS)), metadata={"help": f"Kind of forest: {', '.join(FORESTS)}, or any of them."}
    )
    slope_deg: tuple[float, ...] = field(
        default=(4.0, 45.0),
        validator=validate_range(60),
        metadata={"help": "Least and most steepness (95th percentile of the slope) of a landscape, degrees, up to 60."},
    )
    gap_fraction: tuple[float, ...] = field(
        default=(0.01, 0.15),
        validator=validate_range(0.8),
        metadata={"help": "Least and most area of a landscape in gaps of fallen trees, as a fraction, up to 0.8."},
    )
    sampling: ClassBalance = field(
        factory=ClassBalance, metadata={"help": "Balances training tiles over classes of gap fraction or of slope."}
    )
    seed: int = field(default=0, validator=ge(0), metadata={"help": "Another number gives other landscapes, in all three splits."})

    def __attrs_post_init__(self) -> None:
        if self.tile_px > self.size_px:
            raise ValueError(f"tile_px = {self.tile_px} is more than size_px = {self.size_px}")
        pixels = (self.train + self.validation + self.test) * self.size_px**2
        if pixels > MAX_PIXELS:
            count = self.train + self.validation + self.test
            raise ValueError(
                f"{format_count(count, 'landscape')} of {self.size_px} x {self.size_px} pixels: {pixels / 1e6:,.0f} million pixels "
                f"in memory; at most {MAX_PIXELS / 1e6:,.0f} million can be asked for"
            )

    def build(self) -> LandscapeData:
        train, validation, test = (self.simulate_split(split) for split in SPLITS)
        crops = self.make_crops(train)
        return LandscapeData(
            resolution_m=self.resolution_m,
            train=crops,
            validation=self.make_tiles(validation, crops.strata),
            test=self.make_tiles(test, crops.strata),
        )

    def make_crops(self, landscapes: LandscapeStack) -> RandomCrops:
        balanced, size = self.sampling.balance != "none", len(landscapes.dsm[0])
        places = list_tile_places(len(landscapes.dsm), size - self.tile_px + 1, max(self.tile_px // 2, 1) if balanced else size)
        classes = self.classify_tiles(landscapes, find_center_tiles(places))
        weights = places[:, 3] * places[:, 4]  # the tiles a place stands for
        if not (classes >= 0).any():
            raise DataError("data.landscapes: no training tile has any data")
        strata = make_strata(classes, weights, count=len(self.sampling.borders) + 1, evenness=self.sampling.evenness)
        if balanced and len(strata) == len(classes):
            raise DataError(
                f"data.sampling.balance = {self.sampling.balance!r}, but all training tiles are of one class; "
                "change the borders of the classes, or leave it at 'none'"
            )
        return RandomCrops(landscapes, self.tile_px, self.samples_per_epoch, places, strata)

    def make_tiles(self, landscapes: LandscapeStack, strata: Strata) -> FixedTiles:
        count, size, _ = landscapes.dsm.shape
        begins = torch.arange(0, size - self.tile_px + 1, self.tile_px)
        places = torch.cartesian_prod(torch.arange(count), begins, begins)
        return FixedTiles(landscapes, self.tile_px, places, strata.of(self.classify_tiles(landscapes, places)))

    def classify_tiles(self, landscapes: LandscapeStack, places: Tensor) -> Tensor:
        """Class of the tile at each landscape, row and column, (N, 3), by each criterion, (C, N)."""
        if self.sampling.balance == "none":
            return torch.zeros((1, len(places)), dtype=torch.int64)
        values = measure_tiles(landscapes, places, self.tile_px, self.sampling, self.resolution_m)
        return classify(values, self.sampling.borders)

    def simulate_split(self, split: str) -> LandscapeStack:
        """The landscapes of a split. Each is a function of the seed, the split and its number alone."""
        made = [
            self.simulate_landscape(seed)
            for seed in random_numbers(self.seed, SPLITS.index(split), torch.arange(getattr(self, split))).tolist()
        ]
        return LandscapeStack(*(torch.stack([getattr(one, plane) for one in made]) for plane in ("dsm", "height", "valid")))

    def simulate_landscape(self, seed: int) -> Landscape:
        slopes, fractions = (self.slope_deg[0], self.slope_deg[1]), (self.gap_fraction[0], self.gap_fraction[1])
        return simulate(seed, self.size_px, self.resolution_m, sample_settings(seed, self.forest, slopes, fractions))
