"""Statistics of a raster from a few dozen windows, in constant memory. `input_checks` interprets them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import sqrt

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from forestgaps_geo.bands import HIGHEST, Band, Plane
from forestgaps_geo.grids import Grid

SIDE = 512  # pixels of a window, as many as a tile of a Cloud-Optimized GeoTIFF
MOST = 48  # windows
MAX_TILES = 10**5  # of a sparse raster, of which some hold data; asked for one by one, a microsecond each
CELL = 64.0  # meters; wide enough that ground shows somewhere in nearly every cell, also below closed canopy
FEWEST = 9  # cells of a small raster, for which they are made smaller
CROWN_M = 8.0  # meters; about a crown
FEWEST_ACROSS = 4  # pixels of a crown
STANDING_M, STANDING_ON_SLOPE_M = 3.0, 2.0  # over the plane of a cell, on level ground and added for each meter of rise in a meter
PATCH = 8  # pixels of a patch that may be flat or a plane
LEVEL = 2e-3  # meters; below it a difference is rounding
TALLEST = 110.0  # meters; few trees known are taller, and none by much
NO_UNIT = 1e8  # not a height in any unit
MANY_VALUES = 4  # distinct ones; more are not counted
CORNER = 32  # pixels; a corner of zeros only is a collar, or bare ground
STEPS = (1.0, 0.5, 0.25, 0.1)  # meters, coarse to fine
QUARTERS = 4


@frozen(eq=False)
class Jumps:
    """Steps between neighbouring columns (or rows) that run through a whole window at one size.

    Attributes:
        places: Columns (rows) of the window after which the surface steps.
        sizes: Meters, of each.
    """

    places: NDArray[np.int64]
    sizes: NDArray[np.float64]


@frozen(eq=False, kw_only=True)
class Sample:
    """One window, measured.

    Attributes:
        window: Row, column, rows, columns.
        valid: Pixels with data.
        void: Pixels without data that have data on all four sides, in the window.
        low: The lowest value.
        high: The highest.
        missing: Pixels without data.
        low_count, above_low: Pixels that hold the lowest value, and the next value above it; infinite where there is none.
        high_count, below_high: The same from above.
        below, tall: Pixels under -1 m, and over `TALLEST`.
        fractional: Pixels whose value is not a whole number of the unit of the file.
        distinct: All values, where there are at most `MANY_VALUES`; None where there are more.
        zeros: Pixels that hold exactly 0.
        zero_patches: Patches of 8 x 8 pixels that hold nothing else.
        zero_margins: Rows or columns of zeros at the top, left, bottom and right; -1 where the window does not touch that side.
        zero_corners: Corners of the raster in the window that hold zeros only.
        least: The value nearest to 0 among the others, by its distance.
        lows: The lowest value of each cell of `CELL` meters, at least half of it with data.
        highs: The highest value of the same cells.
        drops: Highest minus lowest value in each cell of `CROWN_M` meters.
        crown_cells: Those of them that are measured for crowns; none where a crown has fewer than `FEWEST_ACROSS` pixels across.
        standing: Of them, those in which something stands on the slope.
        border: Patches of 8 x 8 pixels, all with data, along the sides of the raster.
        border_level: How many of those hold one value, by that value.
        patches: Patches of 8 x 8 pixels, all with data.
        level: Those of one value.
        plane: Those that are a tilted plane.
        on_step: Pixels whose value is a multiple of each of `STEPS`.
    """

    window: tuple[int, int, int, int]
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
    lows: Plane
    highs: Plane
    drops: Plane
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


def windows(rows: int, columns: int) -> Iterator[tuple[int, int, int, int]]:
    """At most `MOST` windows spread evenly over a raster, row by row; all of a small one."""
    down, across = -(-rows // SIDE), -(-columns // SIDE)
    if down * across > MOST:
        share = sqrt(MOST / (down * across))
        down, across = min(max(int(down * share), 1), MOST), min(max(int(across * share), 1), MOST)
        down, across = min(MOST // across, -(-rows // SIDE)), min(MOST // down, -(-columns // SIDE))
        down = min(down, MOST // across)
    for top in starts(rows, down):
        for left in starts(columns, across):
            yield top, left, min(SIDE, rows - top), min(SIDE, columns - left)


def occupied_windows(band: Band) -> list[tuple[int, int, int, int]]:
    """Those of `windows`; of a raster that is known to be empty in some of them, at most `MOST` others, spread over the rest."""
    rows, columns = band.grid.rows, band.grid.columns
    spread = list(windows(rows, columns))
    occupied = [window for window in spread if not band.source.is_empty(*window)]
    down, across = -(-rows // SIDE), -(-columns // SIDE)
    if len(occupied) == len(spread) or down * across > MAX_TILES:
        return occupied
    tiles = ((top, left) for top in range(0, rows, SIDE) for left in range(0, columns, SIDE))
    every = [(top, left, min(SIDE, rows - top), min(SIDE, columns - left)) for top, left in tiles]
    occupied = [window for window in every if not band.source.is_empty(*window)]
    count = min(MOST, len(occupied))
    return [occupied[round(number * (len(occupied) - 1) / max(count - 1, 1))] for number in range(count)]


def starts(length: int, count: int) -> list[int]:
    """Where so many windows begin: at whole tiles, the first at 0, the last as near to the end as tiles allow."""
    tiles = -(-length // SIDE)
    return [round(number * (tiles - 1) / max(count - 1, 1)) * SIDE for number in range(count)]


def pixel_m(grid: Grid) -> float:
    """The side of a pixel in meters, roughly so where the grid is in degrees."""
    degrees = grid.crs is not None and grid.crs.is_geographic
    return grid.resolution * (111_320.0 if degrees else 1.0)


def sample_windows(band: Band) -> Iterator[Sample]:
    """What shows in the windows that hold data."""
    rows, columns = band.grid.rows, band.grid.columns
    resolution = pixel_m(band.grid)
    side = cell_side(rows, columns, resolution)
    for window in occupied_windows(band):
        values = band.read(*window)
        absurd = ~(np.abs(values) <= HIGHEST) & ~np.isnan(values)  # reported by `survey`, unless it is a matter of the unit
        if 2 * absurd.sum() < np.isfinite(values).sum() or np.abs(values[absurd]).max(initial=0) > NO_UNIT:
            values[absurd] = np.nan
        if np.isfinite(values).any():
            near = min(max(round(CROWN_M / resolution), 2), SIDE)
            yield measure_window(values, window, side, near, band.unit_m, (rows, columns))


def cell_side(rows: int, columns: int, resolution: float) -> int:
    """Pixels: `CELL` meters, or less where a raster would have fewer than `FEWEST` of them."""
    side = max(round(CELL / resolution), 2)
    inside = min(rows, SIDE), min(columns, SIDE)
    while side > 8 and (inside[0] // side) * (inside[1] // side) < FEWEST:
        side //= 2
    return max(min(side, *inside), 1)


def measure_window(
    values: Plane, window: tuple[int, int, int, int], cell: int, near: int, unit_m: float, shape: tuple[int, int]
) -> Sample:
    """Measure one window.

    Args:
        cell, near: Sides of cells in pixels, for lows and highs and for drops.
        unit_m: Meters in one unit of the file.
        shape: Rows and columns of the raster.
    """
    known = values[np.isfinite(values)]
    lows, highs = extremes(values, cell)
    bottoms, tops = extremes(values, min(near, *values.shape))
    crown_cells, standing = standing_cells(values, near, CROWN_M / near)
    border, border_level = border_patches(values, window, shape)
    patches, level, plane, zero_patches = patched(values)
    low, high, stored = float(known.min()), float(known.max()), known / np.float32(unit_m)
    few = np.unique(known) if len(np.unique(known[:: max(len(known) // 1000, 1)])) <= MANY_VALUES else None
    return Sample(
        window=window,
        valid=known.size,
        void=int((enclosed(values) & ~np.isfinite(values)).sum()),
        missing=int(np.isnan(values).sum()),
        low=low,
        low_count=int((known == low).sum()),
        above_low=float(known[known > low].min(initial=np.inf)),
        high=high,
        high_count=int((known == high).sum()),
        below_high=float(known[known < high].max(initial=-np.inf)),
        below=int((known < -1).sum()),
        tall=int((known > TALLEST).sum()),
        fractional=int((np.abs(stored - np.rint(stored)) > 1e-3).sum()),
        distinct=None if few is None or len(few) > MANY_VALUES else frozenset(few.tolist()),
        zeros=int((known == 0).sum()),
        zero_patches=zero_patches,
        zero_margins=zero_margins(values, window, shape),
        zero_corners=zero_corners(values, window, shape),
        least=float(np.abs(known[known != 0]).min(initial=np.inf)),
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
        on_step=tuple(int((np.abs(known - np.rint(known / step) * step) < LEVEL).sum()) for step in STEPS),
        columns=jumps(values),
        rows=jumps(values.T),
    )


def cells(values: Plane, side: int) -> Plane:
    """(rows // side, columns // side, side * side): the values of each whole cell."""
    rows, columns = values.shape[0] // side, values.shape[1] // side
    inside = values[: rows * side, : columns * side].reshape(rows, side, columns, side)
    return inside.transpose(0, 2, 1, 3).reshape(rows, columns, side * side)


def extremes(values: Plane, side: int) -> tuple[Plane, Plane]:
    """Lowest and highest value of each cell at least half of which has data."""
    pixels = cells(values, side)
    pixels = pixels[2 * np.isfinite(pixels).sum(2) >= side * side]
    return np.fmin.reduce(pixels, axis=1), np.fmax.reduce(pixels, axis=1)


def enclosed(values: Plane) -> NDArray[np.bool_]:
    """Pixels with data, or with data somewhere on all four sides of them: no border of the survey."""
    known = np.isfinite(values)
    inside = np.ones_like(known)
    for axis in (0, 1):
        inside &= np.maximum.accumulate(known, axis)
        inside &= np.flip(np.maximum.accumulate(np.flip(known, axis), axis), axis)
    return inside


def patched(values: Plane) -> tuple[int, int, int, int]:
    """Patches of 8 x 8 pixels with data; how many of them are level, how many a tilted plane, how many zeros only."""
    if min(values.shape) < PATCH:
        return 0, 0, 0, 0
    pixels = cells(values, PATCH)
    pixels = pixels[np.isfinite(pixels).all(2)].reshape(-1, PATCH, PATCH)
    level = np.ptp(pixels, axis=(1, 2)) == 0
    bent = [np.abs(np.diff(pixels, 2, axis=axis)).max((1, 2)) for axis in (1, 2)]
    bent.append(np.abs(np.diff(np.diff(pixels, axis=1), axis=2)).max((1, 2)))
    plane = (np.max(bent, axis=0) < LEVEL) & ~level
    return len(pixels), int(level.sum()), int(plane.sum()), int((level & (pixels[:, 0, 0] == 0)).sum())


def standing_cells(values: Plane, side: int, pixel_m: float) -> tuple[int, int]:
    """Cells with data, and those of them that leave their own plane by more than terrain does."""
    if side < FEWEST_ACROSS or min(values.shape) < side:
        return 0, 0
    pixels = cells(values, side)
    pixels = pixels[np.isfinite(pixels).all(2)]
    y, x = ((axis - (side - 1) / 2).ravel().astype(np.float32) for axis in np.mgrid[:side, :side])
    slopes = [pixels @ axis / (axis @ axis) for axis in (x, y)]
    off = pixels - pixels.mean(1, keepdims=True) - slopes[0][:, None] * x - slopes[1][:, None] * y
    standing = np.ptp(off, axis=1) > STANDING_M + STANDING_ON_SLOPE_M * np.hypot(*slopes) / pixel_m
    return len(pixels), int(standing.sum())


def border_patches(values: Plane, window: tuple[int, int, int, int], shape: tuple[int, int]) -> tuple[int, dict[float, int]]:
    """Patches with data along the sides of the raster that the window touches, and how many hold one value, by that value."""
    row, column, rows, columns = window
    touches = (row == 0, column == 0, row + rows == shape[0], column + columns == shape[1])
    if min(values.shape) < 2 * PATCH:
        return 0, {}
    views = (values, values.T, values[::-1], values.T[::-1])
    pixels = [cells(view[:PATCH], PATCH)[0] for view, touch in zip(views, touches, strict=True) if touch]
    if not pixels:
        return 0, {}
    known = np.concatenate(pixels)
    known = known[np.isfinite(known).all(1)]
    held, counts = np.unique(known[np.ptp(known, axis=1) == 0, 0], return_counts=True)
    return len(known), dict(zip(held.tolist(), counts.tolist(), strict=True))


def zero_margins(values: Plane, window: tuple[int, int, int, int], shape: tuple[int, int]) -> tuple[int, int, int, int]:
    """Rows or columns of zeros at each side of the raster that the window touches: top, left, bottom, right."""
    row, column, rows, columns = window
    touches = (row == 0, column == 0, row + rows == shape[0], column + columns == shape[1])
    views = (values, values.T, values[::-1], values.T[::-1])
    return tuple(leading_zeros(view) if touch else -1 for touch, view in zip(touches, views, strict=True))  # type: ignore[return-value]


def leading_zeros(values: Plane) -> int:
    """Rows at the beginning that hold 0 in most pixels, and nothing else but no data."""
    zero = values == 0
    other = ~((zero | np.isnan(values)).all(axis=1) & (zero.mean(axis=1) > 0.5))
    return int(np.argmax(other)) if other.any() else len(values)


def zero_corners(values: Plane, window: tuple[int, int, int, int], shape: tuple[int, int]) -> int:
    """Corners of the raster, of `CORNER` pixels a side, that lie in the window and hold zeros only."""
    row, column, rows, columns = window
    if min(rows, columns) < 2 * CORNER:
        return 0
    ends = [
        [end for end, touch in pairs if touch]
        for pairs in (
            ((slice(0, CORNER), row == 0), (slice(-CORNER, None), row + rows == shape[0])),
            ((slice(0, CORNER), column == 0), (slice(-CORNER, None), column + columns == shape[1])),
        )
    ]
    return sum(bool((values[down, across] == 0).all()) for down in ends[0] for across in ends[1])


def jumps(values: Plane) -> Jumps:
    """Steps between columns that are there, of one size and direction, in all four quarters of the window's rows.

    The median difference of two neighbouring columns is the slope there, about the same for all; crowns and roads make it vary
    from quarter to quarter, and they fill several columns. A stripe does neither. So a jump is counted where the medians of
    all quarters agree within 40 % of their mean, which is over 0.1 m, over 4 times the scatter of quarters, and over
    twice the jump beside it in the same direction. Stripes that run askew to the grid are not found.
    """
    none = Jumps(np.zeros(0, np.int64), np.zeros(0))
    height = values.shape[0] // QUARTERS
    if height < 16 or values.shape[1] < 32:
        return none
    steps = np.diff(values, axis=1)[: QUARTERS * height].reshape(QUARTERS, height, -1)
    full = (2 * np.isfinite(steps).sum(1) >= height).all(0)
    if full.sum() < 32:
        return none
    medians = np.full(steps.shape[::2], np.nan)
    medians[:, full] = medians_of(steps[:, :, full].transpose(0, 2, 1))
    medians -= np.nanmedian(medians, axis=1, keepdims=True)
    mean = medians.mean(0)
    apart = np.abs(medians - mean)
    scatter = 1.4826 * sqrt(QUARTERS / (QUARTERS - 1)) * float(np.nanmedian(apart))
    beside = np.pad(np.nan_to_num(mean), 1)
    direction = np.sign(mean)
    neighbour = np.maximum(direction * beside[:-2], direction * beside[2:])
    with np.errstate(invalid="ignore"):
        found = (
            (np.abs(mean) > max(0.1, 4 * scatter))
            & (apart.max(0) < 0.4 * np.abs(mean))
            & (neighbour < 0.5 * np.abs(mean))
        )  # fmt: skip
    places = np.nonzero(found)[0]
    return Jumps(places, mean[places])


def medians_of(values: Plane) -> Plane:
    """Of the numbers along the last axis, NaN left out; there is at least one in each. NumPy's own takes four times as long."""
    ordered = np.sort(values, axis=-1)  # NaN comes last
    count = np.isfinite(values).sum(-1, keepdims=True)
    low, high = (np.take_along_axis(ordered, place, axis=-1)[..., 0] for place in ((count - 1) // 2, count // 2))
    middle: Plane = (low + high) * np.float32(0.5)
    return middle
