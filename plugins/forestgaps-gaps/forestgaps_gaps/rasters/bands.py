"""One band of an open raster, with canopy heights or with the values of a gap map."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from forestgaps_core.errors import DataError
from forestgaps_geo.bands.band import convert_values
from forestgaps_geo.bands.elevation_checks import MAX_SENTINELS
from forestgaps_geo.bands.height_units import HeightUnit
from forestgaps_geo.bands.value_band import ValueBand

Flags: TypeAlias = NDArray[np.bool_]
Heights: TypeAlias = NDArray[np.floating[Any]]  # float64 if the file has float64, else float32

MAP_NODATA = 255  # in the gap maps of `forestgaps predict`
SAMPLE_WINDOWS = 16  # read to distinguish a gap map from heights
MIN_HEIGHT_M, MAX_HEIGHT_M = -100.0, 1000.0  # values outside are undeclared nodata values, not canopy heights


@define(eq=False)
class LayerBand:
    """One band of an open file.

    Attributes:
        nodata: Value of pixels without data; None if all values are valid, whatever the file declares.
    """

    source: ValueBand
    nodata: float | None
    unit: HeightUnit = field(factory=HeightUnit)

    @property
    def path(self) -> Path:
        return self.source.path

    @property
    def number(self) -> int:
        return self.source.number

    @property
    def description(self) -> str:
        return self.source.description

    @property
    def is_integer(self) -> bool:
        return self.source.dtype.kind in "iub"

    def read(self, row: int, rows: int, column: int = 0, columns: int | None = None) -> tuple[NDArray[Any], Flags]:
        """Return the values of the file, and a mask that is True where they are valid; rows from north to south."""
        self.source.nodata = self.nodata
        return self.source.read(row, column, rows, self.source.dataset.width - column if columns is None else columns)

    def read_heights(self, row: int, rows: int) -> tuple[Heights, Flags]:
        """Return heights in meters, NaN without data, and a mask that is True where there are data.

        Raises:
            DataError: A value is not a canopy height in meters.
        """
        values, valid = self.read(row, rows)
        with np.errstate(over="ignore"):
            heights: Heights = convert_values(values, self.source, self.unit.meters)
            heights = heights.astype(np.float64 if values.dtype == np.float64 else np.float32)
        heights[~valid] = np.nan
        impossible = (heights < MIN_HEIGHT_M) | (heights > MAX_HEIGHT_M)
        if impossible.any():
            y, x = (int(place[0]) for place in np.nonzero(impossible))
            stored = str(values[y, x]).removesuffix(".0")
            problem = f"{self.path}: the value {stored} in row {row + y}, column {x} is not a canopy height in meters"
            if len(np.unique(values[impossible])) > MAX_SENTINELS:
                raise DataError(f"{problem}. If the heights have another unit, add --scale FACTOR (meters per unit)")
            raise DataError(f"{problem}. If it means no data, add --nodata={stored}")
        return heights, valid

    def sample_values(self) -> set[float]:
        """Return valid values from windows that are spread over the raster."""
        height, width = self.source.dataset.height, self.source.dataset.width
        block_rows, block_columns = self.source.block_shape
        rows, columns = min(block_rows, 512, height), min(block_columns, 512, width)
        last, sample = SAMPLE_WINDOWS - 1, set[float]()
        for window in range(SAMPLE_WINDOWS):
            row, column = (height - rows) * window // last, (width - columns) * (window * 7 % SAMPLE_WINDOWS) // last
            values, valid = self.read(row, rows, column, columns)
            sample.update(np.unique(values[valid]).tolist()[:1000])
        return sample
