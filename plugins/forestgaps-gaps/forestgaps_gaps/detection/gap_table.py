"""A table of gaps, with a column for each measure."""

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
    """The gaps of one map at one threshold: a row for each gap, in columns of equal length.

    The pixels of a gap have one label. Its outline consists of the pixel sides between the gap and other pixels. Lengths are in
    meters and areas in square meters, in any CRS.

    Attributes:
        number: 1 to N, in the order of first pixels, from row to row and west to east. It does not depend on strips. A selection
            keeps the numbers.
        pixels: Number of pixels.
        area_m2: Area of the pixels.
        perimeter_m: Length of the outline, with holes.
        shape_index: Perimeter divided by that of a circle of equal area, perimeter / (2 sqrt(pi area)). 1.128 for a square pixel.
        height_mean, height_max, height_min, height_sd: Canopy height in the gap, meters; NaN if unknown. The standard deviation is
            that of the population (divided by the number of pixels).
        row, column: Centroid, pixels from the north-west corner of the raster. The center of the first pixel is (0.5, 0.5).
        x, y: Centroid in units of the CRS.
        first_row, first_column, last_row, last_column: Bounding box, pixels, ends included.
        nearest_m: Distance to the nearest other gap, between the nearest edges of pixels. 0 where corners touch, NaN if there is no
            other gap.
        touches_edge: Whether the gap touches the edge of the raster or pixels without data, so that it may be larger.
        threshold_m: Height threshold of the map, meters; NaN if unknown.
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
        """Return the columns by name, without the threshold, which is one value."""
        return {name: getattr(self, name) for name in list_column_names()}

    def select(self, rows: Flags | Integers) -> GapTable:
        """Return some of the gaps, by a mask over the rows or by their indices."""
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
    """Return the type of the values of a column."""
    if name == "touches_edge":
        return np.bool_
    return np.int64 if name in ("number", "pixels") or name.startswith(("first_", "last_")) else np.float64
