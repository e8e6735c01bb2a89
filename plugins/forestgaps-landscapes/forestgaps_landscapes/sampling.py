"""Which kinds of place training tiles come from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from attrs import field, frozen
from attrs.validators import and_, deep_iterable, ge, gt, le, lt, min_len
from torch import Tensor
from torch.nn.functional import pad

from forestgaps_core.components import Tile
from forestgaps_landscapes.terrain import slope, smoothed

GROUND_M = 10.0  # slopes are those of the ground averaged over so much: what is finer is roughness


def ascending(instance: Any, attribute: Any, values: Sequence[float]) -> None:
    if any(low >= high for low, high in pairwise(values)):
        raise ValueError(f"must rise from one to the next, without repeats: {list(values)}")


@frozen(kw_only=True)
class Sampling:
    """Balances training tiles over classes of gap fraction or of slope.

    Places half a tile apart are measured once, when the run begins, and put in classes. A tile is drawn class first, then place,
    and shifted at random so that it may begin at any pixel.
    """

    balance: Literal["none", "gaps", "slope"] = field(
        default="none",
        metadata={
            "help": "What tiles are balanced over: 'gaps', classes of gap fraction, at each threshold in equal parts; "
            "'slope', classes of mean terrain slope; 'none', nothing."
        },
    )
    thresholds: tuple[float, ...] = field(
        default=(2.0, 5.0, 10.0),
        validator=and_(min_len(1), deep_iterable(and_(gt(0), lt(200))), ascending),
        metadata={"help": "Thresholds of the gap fractions, meters, ascending; for balance 'gaps'."},
    )
    gap_fractions: tuple[float, ...] = field(
        default=(0.01, 0.05, 0.2, 0.5),
        validator=and_(min_len(1), deep_iterable(and_(gt(0), le(1))), ascending),
        metadata={"help": "Borders between the classes of gap fraction, above 0 and up to 1, ascending; for balance 'gaps'."},
    )
    slopes_deg: tuple[float, ...] = field(
        default=(5.0, 15.0, 30.0),
        validator=and_(min_len(1), deep_iterable(and_(gt(0), lt(90))), ascending),
        metadata={"help": "Borders between the classes of slope, degrees, ascending; for balance 'slope'."},
    )
    evenness: float = field(
        default=1.0,
        validator=and_(ge(0), le(1)),
        metadata={
            "help": "1: every class as often as the others; 0: as often as it occurs; between: its share to the power 1 - evenness."
        },
    )

    @property
    def borders(self) -> tuple[float, ...]:
        return {"none": (), "gaps": self.gap_fractions, "slope": self.slopes_deg}[self.balance]

    def criteria(self, dsm: Tensor, height: Tensor, resolution_m: float) -> Iterator[Tensor]:
        """What is averaged over a place, of one landscape, (size, size) each."""
        if self.balance == "slope":
            ground = smoothed((dsm - height), round(GROUND_M / resolution_m))
            yield torch.rad2deg(torch.atan(slope(ground, resolution_m)))
        elif self.balance == "gaps":
            for threshold in self.thresholds:
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


def places_of(landscapes: int, begins: int, step: int) -> Tensor:
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


def middles(places: Tensor) -> Tensor:
    """Landscape, row and column of the tile in the middle of each place, (N, 3)."""
    return torch.cat([places[:, :1], places[:, 1:3] + places[:, 3:] // 2], dim=1)


def measured(landscapes: LandscapeStack, places: Tensor, tile_px: int, sampling: Sampling, resolution_m: float) -> Tensor:
    """Mean of each criterion over the valid pixels of the tile at each place (landscape, row, column), (C, N); NaN without any.

    One landscape at a time, by sums over all rectangles from its corner.
    """
    values = []
    for number, (dsm, height, valid) in enumerate(zip(landscapes.dsm, landscapes.height, landscapes.valid, strict=True)):
        here = places[places[:, 0] == number, 1:]
        pixels = sums(valid, here, tile_px)
        planes = sampling.criteria(dsm, height, resolution_m)
        values.append(torch.stack([sums(plane * valid, here, tile_px) / pixels for plane in planes]))
    return torch.cat(values, dim=1)


def sums(plane: Tensor, corners: Tensor, size: int) -> Tensor:
    """Sum over the square of `size` pixels at each (row, column), (N,) float64."""
    total = pad(plane.to(torch.float64).cumsum(0).cumsum(1), (1, 0, 1, 0))
    row, column = corners.unbind(1)
    return total[row + size, column + size] - total[row, column + size] - total[row + size, column] + total[row, column]
