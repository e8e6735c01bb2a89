"""Measure shapes in a window of a surface: cells, patches, collars of zeros, stripes."""

from __future__ import annotations

from math import sqrt

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from forestgaps_geo.bands.band import FloatArray

MIN_CROWN_PIXELS = 4  # pixels of a crown


STANDING_M, STANDING_ON_SLOPE_M = 3.0, 2.0  # over the plane of a cell, on level ground and added for each meter of rise in a meter


PATCH_PIXELS = 8  # pixels of a patch that may be flat or a plane


MAX_ROUNDING_M = 2e-3  # meters; below it a difference is rounding


CORNER_PIXELS = 32  # pixels; a corner of zeros only is a collar, or bare ground


QUARTERS = 4


@frozen(eq=False)
class Jumps:
    """Steps between neighboring columns (or rows) that run through a whole window at one size.

    Attributes:
        places: Columns (rows) of the window after which the surface steps.
        sizes: Meters, of each.
    """

    places: NDArray[np.int64]
    sizes: NDArray[np.float64]


def split_cells(values: FloatArray, side: int) -> FloatArray:
    """(rows // side, columns // side, side * side): the values of each whole cell."""
    rows, columns = values.shape[0] // side, values.shape[1] // side
    inside = values[: rows * side, : columns * side].reshape(rows, side, columns, side)
    return inside.transpose(0, 2, 1, 3).reshape(rows, columns, side * side)


def compute_cell_extremes(values: FloatArray, side: int) -> tuple[FloatArray, FloatArray]:
    """Lowest and highest value of each cell at least half of which has data."""
    pixels = split_cells(values, side)
    pixels = pixels[2 * np.isfinite(pixels).sum(2) >= side * side]
    return np.fmin.reduce(pixels, axis=1), np.fmax.reduce(pixels, axis=1)


def find_enclosed(values: FloatArray) -> NDArray[np.bool_]:
    """Pixels with data, or with data somewhere on all four sides of them: no border of the survey."""
    finite = np.isfinite(values)
    inside = np.ones_like(finite)
    for axis in (0, 1):
        inside &= np.maximum.accumulate(finite, axis)
        inside &= np.flip(np.maximum.accumulate(np.flip(finite, axis), axis), axis)
    return inside


def count_patches(values: FloatArray) -> tuple[int, int, int, int]:
    """Patches of 8 x 8 pixels with data; how many of them are level, how many a tilted plane, how many zeros only."""
    if min(values.shape) < PATCH_PIXELS:
        return 0, 0, 0, 0
    pixels = split_cells(values, PATCH_PIXELS)
    pixels = pixels[np.isfinite(pixels).all(2)].reshape(-1, PATCH_PIXELS, PATCH_PIXELS)
    level = np.ptp(pixels, axis=(1, 2)) == 0
    bent = [np.abs(np.diff(pixels, 2, axis=axis)).max((1, 2)) for axis in (1, 2)]
    bent.append(np.abs(np.diff(np.diff(pixels, axis=1), axis=2)).max((1, 2)))
    plane = (np.max(bent, axis=0) < MAX_ROUNDING_M) & ~level
    return len(pixels), int(level.sum()), int(plane.sum()), int((level & (pixels[:, 0, 0] == 0)).sum())


def count_standing_cells(values: FloatArray, side: int, pixel_m: float) -> tuple[int, int]:
    """Cells with data, and those of them that leave their own plane by more than terrain does."""
    if side < MIN_CROWN_PIXELS or min(values.shape) < side:
        return 0, 0
    pixels = split_cells(values, side)
    pixels = pixels[np.isfinite(pixels).all(2)]
    y, x = ((axis - (side - 1) / 2).ravel().astype(np.float32) for axis in np.mgrid[:side, :side])
    slopes = [pixels @ axis / (axis @ axis) for axis in (x, y)]
    off = pixels - pixels.mean(1, keepdims=True) - slopes[0][:, None] * x - slopes[1][:, None] * y
    standing = np.ptp(off, axis=1) > STANDING_M + STANDING_ON_SLOPE_M * np.hypot(*slopes) / pixel_m
    return len(pixels), int(standing.sum())


