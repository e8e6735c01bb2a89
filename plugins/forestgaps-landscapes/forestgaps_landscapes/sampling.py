"""Which kinds of place training tiles come from."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from attrs import frozen
from torch import Tensor
from torch.nn.functional import pad

from forestgaps_core.components import Tile
from forestgaps_core.data.class_balance import ClassBalance
from forestgaps_landscapes.simulation.terrain import compute_slope, smooth

SLOPE_CELL_M = 10.0  # slopes are those of the ground averaged over so much: what is finer is roughness


def compute_criteria(balance: ClassBalance, dsm: Tensor, height: Tensor, resolution_m: float) -> Iterator[Tensor]:
    """Yield what is averaged over a place, of one landscape, (size, size) each."""
    if balance.balance == "slope":
        ground = smooth((dsm - height), round(SLOPE_CELL_M / resolution_m))
        yield torch.rad2deg(torch.atan(compute_slope(ground, resolution_m)))
    elif balance.balance == "gaps":
        for threshold in balance.thresholds:
            yield height < threshold


@frozen(eq=False)
class LandscapeStack:
    """Landscapes of one size, (N, size, size) each."""

    dsm: Tensor
    height: Tensor
    valid: Tensor

    def tile(self, landscape: int, row: int, column: int, size: int) -> Tile:
        part = (landscape, slice(row, row + size), slice(column, column + size))
        return Tile(dsm=self.dsm[part], height=self.height[part], valid=self.valid[part])


def list_tile_places(landscapes: int, begins: int, step: int) -> Tensor:
    """Every tile of every landscape once, in places of at most `step` beginnings a side.

    Args:
        begins: Rows, and columns, at which a tile may begin.

    Returns:
        Landscape, first row and column, and how many rows and columns of beginnings, (N, 5).
    """
    count = -(-begins // step)
    edges = torch.arange(count + 1) * begins // count
    place = torch.cartesian_prod(torch.arange(landscapes), torch.arange(count), torch.arange(count))
    sizes = edges.diff()
    landscape, row, column = place.unbind(1)
    return torch.stack([landscape, edges[row], edges[column], sizes[row], sizes[column]], dim=1)


def find_center_tiles(places: Tensor) -> Tensor:
    """Landscape, row and column of the tile in the middle of each place, (N, 3)."""
    return torch.cat([places[:, :1], places[:, 1:3] + places[:, 3:] // 2], dim=1)


def measure_tiles(landscapes: LandscapeStack, places: Tensor, tile_px: int, balance: ClassBalance, resolution_m: float) -> Tensor:
    """Mean of each criterion over the valid pixels of the tile at each place (landscape, row, column), (C, N); NaN without any.

    One landscape at a time, by sums over all rectangles from its corner.
    """
    values = []
    for number, (dsm, height, valid) in enumerate(zip(landscapes.dsm, landscapes.height, landscapes.valid, strict=True)):
        here = places[places[:, 0] == number, 1:]
        pixels = sum_tiles(valid, here, tile_px)
        planes = compute_criteria(balance, dsm, height, resolution_m)
        values.append(torch.stack([sum_tiles(plane * valid, here, tile_px) / pixels for plane in planes]))
    return torch.cat(values, dim=1)


def sum_tiles(plane: Tensor, corners: Tensor, size: int) -> Tensor:
    """Sum over the square of `size` pixels at each (row, column), (N,) float64."""
    total = pad(plane.to(torch.float64).cumsum(0).cumsum(1), (1, 0, 1, 0))
    row, column = corners.unbind(1)
    return total[row + size, column + size] - total[row, column + size] - total[row + size, column] + total[row, column]
