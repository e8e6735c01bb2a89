"""What is known of each gap, a column per quantity."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np
from attrs import field, fields, frozen
from numpy.typing import NDArray

Integers: TypeAlias = NDArray[np.int64]
Reals: TypeAlias = NDArray[np.float64]
Flags: TypeAlias = NDArray[np.bool_]


@frozen(eq=False, kw_only=True)
class GapTable:
    """The gaps of one map at one threshold, one row each, in columns of equal length.

    A gap's pixels share one label; its sides are the pixel edges between it and anything else. Lengths are meters, areas square
    meters, whatever the CRS counts in.

    Attributes:
        number: 1 to N, in the order in which gaps are met from row to row, west to east; independent of how the raster was read.
            A selection keeps the numbers its gaps had.
        pixels: How many it has.
        area_m2: Their area.
        perimeter_m: Length of its outline, holes included.
        shape_index: Perimeter over that of a circle of equal area, perimeter / (2 sqrt(pi area)); 1.128 for a square pixel.
        height_mean, height_max, height_min, height_sd: Canopy height within, meters; NaN where no heights are known. The standard
            deviation is that of the population (divided by the number of pixels).
        row, column: Centroid, pixels from the north-west corner of the raster; the first pixel's center is (0.5, 0.5).
        x, y: Centroid in units of the CRS.
        first_row, first_column, last_row, last_column: Bounding box, pixels, ends included.
        nearest_m: Distance to the nearest other gap, between the nearest edges of their pixels; 0 where corners touch, NaN for a
            gap that is alone.
        touches_edge: It meets the raster's edge or pixels without data (neighbors as in labeling), so may be larger than seen.
        threshold_m: The height threshold of the map it comes from, meters; NaN where the map does not tell.
    """

    number: Integers
    pixels: Integers
    area_m2: Reals
    perimeter_m: Reals
    shape_index: Reals
    height_mean: Reals
    height_max: Reals
    height_min: Reals
    height_sd: Reals
    row: Reals
    column: Reals
    x: Reals
    y: Reals
    first_row: Integers
    first_column: Integers
    last_row: Integers
    last_column: Integers
    nearest_m: Reals
    touches_edge: Flags
    threshold_m: float = field()

    @threshold_m.validator
    def _equal_lengths(self, attribute: Any, value: Any) -> None:
        lengths = {name: len(column) for name, column in self.columns().items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns differ in length: {lengths}")

    def __len__(self) -> int:
        return len(self.number)

    def columns(self) -> dict[str, NDArray[Any]]:
        """The columns by name, all but the threshold, which is one number."""
        return {name: getattr(self, name) for name in list_column_names()}

    def select(self, rows: Flags | Integers) -> GapTable:
        """Only some gaps: a mask over the rows, or their indices."""
        return GapTable(threshold_m=self.threshold_m, **{name: column[rows] for name, column in self.columns().items()})

    @classmethod
    def concatenate(cls, parts: Iterable[GapTable], threshold_m: float) -> GapTable:
        """Return the rows of all parts, in order."""
        columns = [part.columns() for part in parts]
        if not columns:
            return cls(threshold_m=threshold_m, **{name: np.empty(0, get_column_dtype(name)) for name in list_column_names()})
        return cls(
            threshold_m=threshold_m, **{name: np.concatenate([part[name] for part in columns]) for name in list_column_names()}
        )


def list_column_names() -> tuple[str, ...]:
    return tuple(attribute.name for attribute in fields(GapTable) if attribute.name != "threshold_m")


def get_column_dtype(name: str) -> type[np.generic]:
    """The type of a column's values."""
    if name == "touches_edge":
        return np.bool_
    return np.int64 if name in ("number", "pixels") or name.startswith(("first_", "last_")) else np.float64
