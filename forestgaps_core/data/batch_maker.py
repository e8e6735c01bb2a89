"""Make a batch from tiles, on the device: augmentation, thresholds, targets.

Nothing is stored per threshold; masks cost one comparison. Every random choice comes from `Tiles.draw`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from attrs import frozen
from torch import Tensor

from forestgaps_core.components import Batch, Tiles
from forestgaps_core.config.augmentation import NO_AUGMENTATION, Augmentation
from forestgaps_core.config.thresholds import Thresholds
from forestgaps_core.runtime.rng import uniform

LARGEST_SQUARE = 0.5  # share of the tile
HILLS = 24  # waves added up: enough to look random, few enough to cost nothing
WAVELENGTHS_M = (40.0, 800.0)  # shorter waves would look like canopy, longer ones like a tilt
ROUGHNESS = 1.2  # amplitude goes as wavelength to this power: natural relief is smooth at short range


def fill_invalid(dsm: Tensor, valid: Tensor) -> Tensor:
    """The DSM with each tile's median where it is invalid; 0 in a tile without any valid pixel. (B, 1, H, W) both."""
    known = torch.where(valid, dsm, torch.nan).flatten(1)
    median = known.nanmedian(dim=1).values.nan_to_num(nan=0.0)[:, None, None, None]
    return torch.where(valid, dsm, median)


def turned(planes: Sequence[Tensor], draw: Tensor) -> list[Tensor]:
    """Each sample in one of its eight flips and quarter turns; tiles must be square. (B, C, H, W) each."""
    chosen = (uniform(draw, "turns", 1)[:, 0] * 8).long()
    flip_x, flip_y, swap = (((chosen >> bit) & 1).bool()[:, None, None, None] for bit in range(3))
    out = []
    for plane in planes:
        plane = torch.where(flip_x, plane.flip(-1), plane)
        plane = torch.where(flip_y, plane.flip(-2), plane)
        out.append(torch.where(swap, plane.transpose(-1, -2), plane))
    return out


def tilted(dsm: Tensor, draw: Tensor, *, tilt: float, offset_m: float, resolution_m: float) -> Tensor:
    """The DSM on a plane of random slope and height; canopy heights above ground stay as they are."""
    rows, columns = dsm.shape[-2:]
    slope_x, slope_y, rise = ((uniform(draw, "terrain", 3) * 2 - 1).to(dsm.dtype)).unbind(1)
    x = (torch.arange(columns, device=dsm.device, dtype=dsm.dtype) - (columns - 1) / 2) * resolution_m
    y = (torch.arange(rows, device=dsm.device, dtype=dsm.dtype) - (rows - 1) / 2) * resolution_m
    plane = slope_x[:, None, None] * x[None, None, :] + slope_y[:, None, None] * y[None, :, None]
    return dsm + (tilt * plane + offset_m * rise[:, None, None])[:, None]


def hills(draw: Tensor, rows: int, columns: int, *, relief_m: float, resolution_m: float) -> Tensor:
    """Random terrain, (B, 1, rows, columns) float32 meters of mean 0: a sum of plane waves in random directions.

    The standard deviation of a tile's hills is `relief_m` times the square of a uniform number: gentle ground is common.
    Spectrum as that of natural relief, a power of the wavelength (Turcotte 1997, Fractals and Chaos in Geology and Geophysics,
    chapter 7). A wave is cos(ax + by), which splits into rows and columns, so all of them together are one matrix product.
    """
    turn, length, phase = uniform(draw, "hills", 3 * HILLS).to(torch.float32).reshape(-1, 3, HILLS).unbind(1)
    short, long = WAVELENGTHS_M
    wavelength = short * (long / short) ** length
    number = 2 * torch.pi * resolution_m / wavelength
    angle = 2 * torch.pi * turn
    y = torch.arange(rows, device=draw.device) * (number * angle.sin())[..., None] + 2 * torch.pi * phase[..., None]
    x = torch.arange(columns, device=draw.device) * (number * angle.cos())[..., None]
    height = wavelength[..., None] ** ROUGHNESS
    waves: Tensor = (height * y.cos()).mT @ x.cos() - (height * y.sin()).mT @ x.sin()
    waves = waves - waves.mean((1, 2), keepdim=True)
    size = uniform(draw, "size", 1).to(torch.float32)[:, :, None].square() * relief_m
    made: Tensor = waves / waves.square().mean((1, 2), keepdim=True).sqrt().clamp(min=1e-6) * size
    return made[:, None]


