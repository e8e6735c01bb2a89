"""Read every pixel of a band once, and reject values that are not elevations."""

from __future__ import annotations

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from forestgaps_core.errors import DataError
from forestgaps_core.output.counts import format_count
from forestgaps_geo.bands.band import Band, FloatArray, ShowProgress, ignore_progress
from forestgaps_geo.grids.windows import STRIP_PIXELS, iterate_strips

MAX_ELEVATION_M = 12_000.0  # meters; beyond any elevation above or below the sea
MIN_ELEVATION_M = -500.0  # meters; the shore of the Dead Sea lies at -430
MAX_SENTINELS = 3  # distinct values that may mean no data in one raster; more of them are heights in another unit
SENTINEL_VALUES = (9999.0, 9998.0, 10000.0)  # of no data in some programs; lower ones lie below `MIN_ELEVATION_M`
SENTINEL_DISTANCE_M = 20.0  # from all other values; in feet and centimeters land may be as high as a marker, and is then not alone


@frozen
class BandStatistics:
    """What a raster holds: how many pixels with data, their range in meters, and the share of plausible canopy heights."""

    valid: int
    low: float
    high: float
    canopy_share: float


def scan_band(band: Band, report: ShowProgress = ignore_progress) -> BandStatistics:
    """Look at every pixel before anything is written.

    Raises:
        DataError: No pixel has data, or some are infinite or beyond any elevation.
    """
    valid, canopy, low, high = 0, 0, np.inf, -np.inf
    rows, columns = band.grid.rows, band.grid.columns
    what = f"checking {band.path.absolute().parent.name}/{band.path.name}"
    report(what, 0, rows)
    for strip in iterate_strips(rows, columns, STRIP_PIXELS):
        for column, width in band.source.column_ranges(strip.row, strip.rows):
            values = band.read(strip.row, column, strip.rows, width)
            valid_values = values[~np.isnan(values)]
            if valid_values.size:
                least, most = float(valid_values.min()), float(valid_values.max())
                if least < MIN_ELEVATION_M or most > 0.99 * band.unit_m * min(SENTINEL_VALUES):  # only then look closer
                    check_elevations(band, values, strip.row, column)
                valid, low, high = valid + valid_values.size, min(low, least), max(high, most)
                canopy += int(np.count_nonzero((valid_values > -20) & (valid_values < 120)))
        report(what, strip.row + strip.rows, rows)
    if not valid:
        raise DataError(f"{band.path}: has no data at all, every pixel is nodata")
    return BandStatistics(valid, low, high, canopy / valid)


def check_elevations(band: Band, values: FloatArray, row: int, column: int = 0) -> None:
    """Refuse values that are not elevations.

    Args:
        row: Row of the first of these values.
        column: Column of the first of these values.

    Raises:
        DataError: Some of these values are not elevations; names the first.
    """
    absurd = np.abs(values) > MAX_ELEVATION_M  # False for NaN, True for infinity
    if absurd.any():
        y, x = (int(place[0]) for place in np.nonzero(absurd))
        stored = band.stored(row + y, column + x)
        problem = (
            f"{band.path}: {format_count(int(absurd.sum()), 'pixel')} near row {row + y} beyond {MAX_ELEVATION_M:g} m, "
            f"the first is {stored} in column {column + x}"
        )
        if len(np.unique(values[absurd])) > MAX_SENTINELS:
            raise DataError(f"{problem}; if these are heights in another unit, add --scale FACTOR, the meters in one unit")
        raise DataError(f"{problem}; if that means no data, say so with --nodata={stored} (nodata = {stored} in a site list)")
    hollow = (values < MIN_ELEVATION_M) | find_sentinels(values, band.unit_m)
    if hollow.any():
        y, x = (int(place[0]) for place in np.nonzero(hollow))
        found = band.stored(row + y, column + x)
        raise DataError(
            f"{band.path}: {format_count(int(hollow.sum()), 'pixel')} near row {row + y} outside the elevations of any land, "
            f"the first is {found} in column {column + x}; if that means no data, say so with --nodata={found} "
            f"(nodata = {found} in a site list)"
        )


def find_sentinels(values: FloatArray, unit_m: float) -> NDArray[np.bool_]:
    """Return where values are one of `SENTINEL_VALUES`, far from all others."""
    markers = (unit_m * np.array(SENTINEL_VALUES)).astype(np.float32)
    found: NDArray[np.bool_] = np.isin(values, markers)
    others = values[~found & ~np.isnan(values)]
    near = (others > markers.min() - SENTINEL_DISTANCE_M) & (others < markers.max() + SENTINEL_DISTANCE_M)
    return np.zeros_like(found) if near.any() else found
