"""Windows of a prepared folder: random crops for training, fixed tiles for validation and test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attrs import define, field, frozen
from numpy.typing import NDArray

from forestgaps_core import Tile
from forestgaps_core.data.stratified import Strata
from forestgaps_core.errors import DataError
from forestgaps_core.plugins.command_lines import format_command
from forestgaps_core.runtime.rng import uniform
from forestgaps_geo.bands.elevation_checks import MAX_ELEVATION_M
from forestgaps_rasters.prepared.blocks import Block
from forestgaps_rasters.prepared.index import LAYER_NAMES, list_planes, map_layer

MAX_TRIES = 8  # places looked at for a crop with enough valid pixels


@define(eq=False, slots=False)
class SiteLayers:
    """The layers of all sites, mapped by each process when it first reads them."""

    folder: Path
    names: tuple[str, ...]
    channels: Mapping[str, int] = field(factory=dict)  # of the further layers that are read

    @cached_property
    def arrays(self) -> dict[tuple[int, str], NDArray[np.float32]]:
        planes = (*LAYER_NAMES, *list_planes(self.channels))
        return {(n, plane): map_layer(self.folder, name, plane) for n, name in enumerate(self.names) for plane in planes}

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "names": self.names, "channels": self.channels}  # a map pickled would carry all its pixels

    def crop(self, site: int, layer: str, window: Block) -> NDArray[np.float32]:
        bottom, right = window.end
        return self.arrays[site, layer][window.row : bottom, window.column : right]

    def compute_valid_fraction(self, site: int, window: Block) -> float:
        return 1 - np.count_nonzero(np.isnan(self.crop(site, "height", window))) / window.area

    def place(self, site: int, window: Block) -> str:
        bottom, right = window.end
        return f"site {self.names[site]}, rows {window.row}-{bottom}, columns {window.column}-{right}"

    def tile(self, site: int, window: Block, size: int, *, down: int = 0, right: int = 0) -> Tile:
        """The window as a tile of `size` pixels, that far down and right in it, invalid around; (size, size) each."""
        inside = slice(down, down + window.rows), slice(right, right + window.columns)
        dsm, height = planes = [np.empty((size, size), np.float32) for _ in LAYER_NAMES]
        for plane, layer in zip(planes, LAYER_NAMES, strict=True):
            if window.area < size * size:
                plane.fill(np.nan)
            plane[inside] = self.crop(site, layer, window)
        # In NumPy, which looks at so few pixels five times as fast as torch; a minimum with a NaN is NaN.
        missing = np.isnan(height)
        some = missing.any()
        for plane in planes:
            if some:
                np.copyto(plane, 0.0, where=missing)
            if not (plane.min() >= -2 * MAX_ELEVATION_M and plane.max() <= 2 * MAX_ELEVATION_M):
                raise DataError(
                    f"{self.folder}: {self.place(site, window)}: holds values that are no elevation, so its layers are damaged; "
                    f"to see which: {format_command('prepare', '--check', self.folder)}"
                )
        valid = np.logical_not(missing, out=missing)
        layers = {name: self.read_layer(site, name, window, size, inside) for name in self.channels} if self.channels else {}
        return Tile(torch.from_numpy(dsm), torch.from_numpy(height), torch.from_numpy(valid), layers)

    def read_layer(self, site: int, name: str, window: Block, size: int, inside: tuple[slice, slice]) -> torch.Tensor:
        """Return the channels of a further layer, (C, size, size), 0 outside the window."""
        channels = np.zeros((self.channels[name], size, size), np.float32)
        for plane, channel in zip(list_planes({name: self.channels[name]}), channels, strict=True):
            channel[inside] = self.crop(site, plane, window)
        return torch.from_numpy(channels)


@frozen
class CropArea:
    """Windows of one size in a training block, by where they may begin."""

    site: int
    origins: Block  # the pixels at which a window may begin
    rows: int
    columns: int

    def window(self, y: float, x: float) -> Block:
        """A window for two numbers in [0, 1)."""
        begins = self.origins
        return Block(begins.row + int(y * begins.rows), begins.column + int(x * begins.columns), self.rows, self.columns)

    @property
    def center_window(self) -> Block:
        return self.window(0.5, 0.5)


@frozen(eq=False)
class RandomCrops:
    """Random windows inside the training blocks; which one is a function of the sample's draw."""

    maps: SiteLayers
    places: tuple[CropArea, ...]
    strata: Strata
    size: int
    samples: int
    minimum_valid: float

    def __len__(self) -> int:
        return self.samples

    def read(self, index: int, draw: int) -> Tile:
        site, window, down, right = self.sample_window(draw)
        return self.maps.tile(
            site,
            window,
            self.size,
            down=int(down * (self.size - window.rows + 1)),
            right=int(right * (self.size - window.columns + 1)),
        )

    def place(self, index: int, draw: int) -> str:
        """Where a crop was taken, for people."""
        site, window, *_ = self.sample_window(draw)
        return self.maps.place(site, window)

    def sample_window(self, draw: int) -> tuple[int, Block, float, float]:
        """Site and window, and where the window lies in a tile that is larger, down and right, in [0, 1)."""
        numbers = uniform(torch.tensor([draw]), "crop", 3 * MAX_TRIES + 3)[0].tolist()
        down, right, kind = numbers[-3:]
        stratum = self.strata.stratum(kind)
        best, most = self.window(stratum, *numbers[:3]), -1.0
        for attempt in range(MAX_TRIES):  # of the same stratum, so that places without data do not upset the balance
            site, window = self.window(stratum, *numbers[3 * attempt : 3 * attempt + 3])
            share = self.maps.compute_valid_fraction(site, window) * window.area / self.size**2
            if share > most:
                best, most = (site, window), share
            if share >= self.minimum_valid:
                break
        return *best, down, right

    def window(self, stratum: int, where: float, y: float, x: float) -> tuple[int, Block]:
        """A window of the stratum for three numbers in [0, 1)."""
        place = self.places[self.strata.place(stratum, where)]
        return place.site, place.window(y, x)


