"""Statistics of a raster from a few dozen windows, in constant memory. `input_checks` interprets them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import sqrt

import numpy as np
from attrs import frozen

from forestgaps_geo.bands.band import Band, FloatArray
from forestgaps_geo.bands.elevation_checks import MAX_ELEVATION_M
from forestgaps_geo.checks.surface_shapes import (
    MAX_ROUNDING_M,
    Jumps,
    compute_cell_extremes,
    count_border_patches,
    count_patches,
    count_standing_cells,
    count_zero_corners,
    count_zero_margins,
    find_enclosed,
    find_jumps,
)
from forestgaps_geo.grids.grid import Grid
from forestgaps_geo.grids.windows import Window, iterate_windows

WINDOW_PIXELS = 512  # pixels of a window, as many as a tile of a Cloud-Optimized GeoTIFF
MAX_WINDOWS = 48  # windows
MAX_TILES = 10**5  # of a sparse raster, of which some hold data; asked for one by one, a microsecond each
CELL_M = 64.0  # meters; wide enough that ground shows somewhere in nearly every cell, also below closed canopy
MIN_CELLS = 9  # cells of a small raster, for which they are made smaller
CROWN_M = 8.0  # meters; about a crown
MAX_TREE_M = 110.0  # meters; few trees known are taller, and none by much
MAX_VALUE = 1e8  # not a height in any unit
MAX_DISTINCT_VALUES = 4  # distinct ones; more are not counted
ROUNDING_STEPS_M = (1.0, 0.5, 0.25, 0.1)  # meters, coarse to fine


@frozen(eq=False, kw_only=True)
class WindowStatistics:
    """One window, measured.

    Attributes:
        valid: Pixels with data.
        void: Pixels without data that have data on all four sides, in the window.
        low: The lowest value.
        high: The highest.
        missing: Pixels without data.
        low_count, above_low: Pixels that hold the lowest value, and the next value above it; infinite where there is none.
        high_count, below_high: The same from above.
        below, tall: Pixels under -1 m, and over `MAX_TREE_M`.
        fractional: Pixels whose value is not a whole number of the unit of the file.
        distinct: All values, where there are at most `MAX_DISTINCT_VALUES`; None where there are more.
        zeros: Pixels that hold exactly 0.
        zero_patches: Patches of 8 x 8 pixels that hold nothing else.
        zero_margins: Rows or columns of zeros at the top, left, bottom and right; -1 where the window does not touch that side.
        zero_corners: Corners of the raster in the window that hold zeros only.
        least: The value nearest to 0 among the others, by its distance.
        lows: The lowest value of each cell of `CELL_M` meters, at least half of it with data.
        highs: The highest value of the same cells.
        drops: Highest minus lowest value in each cell of `CROWN_M` meters.
        crown_cells: Those of them that are measured for crowns; none where a crown has fewer than `MIN_CROWN_PIXELS` pixels across.
        standing: Of them, those in which something stands on the slope.
        border: Patches of 8 x 8 pixels, all with data, along the sides of the raster.
        border_level: How many of those hold one value, by that value.
        patches: Patches of 8 x 8 pixels, all with data.
        level: Those of one value.
        plane: Those that are a tilted plane.
        on_step: Pixels whose value is a multiple of each of `ROUNDING_STEPS_M`.
    """

    window: Window
    valid: int
    void: int
    missing: int
    low: float
    low_count: int
    above_low: float
    high: float
    high_count: int
    below_high: float
    below: int
    tall: int
    fractional: int
    distinct: frozenset[float] | None
    zeros: int
    zero_patches: int
    zero_margins: tuple[int, int, int, int]
    zero_corners: int
    least: float
    lows: FloatArray
    highs: FloatArray
    drops: FloatArray
    crown_cells: int
    standing: int
    border: int
    border_level: Mapping[float, int]
    patches: int
    level: int
    plane: int
    on_step: tuple[int, ...]
    columns: Jumps
    rows: Jumps


def spread_windows(rows: int, columns: int) -> Iterator[Window]:
    """At most `MAX_WINDOWS` windows spread evenly over a raster, row by row; all of a small one."""
    down, across = -(-rows // WINDOW_PIXELS), -(-columns // WINDOW_PIXELS)
    if down * across > MAX_WINDOWS:
        share = sqrt(MAX_WINDOWS / (down * across))
        down, across = min(max(int(down * share), 1), MAX_WINDOWS), min(max(int(across * share), 1), MAX_WINDOWS)
        down, across = min(MAX_WINDOWS // across, -(-rows // WINDOW_PIXELS)), min(MAX_WINDOWS // down, -(-columns // WINDOW_PIXELS))
        down = min(down, MAX_WINDOWS // across)
    for top in spread_starts(rows, down):
        for left in spread_starts(columns, across):
            yield Window(top, left, min(WINDOW_PIXELS, rows - top), min(WINDOW_PIXELS, columns - left))


def choose_windows(band: Band) -> list[Window]:
    """Those of `spread_windows`; of a raster that is known to be empty in some of them, at most `MAX_WINDOWS` others, spread over
    the rest.
    """
    rows, columns = band.grid.rows, band.grid.columns
    spread = list(spread_windows(rows, columns))
    occupied = [window for window in spread if not band.source.is_empty(*window)]
    down, across = -(-rows // WINDOW_PIXELS), -(-columns // WINDOW_PIXELS)
    if len(occupied) == len(spread) or down * across > MAX_TILES:
        return occupied
    tiles = iterate_windows(rows, columns, WINDOW_PIXELS, WINDOW_PIXELS)
    occupied = [window for window in tiles if not band.source.is_empty(*window)]
    count = min(MAX_WINDOWS, len(occupied))
    return [occupied[round(number * (len(occupied) - 1) / max(count - 1, 1))] for number in range(count)]


def spread_starts(length: int, count: int) -> list[int]:
    """Where so many windows begin: at whole tiles, the first at 0, the last as near to the end as tiles allow."""
    tiles = -(-length // WINDOW_PIXELS)
    return [round(number * (tiles - 1) / max(count - 1, 1)) * WINDOW_PIXELS for number in range(count)]


def estimate_pixel_size_m(grid: Grid) -> float:
    """The side of a pixel in meters, roughly so where the grid is in degrees."""
    degrees = grid.crs is not None and grid.crs.is_geographic
    return grid.resolution * (111_320.0 if degrees else 1.0)


def sample_windows(band: Band) -> Iterator[WindowStatistics]:
    """What shows in the windows that hold data."""
    rows, columns = band.grid.rows, band.grid.columns
    resolution = estimate_pixel_size_m(band.grid)
    side = choose_cell_side(rows, columns, resolution)
    for window in choose_windows(band):
        values = band.read(*window)
        absurd = ~(np.abs(values) <= MAX_ELEVATION_M) & ~np.isnan(values)  # reported by `survey`, unless it is a matter of the unit
        if 2 * absurd.sum() < np.isfinite(values).sum() or np.abs(values[absurd]).max(initial=0) > MAX_VALUE:
            values[absurd] = np.nan
        if np.isfinite(values).any():
            near = min(max(round(CROWN_M / resolution), 2), WINDOW_PIXELS)
            yield measure_window(values, window, side, near, band.unit_m, (rows, columns))


def choose_cell_side(rows: int, columns: int, resolution: float) -> int:
    """Pixels: `CELL_M` meters, or less where a raster would have fewer than `MIN_CELLS` of them."""
    side = max(round(CELL_M / resolution), 2)
    inside = min(rows, WINDOW_PIXELS), min(columns, WINDOW_PIXELS)
    while side > 8 and (inside[0] // side) * (inside[1] // side) < MIN_CELLS:
        side //= 2
    return max(min(side, *inside), 1)


def measure_window(
    values: FloatArray, window: Window, cell: int, near: int, unit_m: float, shape: tuple[int, int]
) -> WindowStatistics:
    """Measure one window.

    Args:
        cell: Side of the cells for lows and highs, pixels.
        near: Side of the cells for drops, pixels.
        unit_m: Meters in one unit of the file.
        shape: Rows and columns of the raster.
    """
    valid_values = values[np.isfinite(values)]
    lows, highs = compute_cell_extremes(values, cell)
    bottoms, tops = compute_cell_extremes(values, min(near, *values.shape))
    crown_cells, standing = count_standing_cells(values, near, CROWN_M / near)
    border, border_level = count_border_patches(values, window, shape)
    patches, level, plane, zero_patches = count_patches(values)
    low, high, stored = float(valid_values.min()), float(valid_values.max()), valid_values / np.float32(unit_m)
    few = (
        np.unique(valid_values)
        if len(np.unique(valid_values[:: max(len(valid_values) // 1000, 1)])) <= MAX_DISTINCT_VALUES
        else None
    )
    return WindowStatistics(
        window=window,
        valid=valid_values.size,
        void=int((find_enclosed(values) & ~np.isfinite(values)).sum()),
        missing=int(np.isnan(values).sum()),
        low=low,
        low_count=int((valid_values == low).sum()),
        above_low=float(valid_values[valid_values > low].min(initial=np.inf)),
        high=high,
        high_count=int((valid_values == high).sum()),
        below_high=float(valid_values[valid_values < high].max(initial=-np.inf)),
        below=int((valid_values < -1).sum()),
        tall=int((valid_values > MAX_TREE_M).sum()),
        fractional=int((np.abs(stored - np.rint(stored)) > 1e-3).sum()),
        distinct=None if few is None or len(few) > MAX_DISTINCT_VALUES else frozenset(few.tolist()),
        zeros=int((valid_values == 0).sum()),
        zero_patches=zero_patches,
        zero_margins=count_zero_margins(values, window, shape),
        zero_corners=count_zero_corners(values, window, shape),
        least=float(np.abs(valid_values[valid_values != 0]).min(initial=np.inf)),
        lows=lows,
        highs=highs,
        drops=tops - bottoms,
        crown_cells=crown_cells,
        standing=standing,
        border=border,
        border_level=border_level,
        patches=patches,
        level=level,
        plane=plane,
        on_step=tuple(
            int((np.abs(valid_values - np.rint(valid_values / step) * step) < MAX_ROUNDING_M).sum()) for step in ROUNDING_STEPS_M
        ),
        columns=find_jumps(values),
        rows=find_jumps(values.T),
    )