def count_border_patches(
    values: FloatArray, window: tuple[int, int, int, int], shape: tuple[int, int]
) -> tuple[int, dict[float, int]]:
    """Patches with data along the sides of the raster that the window touches, and how many hold one value, by that value."""
    row, column, rows, columns = window
    touches = (row == 0, column == 0, row + rows == shape[0], column + columns == shape[1])
    if min(values.shape) < 2 * PATCH_PIXELS:
        return 0, {}
    views = (values, values.T, values[::-1], values.T[::-1])
    pixels = [split_cells(view[:PATCH_PIXELS], PATCH_PIXELS)[0] for view, touch in zip(views, touches, strict=True) if touch]
    if not pixels:
        return 0, {}
    patches = np.concatenate(pixels)
    patches = patches[np.isfinite(patches).all(1)]
    held, counts = np.unique(patches[np.ptp(patches, axis=1) == 0, 0], return_counts=True)
    return len(patches), dict(zip(held.tolist(), counts.tolist(), strict=True))


def count_zero_margins(values: FloatArray, window: tuple[int, int, int, int], shape: tuple[int, int]) -> tuple[int, int, int, int]:
    """Rows or columns of zeros at each side of the raster that the window touches: top, left, bottom, right."""
    row, column, rows, columns = window
    touches = (row == 0, column == 0, row + rows == shape[0], column + columns == shape[1])
    views = (values, values.T, values[::-1], values.T[::-1])
    return tuple(count_leading_zeros(view) if touch else -1 for touch, view in zip(touches, views, strict=True))  # type: ignore[return-value]


def count_leading_zeros(values: FloatArray) -> int:
    """Rows at the beginning that hold 0 in most pixels, and nothing else but no data."""
    zero = values == 0
    other = ~((zero | np.isnan(values)).all(axis=1) & (zero.mean(axis=1) > 0.5))
    return int(np.argmax(other)) if other.any() else len(values)


def count_zero_corners(values: FloatArray, window: tuple[int, int, int, int], shape: tuple[int, int]) -> int:
    """Corners of the raster, of `CORNER_PIXELS` pixels a side, that lie in the window and hold zeros only."""
    row, column, rows, columns = window
    if min(rows, columns) < 2 * CORNER_PIXELS:
        return 0
    ends = [
        [end for end, touch in pairs if touch]
        for pairs in (
            ((slice(0, CORNER_PIXELS), row == 0), (slice(-CORNER_PIXELS, None), row + rows == shape[0])),
            ((slice(0, CORNER_PIXELS), column == 0), (slice(-CORNER_PIXELS, None), column + columns == shape[1])),
        )
    ]
    return sum(bool((values[down, across] == 0).all()) for down in ends[0] for across in ends[1])


def find_jumps(values: FloatArray) -> Jumps:
    """Steps between columns that are there, of one size and direction, in all four quarters of the window's rows.

    The median difference of two neighboring columns is the slope there, about the same for all; crowns and roads make it vary
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
    medians[:, full] = compute_medians(steps[:, :, full].transpose(0, 2, 1))
    medians -= np.nanmedian(medians, axis=1, keepdims=True)
    mean = medians.mean(0)
    apart = np.abs(medians - mean)
    scatter = 1.4826 * sqrt(QUARTERS / (QUARTERS - 1)) * float(np.nanmedian(apart))
    beside = np.pad(np.nan_to_num(mean), 1)
    direction = np.sign(mean)
    neighbor = np.maximum(direction * beside[:-2], direction * beside[2:])
    with np.errstate(invalid="ignore"):
        found = (
            (np.abs(mean) > max(0.1, 4 * scatter))
            & (apart.max(0) < 0.4 * np.abs(mean))
            & (neighbor < 0.5 * np.abs(mean))
        )  # fmt: skip
    places = np.nonzero(found)[0]
    return Jumps(places, mean[places])


def compute_medians(values: FloatArray) -> FloatArray:
    """Of the numbers along the last axis, NaN left out; there is at least one in each. NumPy's own takes four times as long."""
    ordered = np.sort(values, axis=-1)  # NaN comes last
    count = np.isfinite(values).sum(-1, keepdims=True)
    low, high = (np.take_along_axis(ordered, place, axis=-1)[..., 0] for place in ((count - 1) // 2, count // 2))
    middle: FloatArray = (low + high) * np.float32(0.5)
    return middle