@frozen(eq=False)
class FixedTiles:
    """Fixed windows that cover their blocks, each pixel once; the same whatever the draw."""

    maps: SiteLayers
    windows: tuple[tuple[int, Block], ...]
    size: int
    strata: torch.Tensor  # of training that each window is like, (criteria, windows); -1 where there is none

    def __len__(self) -> int:
        return len(self.windows)

    def read(self, index: int, draw: int) -> Tile:
        site, window = self.windows[index]
        return self.maps.tile(site, window, self.size)

    def place(self, index: int, draw: int) -> str:
        """Where a tile lies, for people."""
        return self.maps.place(*self.windows[index])

    def surroundings(self, index: int, margin: int) -> tuple[NDArray[np.float32], tuple[slice, slice]]:
        """Return the surface of a window and of up to `margin` pixels around it, NaN without data, and where the window is."""
        site, window = self.windows[index]
        rows, columns = self.maps.arrays[site, "dsm"].shape
        top, left = max(window.row - margin, 0), max(window.column - margin, 0)
        bottom, right = min(window.end[0] + margin, rows), min(window.end[1] + margin, columns)
        wide = Block(top, left, bottom - top, right - left)
        surface = np.where(np.isnan(self.maps.crop(site, "height", wide)), np.float32(np.nan), self.maps.crop(site, "dsm", wide))
        down, across = window.row - top, window.column - left
        return surface, (slice(down, down + window.rows), slice(across, across + window.columns))

    def site(self, index: int) -> str:
        """The site of a window."""
        return self.maps.names[self.windows[index][0]]

    def block(self, index: int) -> str:
        """Site and square of two tiles a side in which the middle of a window lies: windows of one are no independent witnesses."""
        window = self.windows[index][1]
        row, column = window.row + window.rows // 2, window.column + window.columns // 2
        return f"{self.site(index)} {row // (2 * self.size)} {column // (2 * self.size)}"


def tile_block(block: Block, size: int) -> Iterator[Block]:
    """Windows of nearly one size, at most `size` pixels a side, that cover the block, each pixel once."""
    down, right = ceil(block.rows / size), ceil(block.columns / size)
    rows = [block.row + block.rows * n // down for n in range(down + 1)]
    columns = [block.column + block.columns * n // right for n in range(right + 1)]
    for top, bottom in pairwise(rows):
        for left, far in pairwise(columns):
            yield Block(top, left, bottom - top, far - left)


def list_crop_areas(site: int, block: Block, size: int, step: int | None) -> Iterator[CropArea]:
    """Every window of the block once, in places of at most `step` beginnings a side; left out: all in one place.

    Along a side that is shorter than a tile, the window is the whole side.
    """
    rows, columns = min(block.rows, size), min(block.columns, size)
    begins = Block(block.row, block.column, block.rows - rows + 1, block.columns - columns + 1)
    for part in [begins] if step is None else tile_block(begins, step):
        yield CropArea(site, part, rows, columns)
