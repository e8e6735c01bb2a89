"""The data of a prepared folder: random crops to learn from, fixed tiles to judge by."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from functools import cached_property
from itertools import accumulate, pairwise
from math import ceil
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from attrs import define, field, frozen
from attrs.validators import and_, ge, le, optional
from numpy.typing import NDArray

from forestgaps_core import Tile
from forestgaps_core.errors import DataError
from forestgaps_core.randomness import uniform
from forestgaps_rasters.blocks import Block
from forestgaps_rasters.store import LAYERS, Index, mapped, read_index

TRIES = 8  # places looked at for a crop with enough valid pixels


@define(eq=False, slots=False)
class Maps:
    """The layers of all sites, mapped by each process when it first reads them."""

    folder: Path
    names: tuple[str, ...]

    @cached_property
    def planes(self) -> dict[tuple[int, str], NDArray[np.float32]]:
        return {(n, layer): mapped(self.folder, name, layer) for n, name in enumerate(self.names) for layer in LAYERS}

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "names": self.names}  # a map pickled would carry all its pixels

    def crop(self, site: int, layer: str, window: Block) -> NDArray[np.float32]:
        bottom, right = window.ends
        return self.planes[site, layer][window.row : bottom, window.column : right]

    def valid_share(self, site: int, window: Block) -> float:
        return 1 - float(np.isnan(self.crop(site, "height", window)).mean())

    def tile(self, site: int, window: Block, size: int, *, down: int = 0, right: int = 0) -> Tile:
        """The window as a tile of `size` pixels, that far down and right in it, invalid around; (size, size) each."""
        inside = slice(down, down + window.rows), slice(right, right + window.columns)
        planes = {}
        for layer in LAYERS:
            plane = np.full((size, size), np.nan, np.float32)
            plane[inside] = self.crop(site, layer, window)
            planes[layer] = torch.from_numpy(plane)
        valid = ~planes["height"].isnan()
        return Tile(dsm=torch.where(valid, planes["dsm"], 0.0), height=torch.where(valid, planes["height"], 0.0), valid=valid)


@frozen(eq=False)
class Crops:
    """Random windows inside the training blocks; which one is a function of the sample's draw."""

    maps: Maps
    places: tuple[tuple[int, Block], ...]
    weights: tuple[float, ...]  # of the places
    size: int
    samples: int
    minimum_valid: float
    bounds: tuple[float, ...] = field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "bounds", tuple(accumulate(self.weights)))

    def __len__(self) -> int:
        return self.samples

    def read(self, index: int, draw: int) -> Tile:
        numbers = uniform(torch.tensor([draw]), "crop", 3 * TRIES + 2)[0].tolist()
        down, right = numbers[-2:]
        best, most = self.place(*numbers[:3]), -1.0
        for attempt in range(TRIES):
            site, window = self.place(*numbers[3 * attempt : 3 * attempt + 3])
            share = self.maps.valid_share(site, window) * window.area / self.size**2
            if share > most:
                best, most = (site, window), share
            if share >= self.minimum_valid:
                break
        site, window = best
        return self.maps.tile(
            site,
            window,
            self.size,
            down=int(down * (self.size - window.rows + 1)),
            right=int(right * (self.size - window.columns + 1)),
        )

    def place(self, where: float, y: float, x: float) -> tuple[int, Block]:
        """A window for three numbers in [0, 1): the whole block along a side that is shorter than a tile."""
        site, block = self.places[min(bisect_right(self.bounds, where * self.bounds[-1]), len(self.places) - 1)]
        rows, columns = min(block.rows, self.size), min(block.columns, self.size)
        row = block.row + int(y * (block.rows - rows + 1))
        return site, Block(row, block.column + int(x * (block.columns - columns + 1)), rows, columns)


@frozen(eq=False)
class Grid:
    """Fixed windows that cover their blocks, each pixel once; the same whatever the draw."""

    maps: Maps
    windows: tuple[tuple[int, Block], ...]
    size: int

    def __len__(self) -> int:
        return len(self.windows)

    def read(self, index: int, draw: int) -> Tile:
        site, window = self.windows[index]
        return self.maps.tile(site, window, self.size)


def pieces(block: Block, size: int) -> Iterable[Block]:
    """Windows of nearly one size, at most `size` pixels a side, that cover the block, each pixel once."""
    down, right = ceil(block.rows / size), ceil(block.columns / size)
    rows = [block.row + block.rows * n // down for n in range(down + 1)]
    columns = [block.column + block.columns * n // right for n in range(right + 1)]
    for top, bottom in pairwise(rows):
        for left, far in pairwise(columns):
            yield Block(top, left, bottom - top, far - left)


@frozen(eq=False)
class RasterData:
    """A prepared folder as `Data`."""

    resolution_m: float
    train: Crops
    validation: Grid
    test: Grid


@frozen(kw_only=True)
class Rasters:
    """A folder made by `forestgaps prepare`.

    Training tiles are random crops that lie wholly inside the training blocks. Validation and test are fixed tiles that cover
    their blocks, each pixel once. A block smaller than a tile is filled up with invalid pixels. All in metres.
    """

    folder: Path = field(metadata={"help": "The prepared folder; a relative path starts at the run file."})
    tile_size: int | None = field(
        default=None,
        validator=optional(ge(16)),
        metadata={"help": "Side of a tile, pixels; left out: as the folder was prepared for."},
    )
    samples_per_epoch: int | None = field(
        default=None,
        validator=optional(ge(1)),
        metadata={"help": "Crops in an epoch; left out: as many as cover the training blocks once."},
    )
    minimum_valid: float = field(
        default=0.05,
        validator=and_(ge(0), le(1)),
        metadata={
            "help": "Share of a tile that must have data, 0 to 1. Training looks for another place, up to 8 times; a validation "
            "or test window with less of its own pixels is left out."
        },
    )
    weight: Literal["area", "site"] = field(
        default="area",
        metadata={"help": "Where crops come from: 'area', each hectare as often; 'site', each site as often, whatever its size."},
    )

    def build(self) -> RasterData:
        store = self.folder
        index = read_index(store)
        size = self.tile_size or index.tile
        maps = Maps(store.absolute(), tuple(site.name for site in index.sites))
        return RasterData(
            resolution_m=index.resolution_m,
            train=self.crops(index, maps, size),
            validation=self.grid(index, maps, size, "validation"),
            test=self.grid(index, maps, size, "test"),
        )

    def crops(self, index: Index, maps: Maps, size: int) -> Crops:
        places, weights = [], []
        for number, site in enumerate(index.sites):
            blocks = [block for block in site.blocks["train"] if maps.valid_share(number, block)]
            area = sum(block.area for block in blocks)
            places += [(number, block) for block in blocks]
            weights += [block.area / area if self.weight == "site" else float(block.area) for block in blocks]
        if not places:
            raise DataError(f"{maps.folder}: no training block has any data")
        whole = max(round(sum(block.area for _, block in places) / size**2), 1)
        return Crops(maps, tuple(places), tuple(weights), size, self.samples_per_epoch or whole, self.minimum_valid)

    def grid(self, index: Index, maps: Maps, size: int, part: str) -> Grid:
        windows = [
            (number, window)
            for number, site in enumerate(index.sites)
            for block in site.blocks[part]
            for window in pieces(block, size)
            if maps.valid_share(number, window) >= max(self.minimum_valid, 1e-9)
        ]
        if index.area(part) and not windows:
            raise DataError(f"{maps.folder}: no {part} tile has {self.minimum_valid:.0%} of its pixels valid; lower minimum_valid")
        return Grid(maps, tuple(windows), size)
