"""Statistics of a raster from a few dozen windows, in constant memory. `input_checks` interprets them."""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from forestgaps_geo.bands import HIGHEST, Band, Plane
from forestgaps_geo.grids import Grid

SIDE = 512  # pixels of a window, as many as a tile of a Cloud-Optimized GeoTIFF
MOST = 48  # windows
CELL = 64.0  # metres; wide enough that ground shows somewhere in nearly every cell, also below closed canopy
FEWEST = 9  # cells of a small raster, for which they are made smaller
NEAR = 8.0  # metres; about a crown
PATCH = 8  # pixels of a patch that may be flat or a plane
LEVEL = 2e-3  # metres; below it a difference is rounding
STEPS = (1.0, 0.5, 0.25, 0.1)  # metres, coarse to fine
QUARTERS = 4


@frozen(eq=False)
class Jumps:
    """Steps between neighbouring columns (or rows) that run through a whole window at one size.

    Attributes:
        places: Columns (rows) of the window after which the surface steps.
        sizes: Metres, of each.
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
        zeros: Pixels that hold exactly 0.
        least: The value nearest to 0 among the others, by its distance.
        lows: The lowest value of each cell of `CELL` metres, at least half of it with data.
        highs: The highest value of the same cells.
        drops: Highest minus lowest value in each cell of `NEAR` metres.
        patches: Patches of 8 x 8 pixels, all with data.
        level: Those of one value.
        plane: Those that are a tilted plane.
        on_step: Pixels whose value is a multiple of each of `STEPS`.
    """

    window: tuple[int, int, int, int]
    valid: int
    void: int
    low: float
    high: float
    zeros: int
    least: float
    lows: Plane
    highs: Plane
    drops: Plane
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


def starts(length: int, count: int) -> list[int]:
    """Where so many windows begin: at whole tiles, the first at 0, the last as near to the end as tiles allow."""
    tiles = -(-length // SIDE)
    return [round(number * (tiles - 1) / max(count - 1, 1)) * SIDE for number in range(count)]


def pixel_m(grid: Grid) -> float:
    """The side of a pixel in metres, roughly so where the grid is in degrees."""
    degrees = grid.crs is not None and grid.crs.is_geographic
    return grid.resolution * (111_320.0 if degrees else 1.0)


def sample_windows(band: Band) -> Iterator[Sample]:
    """What shows in the windows that hold data."""
    rows, columns = band.grid.rows, band.grid.columns
    resolution = pixel_m(band.grid)
    side = cell_side(rows, columns, resolution)
    for window in windows(rows, columns):
        values = band.read(*window)
        values[~(np.abs(values) <= HIGHEST)] = np.nan  # told by `survey`
        if np.isfinite(values).any():
            yield measure_window(values, window, side, min(max(round(NEAR / resolution), 2), SIDE))


def cell_side(rows: int, columns: int, resolution: float) -> int:
    """Pixels: `CELL` metres, or less where a raster would have fewer than `FEWEST` of them."""
    side = max(round(CELL / resolution), 2)
    inside = min(rows, SIDE), min(columns, SIDE)
    while side > 8 and (inside[0] // side) * (inside[1] // side) < FEWEST:
        side //= 2
    return max(min(side, *inside), 1)


def measure_window(values: Plane, window: tuple[int, int, int, int], cell: int, near: int) -> Sample:
    known = values[np.isfinite(values)]
    lows, highs = extremes(values, cell)
    bottoms, tops = extremes(values, min(near, *values.shape))
    patches, level, plane = patched(values)
    return Sample(
        window=window,
        valid=known.size,
        void=int((enclosed(values) & ~np.isfinite(values)).sum()),
        low=float(known.min()),
        high=float(known.max()),
        zeros=int((known == 0).sum()),
        least=float(np.abs(known[known != 0]).min(initial=np.inf)),
        lows=lows,
        highs=highs,
        drops=tops - bottoms,
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


def patched(values: Plane) -> tuple[int, int, int]:
    """Patches of 8 x 8 pixels with data; how many of them are level, and how many a tilted plane."""
    if min(values.shape) < PATCH:
        return 0, 0, 0
    pixels = cells(values, PATCH)
    pixels = pixels[np.isfinite(pixels).all(2)].reshape(-1, PATCH, PATCH)
    level = np.ptp(pixels, axis=(1, 2)) == 0
    bent = [np.abs(np.diff(pixels, 2, axis=axis)).max((1, 2)) for axis in (1, 2)]
    bent.append(np.abs(np.diff(np.diff(pixels, axis=1), axis=2)).max((1, 2)))
    plane = (np.max(bent, axis=0) < LEVEL) & ~level
    return len(pixels), int(level.sum()), int(plane.sum())


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
