"""The data of a prepared folder: random crops to learn from, fixed tiles to judge by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise
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
from forestgaps_rasters.sampling import Sampling, measured
from forestgaps_rasters.store import LAYERS, Index, mapped, read_index
from forestgaps_rasters.strata import Strata, classed, stratified

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


@frozen
class Place:
    """Windows of one size in a training block, by where they may begin."""

    site: int
    begins: Block  # the pixels at which a window may begin
    rows: int
    columns: int

    def window(self, y: float, x: float) -> Block:
        """A window for two numbers in [0, 1)."""
        begins = self.begins
        return Block(begins.row + int(y * begins.rows), begins.column + int(x * begins.columns), self.rows, self.columns)

    @property
    def middle(self) -> Block:
        return self.window(0.5, 0.5)


@frozen(eq=False)
class Crops:
    """Random windows inside the training blocks; which one is a function of the sample's draw."""

    maps: Maps
    places: tuple[Place, ...]
    strata: Strata
    size: int
    samples: int
    minimum_valid: float

    def __len__(self) -> int:
        return self.samples

    def read(self, index: int, draw: int) -> Tile:
        numbers = uniform(torch.tensor([draw]), "crop", 3 * TRIES + 3)[0].tolist()
        down, right, kind = numbers[-3:]
        stratum = self.strata.stratum(kind)
        best, most = self.place(stratum, *numbers[:3]), -1.0
        for attempt in range(TRIES):  # of the same stratum, so that places without data do not upset the balance
            site, window = self.place(stratum, *numbers[3 * attempt : 3 * attempt + 3])
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

    def place(self, stratum: int, where: float, y: float, x: float) -> tuple[int, Block]:
        """A window of the stratum for three numbers in [0, 1)."""
        place = self.places[self.strata.place(stratum, where)]
        return place.site, place.window(y, x)


@frozen(eq=False)
class Grid:
    """Fixed windows that cover their blocks, each pixel once; the same whatever the draw."""

    maps: Maps
    windows: tuple[tuple[int, Block], ...]
    size: int
    strata: torch.Tensor  # of training that each window is like, (criteria, windows); -1 where there is none

    def __len__(self) -> int:
        return len(self.windows)

    def read(self, index: int, draw: int) -> Tile:
        site, window = self.windows[index]
        return self.maps.tile(site, window, self.size)


def pieces(block: Block, size: int) -> Iterator[Block]:
    """Windows of nearly one size, at most `size` pixels a side, that cover the block, each pixel once."""
    down, right = ceil(block.rows / size), ceil(block.columns / size)
    rows = [block.row + block.rows * n // down for n in range(down + 1)]
    columns = [block.column + block.columns * n // right for n in range(right + 1)]
    for top, bottom in pairwise(rows):
        for left, far in pairwise(columns):
            yield Block(top, left, bottom - top, far - left)


def places_of(site: int, block: Block, size: int, step: int | None) -> Iterator[Place]:
    """Every window of the block once, in places of at most `step` beginnings a side; left out: all in one place.

    Along a side that is shorter than a tile, the window is the whole side.
    """
    rows, columns = min(block.rows, size), min(block.columns, size)
    begins = Block(block.row, block.column, block.rows - rows + 1, block.columns - columns + 1)
    for part in [begins] if step is None else pieces(begins, step):
        yield Place(site, part, rows, columns)


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
    sampling: Sampling = field(factory=Sampling, metadata={"help": "Balances crops over classes of gap share or of slope."})

    def build(self) -> RasterData:
        store = self.folder
        index = read_index(store)
        size = self.tile_size or index.tile
        maps = Maps(store.absolute(), tuple(site.name for site in index.sites))
        train = self.crops(index, maps, size)
        return RasterData(
            resolution_m=index.resolution_m,
            train=train,
            validation=self.grid(index, maps, size, "validation", train.strata),
            test=self.grid(index, maps, size, "test", train.strata),
        )

    def crops(self, index: Index, maps: Maps, size: int) -> Crops:
        places: list[Place] = []
        weights: list[float] = []
        whole = 0
        for number, site in enumerate(index.sites):
            blocks = [block for block in site.blocks["train"] if maps.valid_share(number, block)]
            area = sum(block.area for block in blocks)
            whole += area
            for block in blocks:
                new = list(places_of(number, block, size, None if self.sampling.balance == "none" else max(size // 2, 1)))
                every = sum(place.begins.area for place in new)
                places += new
                weights += [block.area * place.begins.area / every / (area if self.weight == "site" else 1) for place in new]
        if not places:
            raise DataError(f"{maps.folder}: no training block has any data")
        strata = self.balanced(maps, places, torch.tensor(weights, dtype=torch.float64), index.resolution_m, size)
        samples = self.samples_per_epoch or max(round(whole / size**2), 1)
        return Crops(maps, tuple(places), strata, size, samples, self.minimum_valid)

    def balanced(self, maps: Maps, places: list[Place], weights: torch.Tensor, resolution_m: float, size: int) -> Strata:
        """The places in classes; those with too few valid pixels are in none.

        Raises:
            DataError: No class has a place, or a single class has them all.
        """
        if self.sampling.balance == "none":
            return stratified(torch.zeros((1, len(places)), dtype=torch.int64), weights, count=1)
        classes, valid = self.classes(maps, [(place.site, place.middle) for place in places], resolution_m)
        enough = valid >= max(self.minimum_valid * size**2, 1)
        classes = torch.where(enough, classes, -1)
        what = f"{maps.folder}: data.sampling.balance = {self.sampling.balance!r}"
        if not (classes >= 0).any():
            raise DataError(f"{what}, but no training place has {self.minimum_valid:.0%} of its pixels valid; lower minimum_valid")
        strata = stratified(classes, weights, count=len(self.sampling.borders) + 1, evenness=self.sampling.evenness)
        if len(strata) == len(classes):
            key = {"gaps": "thresholds or gap_shares", "slope": "slopes_deg"}[self.sampling.balance]
            raise DataError(f"{what}, but all training places are of one class; change {key}, or leave it at 'none'")
        return strata

    def classes(self, maps: Maps, windows: Sequence[tuple[int, Block]], resolution_m: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Class of each window by each criterion, (C, N), and its valid pixels, (N,)."""
        values, valid = measured(maps.crop, windows, self.sampling, resolution_m)
        return classed(torch.from_numpy(values), self.sampling.borders), torch.from_numpy(valid)

    def grid(self, index: Index, maps: Maps, size: int, part: str, strata: Strata) -> Grid:
        windows = [
            (number, window)
            for number, site in enumerate(index.sites)
            for block in site.blocks[part]
            for window in pieces(block, size)
            if maps.valid_share(number, window) >= max(self.minimum_valid, 1e-9)
        ]
        if index.area(part) and not windows:
            raise DataError(f"{maps.folder}: no {part} tile has {self.minimum_valid:.0%} of its pixels valid; lower minimum_valid")
        if self.sampling.balance == "none" or not windows:
            like = torch.zeros((len(strata.numbers), len(windows)), dtype=torch.int64)
        else:
            like = strata.of(self.classes(maps, windows, index.resolution_m)[0])
        return Grid(maps, tuple(windows), size, like)