def stretched(dsm: Tensor, height: Tensor, draw: Tensor, most: float) -> tuple[Tensor, Tensor]:
    """DSM and heights with each tile's canopy made taller or lower by a factor log-uniform between 1 / `most` and `most`."""
    factor = most ** (2 * uniform(draw, "stretch", 1).to(dsm.dtype)[:, :, None, None] - 1)
    added = height * (factor - 1)
    return dsm + added, height + added


def with_other_canopy(dsm: Tensor, height: Tensor, valid: Tensor, draw: Tensor, change: Augmentation) -> tuple[Tensor, Tensor]:
    """DSM and heights with the canopy of the next tile of the batch on this tile's ground: all of it, in a square, or blended.

    The ground, DSM minus height, stays. Pixels where either tile has no data keep their canopy.

    Source: Yun et al. 2019, section 3.1, arXiv:1905.04899 (squares); Zhang et al. 2018, eq. 1, arXiv:1710.09412 (blends);
    both of the canopies here, and not of the picture, whose ground must stay whole.
    """
    row, column, size, exchanged, blended, share, swapped = uniform(draw, "canopies", 7).to(dsm.dtype)[:, :, None, None].unbind(1)
    other, both = height.roll(1, dims=0), valid & valid.roll(1, dims=0)
    rows, columns = dsm.shape[-2:]
    y = torch.arange(rows, device=dsm.device, dtype=dsm.dtype)[None, :, None] / rows
    x = torch.arange(columns, device=dsm.device, dtype=dsm.dtype)[None, None, :] / columns
    half = (size * LARGEST_SQUARE).sqrt() / 2
    square = ((y - row).abs() < half) & ((x - column).abs() < half) & (exchanged < change.exchange)
    square = square | (swapped < change.swap)
    # A blend keeps at least half of the tile's own canopy.
    weight = torch.where(square, 1.0, torch.where(blended < change.blend, share / 2, 0.0))[:, None]
    added = torch.where(both, weight * (other - height), 0.0)
    return dsm + added, height + added


def drawn_thresholds(draw: Tensor, values: Sequence[float], count: int) -> Tensor:
    """(B, count) float32 meters, ascending, log-uniform between the ends of `values`."""
    low, high = values[0], values[-1]
    share = uniform(draw, "thresholds", count).sort(dim=1).values
    return (low * (high / low) ** share).to(torch.float32)


@frozen(kw_only=True)
class BatchMaker:
    """Makes a `Batch` of `Tiles`, on whatever device they are.

    With `augmentation` at `NO_AUGMENTATION` and `thresholds.drawn` 0, as for validation and test, nothing is random.
    """

    thresholds: Thresholds
    augmentation: Augmentation = NO_AUGMENTATION
    resolution_m: float = 1.0

    def __call__(self, tiles: Tiles) -> Batch:
        dsm, height, valid = tiles.dsm, tiles.height, tiles.valid
        change = self.augmentation
        if change.stretch > 1:
            dsm, height = stretched(dsm, height, tiles.draw, change.stretch)
        if change.exchange or change.blend or change.swap:
            dsm, height = with_other_canopy(dsm, height, valid, tiles.draw, change)
        if change.turns:
            dsm, height, valid = turned((dsm, height, valid), tiles.draw)
        if change.tilt or change.offset_m:
            dsm = tilted(dsm, tiles.draw, tilt=change.tilt, offset_m=change.offset_m, resolution_m=self.resolution_m)
        if change.relief_m:
            rows, columns = dsm.shape[-2:]
            dsm = dsm + hills(tiles.draw, rows, columns, relief_m=change.relief_m, resolution_m=self.resolution_m)
        if self.thresholds.drawn:
            thresholds = drawn_thresholds(tiles.draw, self.thresholds.values, self.thresholds.drawn)
        else:
            thresholds = torch.tensor(self.thresholds.values, dtype=torch.float32).to(dsm.device, non_blocking=True)
            thresholds = thresholds.expand(len(dsm), -1)
        target = (height < thresholds[:, :, None, None]).to(torch.float32)
        return Batch(
            dsm=fill_invalid(dsm, valid),
            thresholds=thresholds,
            target=target,
            valid=valid,
            height=torch.where(valid, height, 0.0),
            index=tiles.index,
        )
