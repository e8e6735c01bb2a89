"""Elevation rasters: opened safely and read in strips."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import hypot
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from attrs import define
from numpy.typing import NDArray

from forestgaps_core.errors import DataError
from forestgaps_geo.bands.band_selection import choose_band
from forestgaps_geo.bands.georeference import resolve_transform
from forestgaps_geo.bands.height_units import resolve_height_unit
from forestgaps_geo.bands.value_band import ValueBand, make_value_band
from forestgaps_geo.files.gdal import convert_gdal_errors
from forestgaps_geo.files.header_checks import REAL_DTYPES
from forestgaps_geo.files.opening import open_raster
from forestgaps_geo.grids.grid import Grid

FloatArray: TypeAlias = NDArray[np.float32]
ShowProgress: TypeAlias = Callable[[str, int, int], None]
"""Called with (what, done, total) when work begins, with 0 done, and while it continues."""


def ignore_progress(what: str, done: int, total: int) -> None:
    """Nobody watches."""


@define(eq=False)
class Band:
    """The elevations or heights of one file, on the file's own grid.

    Attributes:
        unit_m: Meters in one unit of the file's values.
        declared_unit: The unit's name where only the file declares it and it is not the meter.
        unit_is_stated: The user has stated the unit.
    """

    path: Path
    source: ValueBand
    grid: Grid
    unit_m: float = 1.0
    declared_unit: str = ""
    unit_is_stated: bool = False

    @property
    def dataset(self) -> Any:
        """The open file, whose rows may run from south to north; `read` turns them round."""
        return self.source.dataset

    @property
    def nodata(self) -> float | None:
        return self.source.nodata

    def read(self, row: int, column: int, rows: int, columns: int) -> FloatArray:
        """Float32 meters, NaN where the file has no data."""
        raw, valid = self.source.read(row, column, rows, columns)
        with np.errstate(over="ignore", invalid="ignore"):  # an infinite value is not an elevation; `scan_band` reports it
            values: FloatArray = convert_values(raw, self.source, self.unit_m).astype(np.float32, copy=False)
        values[~valid] = np.nan
        return values

    def stored(self, row: int, column: int) -> str:
        """Return the value of a pixel as the file stores it, written so that `--nodata` reads the same value."""
        return str(self.source.read(row, column, 1, 1)[0][0, 0]).removesuffix(".0")

    def as_stored(self, value_m: float) -> str:
        """Return what the file stores for a value in meters that was read from it, written as `stored` writes it."""
        value = (value_m / self.unit_m - self.source.offset) / self.source.scale
        return str(round(value)) if self.source.dtype.kind in "iu" else str(np.float32(value)).removesuffix(".0")


def convert_values(raw: NDArray[Any], source: ValueBand, unit_m: float) -> NDArray[Any]:
    """Return stored values in meters, as float64 where anything is converted: 130 cm is then the number nearest to 1.3 m."""
    if (source.scale, source.offset, unit_m) == (1.0, 0.0, 1.0):
        return raw
    return (raw.astype(np.float64) * source.scale + source.offset) * unit_m


@contextmanager
def open_band(
    path: Path,
    *,
    nodata: float | None = None,
    pixel_size_m: float | None = None,
    feet: bool = False,
    band: int | None = None,
    several_only: bool = False,
    scale: float | None = None,
) -> Iterator[Band]:
    """A raster of one band in meters.

    Args:
        nodata: The value that means no data, where the file does not say so itself.
        pixel_size_m: The pixel size, for a file without CRS; its grid is then taken to be in meters.
        feet: Its values are in feet and become meters as they are read: of 0.3048 m, or of the kind the file itself names.
        band: The band to read; None: the only one of values, beside alpha.
        several_only: `band` is meant for rasters with several bands of values; others are read as they are.
        scale: Its values times this are meters, whatever the file declares.

    Raises:
        DataError: It is not such a raster.
    """
    with open_raster(path) as dataset:
        with convert_gdal_errors(path, "has a damaged header"):
            number = choose_band(path, dataset, band, "a raster of elevations or heights", several_only=several_only)
            found = describe_band(path, dataset, number, nodata=nodata, pixel_size_m=pixel_size_m, feet=feet, scale=scale)
        yield found


@contextmanager
def open_band_anywhere(path: Path, **reading: Any) -> Iterator[Band]:
    """The same for a raster that need not be placed on the ground: without CRS, its pixels have the size that its transform has."""
    with open_raster(path) as dataset:
        side = None if dataset.crs else hypot(dataset.transform.a, dataset.transform.d)
    with open_band(path, pixel_size_m=side, **reading) as band:
        yield band


def describe_band(
    path: Path,
    dataset: Any,
    number: int,
    *,
    nodata: float | None,
    pixel_size_m: float | None,
    feet: bool,
    scale: float | None = None,
) -> Band:
    """A band of an open raster, if it is one of meters."""
    if (kind := dataset.dtypes[number - 1]) not in REAL_DTYPES:
        raise DataError(f"{path}: holds {kind}; elevations and heights are real numbers")
    crs = dataset.crs or None
    source = make_value_band(path, dataset, number, nodata, resolve_transform(path, dataset, pixel_size_m))
    unit = resolve_height_unit(path, dataset, number, feet=feet, scale=scale)
    grid = Grid(crs, source.transform, dataset.height, dataset.width)
    return Band(path, source, grid, unit.meters, unit.declared, feet or scale is not None)
