"""Choose the grid that a raster is resampled to."""

from __future__ import annotations

from math import floor, sqrt

from rasterio import Affine
from rasterio.crs import CRS

from forestgaps_core.errors import DataError
from forestgaps_geo.grids.crs import (
    describe_crs,
    explain_geocentric,
    find_utm_zone,
    is_same_crs,
    measure_unit_on_ground,
)
from forestgaps_geo.grids.grid import Grid, explain_not_north_up, reproject_bounds

MIN_COARSENING = 1.5  # times; pixels that differ by less keep their size where they are brought to another grid


def explain_not_metric(grid: Grid) -> str | None:
    """Why pixels of this grid are not squares in meters on the ground, as far as its CRS is the reason."""
    if grid.crs is None:
        return None
    if grid.crs.is_geographic:
        return f"its grid is in degrees ({describe_crs(grid.crs)}), not in meters"
    if grid.ground_scale.keeps_squares:
        return None
    wide, high = grid.nominal_resolution * grid.ground_scale.x, grid.nominal_resolution * grid.ground_scale.y
    return f"its pixels are {wide:.3g} x {high:.3g} m on the ground ({describe_crs(grid.crs)} stretches them here), not square"


def suggest_metric_crs(grid: Grid) -> str:
    """The UTM zone of the grid's middle, to propose."""
    left, bottom, right, top = reproject_bounds(grid, "EPSG:4326")
    return find_utm_zone((left + right) / 2, (bottom + top) / 2)


def suggest_pixel_size(grid: Grid, asked_m: float | None = None) -> str:
    """The side of a pixel of the new grid, as words of a command line: what was asked, or about that of the old pixels."""
    if asked_m is not None:
        return f"{asked_m:g}"
    if grid.crs is None or not grid.crs.is_geographic:
        return f"{sqrt(abs(grid.transform.determinant)) * grid.unit_m:.2g}"
    left, bottom, right, top = reproject_bounds(grid, suggest_metric_crs(grid))
    return f"{sqrt((right - left) * (top - bottom) / (grid.rows * grid.columns)):.2g}"


def choose_target_grid(source: Grid, place: str, *, resolution_m: float | None, crs: CRS | None, resample: bool) -> Grid:
    """The grid to work on: the source's own, or the one asked.

    Args:
        place: What the source is called in messages.
        resolution_m: Pixel size asked, meters; None: the source's.
        crs: CRS asked; None: the source's.
        resample: Whether pixels may be made anew at all.

    Raises:
        DataError: It takes resampling that was not asked, or finer pixels than there are.
    """
    moved = crs is not None and not is_same_crs(source.crs, crs)
    if moved and source.crs is None:
        raise DataError(f"{place}: has no CRS, so it cannot be brought to {describe_crs(crs)}")
    if fault := explain_geocentric(source.crs):
        raise DataError(f"{place}: {fault}")
    if not moved and (reason := explain_not_metric(source)):
        ask = f"--resample --crs {suggest_metric_crs(source)} --resolution {suggest_pixel_size(source, resolution_m)}"
        raise DataError(f"{place}: {reason}; {ask} brings it to a grid in meters")
    fault = explain_not_north_up(source.transform)
    if not (moved or fault):
        wanted = source.resolution if resolution_m is None else resolution_m
        ratio = wanted / source.resolution
        if abs(ratio - 1) < 1e-4:
            return source
        change = f"has pixels of {source.resolution:g} m, not of {wanted:g} m"
        if ratio * MIN_COARSENING <= 1 or (ratio < 1 and not resample):
            raise DataError(f"{place}: {change}; resampling cannot add detail")
        if not resample:
            raise DataError(f"{place}: {change}. Add --resample, or give --resolution {source.resolution:g}")
        side = wanted / source.unit_m
        transform = Affine(side, 0, source.transform.c, 0, -side, source.transform.f)
        fitting = Grid(source.crs, transform, floor(source.rows / ratio + 1e-6), floor(source.columns / ratio + 1e-6))
        if not (fitting.rows and fitting.columns):
            raise DataError(f"{place}: {source.columns} x {source.rows} pixels are less than one of {wanted:g} m")
        return fitting
    if not resample:
        ask = f"--resample --resolution {suggest_pixel_size(source, resolution_m)}"
        raise DataError(
            f"{place}: {fault or f'is in {describe_crs(source.crs)}, not in {describe_crs(crs)}'}; add {ask} to make a new grid"
        )
    if resolution_m is None:
        ask = f"--resolution {suggest_pixel_size(source)}"
        raise DataError(f"{place}: {fault or 'changes its CRS'}, so say the pixel size of the new grid, such as {ask}")
    left, bottom, right, top = source.bounds
    if moved:
        left, bottom, right, top = reproject_bounds(source, crs)
    place_on_grid = (left + right) / 2, (bottom + top) / 2
    side = resolution_m / (measure_unit_on_ground(crs, *place_on_grid) if moved else source.unit_m)
    column, row = floor(left / side), -floor(-top / side)
    columns, rows = -floor(-right / side) - column, row - floor(bottom / side)
    transform = Affine(side, 0, column * side, 0, -side, row * side)
    return Grid(crs if moved else source.crs, transform, rows, columns)
