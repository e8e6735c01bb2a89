"""Elevation rasters, opened with care and read in strips."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import hypot
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from attrs import define, frozen
from numpy.typing import NDArray

from forestgaps_core.errors import DataError
from forestgaps_core.output.counts import format_count
from forestgaps_geo import opening
from forestgaps_geo.georeference import stated_transform
from forestgaps_geo.grids import Grid
from forestgaps_geo.units import height_unit
from forestgaps_geo.value_bands import ValueBand, choose_band, value_band

Plane: TypeAlias = NDArray[np.float32]
Report: TypeAlias = Callable[[str, int, int], None]
"""Called with (what, done, total) when work begins, with 0 done, and while it continues."""

STRIP = 2**22  # pixels read at a time
HIGHEST = 12_000.0  # meters; beyond any elevation above or below the sea
LOWEST = -500.0  # meters; the shore of the Dead Sea lies at -430
MAX_SENTINELS = 3  # distinct values that may mean no data in one raster; more of them are heights in another unit
MARKERS = (9999.0, 9998.0, 10000.0)  # of no data in some programs; lower ones lie below LOWEST
MARKER_DISTANCE_M = 20.0  # from all other values; in feet and centimeters land may be as high as a marker, and is then not alone


def silent(what: str, done: int, total: int) -> None:
    """Nobody watches."""


@define(eq=False)
class Band:
    """The elevations or heights of one file, on the file's own grid.

    Attributes:
        unit_m: Meters in one unit of the file's values.
        declared_unit: The unit's name where only the file declares it and it is not the meter.
        unit_is_stated: The user has said what the unit is.
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

    def read(self, row: int, column: int, rows: int, columns: int) -> Plane:
        """Float32 meters, NaN where the file has no data."""
        raw, valid = self.source.read(row, column, rows, columns)
        with np.errstate(over="ignore", invalid="ignore"):  # an infinite value is not an elevation; `survey` reports it
            values: Plane = convert_values(raw, self.source, self.unit_m).astype(np.float32, copy=False)
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
def opened(
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
    with opening.opened(path) as dataset:
        with opening.reading(path, "has a damaged header"):
            number = choose_band(path, dataset, band, "a raster of elevations or heights", several_only=several_only)
            found = described(path, dataset, number, nodata=nodata, pixel_size_m=pixel_size_m, feet=feet, scale=scale)
        yield found


@contextmanager
def opened_anywhere(path: Path, **reading: Any) -> Iterator[Band]:
    """The same for a raster that need not be placed on the ground: without CRS, its pixels have the size that its transform has."""
    with opening.opened(path) as dataset:
        side = None if dataset.crs else hypot(dataset.transform.a, dataset.transform.d)
    with opened(path, pixel_size_m=side, **reading) as band:
        yield band


def described(
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
    if (kind := dataset.dtypes[number - 1]) not in opening.REAL:
        raise DataError(f"{path}: holds {kind}; elevations and heights are real numbers")
    crs = dataset.crs or None
    source = value_band(path, dataset, number, nodata, stated_transform(path, dataset, pixel_size_m))
    unit = height_unit(path, dataset, number, feet=feet, scale=scale)
    grid = Grid(crs, source.transform, dataset.height, dataset.width)
    return Band(path, source, grid, unit.meters, unit.declared, feet or scale is not None)


@frozen
class Survey:
    """What a raster holds: how many pixels with data, their range in meters, and the share of plausible canopy heights."""

    valid: int
    low: float
    high: float
    canopy_share: float


def survey(band: Band, report: Report = silent) -> Survey:
    """Look at every pixel before anything is written.

    Raises:
        DataError: No pixel has data, or some are infinite or beyond any elevation.
    """
    valid, canopy, low, high = 0, 0, np.inf, -np.inf
    rows, columns = band.grid.rows, band.grid.columns
    step = max(STRIP // columns, 1)
    what = f"checking {band.path.absolute().parent.name}/{band.path.name}"
    report(what, 0, rows)
    for row in range(0, rows, step):
        count = min(step, rows - row)
        for column, width in band.source.column_ranges(row, count):
            values = band.read(row, column, count, width)
            known = values[~np.isnan(values)]
            if known.size:
                least, most = float(known.min()), float(known.max())
                if least < LOWEST or most > 0.99 * band.unit_m * min(MARKERS):  # only then look closer
                    plausible(band, values, row, column)
                valid, low, high = valid + known.size, min(low, least), max(high, most)
                canopy += int(np.count_nonzero((known > -20) & (known < 120)))
        report(what, min(row + step, rows), rows)
    if not valid:
        raise DataError(f"{band.path}: has no data at all, every pixel is nodata")
    return Survey(valid, low, high, canopy / valid)


def plausible(band: Band, values: Plane, row: int, column: int = 0) -> None:
    """
    Args:
        row, column: Of the first of these values.

    Raises:
        DataError: Some of these values are not elevations; names the first.
    """
    absurd = np.abs(values) > HIGHEST  # False for NaN, True for infinity
    if absurd.any():
        y, x = (int(place[0]) for place in np.nonzero(absurd))
        stored = band.stored(row + y, column + x)
        said = (
            f"{band.path}: {format_count(int(absurd.sum()), 'pixel')} near row {row + y} beyond {HIGHEST:g} m, "
            f"the first is {stored} in column {column + x}"
        )
        if len(np.unique(values[absurd])) > MAX_SENTINELS:
            raise DataError(f"{said}; if these are heights in another unit, add --scale FACTOR, the meters in one unit")
        raise DataError(f"{said}; if that means no data, say so with --nodata={stored} (nodata = {stored} in a site list)")
    hollow = (values < LOWEST) | marked(values, band.unit_m)
    if hollow.any():
        y, x = (int(place[0]) for place in np.nonzero(hollow))
        found = band.stored(row + y, column + x)
        raise DataError(
            f"{band.path}: {format_count(int(hollow.sum()), 'pixel')} near row {row + y} outside the elevations of any land, "
            f"the first is {found} in column {column + x}; if that means no data, say so with --nodata={found} "
            f"(nodata = {found} in a site list)"
        )


def marked(values: Plane, unit_m: float) -> NDArray[np.bool_]:
    """Return where values are one of `MARKERS`, far from all others."""
    markers = (unit_m * np.array(MARKERS)).astype(np.float32)
    found: NDArray[np.bool_] = np.isin(values, markers)
    others = values[~found & ~np.isnan(values)]
    near = (others > markers.min() - MARKER_DISTANCE_M) & (others < markers.max() + MARKER_DISTANCE_M)
    return np.zeros_like(found) if near.any() else found
