"""Grids of rasters on which areas can be measured, and how two grids fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import frozen
from rasterio.errors import CRSError
from rasterio.warp import transform_bounds

from forestgaps_core.errors import DataError
from forestgaps_geo.bands.georeference import format_metric_command, format_straighten_command, resolve_transform
from forestgaps_geo.bands.value_band import make_value_band
from forestgaps_geo.grids.crs import describe_crs, explain_geocentric, get_meters_per_unit, is_same_crs
from forestgaps_geo.grids.grid import Grid

MAX_MISFIT_PIXELS = 0.01  # a smaller difference comes from rounded numbers


@frozen
class Pixel:
    """Position and size of the pixels of a grid.

    Attributes:
        width_m, height_m: Sides of a pixel, meters on the ground.
        west, north: Corner of the raster, in units of the CRS.
        right, down: Step to the next column and to the next row, in units of the CRS; `down` is usually negative.
    """

    width_m: float = 1.0
    height_m: float = 1.0
    west: float = 0.0
    north: float = 0.0
    right: float = 1.0
    down: float = -1.0

    @property
    def area_m2(self) -> float:
        return self.width_m * self.height_m


def measure_pixel(grid: Grid) -> Pixel:
    """Return position and size on the ground of the pixels of a grid."""
    a, e = grid.transform.a, grid.transform.e
    unit_m, scale = get_meters_per_unit(grid.crs), grid.ground_scale
    return Pixel(abs(a) * unit_m * scale.x, abs(e) * unit_m * scale.y, grid.transform.c, grid.transform.f, a, e)


def read_grid(path: Path, dataset: Any, pixel_size_m: float | None) -> Grid:
    """Return the grid of an open raster, whose rows run east.

    Args:
        pixel_size_m: Pixel size of a raster without CRS, whose unit is then the meter.

    Raises:
        DataError: Areas cannot be measured on the grid.
    """
    crs = dataset.crs or None
    source = make_value_band(path, dataset, 1, transform=resolve_transform(path, dataset, pixel_size_m))
    transform = source.transform
    if crs is not None and crs.is_geographic:
        raise DataError(
            f"{path}: its grid is in degrees ({describe_crs(crs)}), where areas differ from row to row. Bring it to a grid in "
            f"meters: {format_metric_command(source)}"
        )
    if fault := explain_geocentric(crs):
        raise DataError(f"{path}: {fault}")
    if abs(transform.b) > 1e-9 * abs(transform.a) or abs(transform.d) > 1e-9 * abs(transform.e):
        raise DataError(f"{path}: its grid is rotated. Bring it to rows that run east: {format_straighten_command(source)}")
    return Grid(crs, transform, dataset.height, dataset.width)


def is_same_grid(one: Grid, other: Grid) -> bool:
    """Return whether the grids have the same pixels. Vertical parts of the CRS are ignored."""
    return (one.rows, one.columns) == (other.rows, other.columns) and find_shift(one, other) == (0, 0)


def find_shift(one: Grid, other: Grid) -> tuple[int, int] | None:
    """Return rows and columns from the corner of one grid to that of the other; None if their pixels are not aligned."""
    if one.crs and other.crs and not is_same_crs(one.crs, other.crs):
        return None
    a, b = one.transform, other.transform
    column, row = (b.c - a.c) / a.a, (b.f - a.f) / a.e
    stretch = (a.a - b.a) / a.a * max(one.columns, other.columns), (a.e - b.e) / a.e * max(one.rows, other.rows)
    misfit = max(abs(column - round(column)), abs(row - round(row)), *map(abs, stretch))
    return (round(row), round(column)) if misfit < MAX_MISFIT_PIXELS else None


def require_overlap(path: Path, one: Grid, other_path: Path, other: Grid) -> None:
    """Reject rasters of two places, for which a `gdalwarp` command would write a raster without data.

    Raises:
        DataError: The two do not overlap.
    """
    left, bottom, right, top = one.bounds
    west, south, east, north = other.bounds
    if one.crs and other.crs and not is_same_crs(one.crs, other.crs):
        try:
            west, south, east, north = transform_bounds(other.crs, one.crs, west, south, east, north)
        except CRSError:
            return
    if left >= east or west >= right or bottom >= north or south >= top:
        raise DataError(f"{path} and {other_path} do not overlap ({one}; {other}). Give rasters of the same place")


def find_common_extent(one: Grid, other: Grid) -> tuple[Grid, tuple[int, int], tuple[int, int]] | None:
    """Return the grid of the common pixels, and its first row and column in each of the two; None if pixels are not aligned.

    Raises:
        DataError: The two do not overlap.
    """
    if (shifted := find_shift(one, other)) is None:
        return None
    (top, bottom), (left, right) = (
        (max(0, first), min(size, first + other_size))
        for first, size, other_size in zip(shifted, (one.rows, one.columns), (other.rows, other.columns), strict=True)
    )
    if top >= bottom or left >= right:
        raise DataError(f"the two rasters do not overlap ({one}; {other}). Give surveys of the same place")
    return one.window(top, left, bottom - top, right - left), (top, left), (top - shifted[0], left - shifted[1])
