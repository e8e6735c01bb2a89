"""A raster seen on another grid, strip by strip.

Where pixels become coarser by 1.5 times or more, a surface takes the highest value of the pixels that fall together (a crown is
not lowered by the ground beside it) and ground takes their mean. Neither mixes in pixels without data: a pixel made of k x k
others is valid where at least half of them are.

Where pixels keep their size but not their place (another CRS, a rotated or shifted grid), a surface takes the nearest pixel. The
highest of those that touch the new pixel would enlarge every crown, a mean would fill narrow gaps halfway; the nearest pixel
changes neither. Ground is smooth, so it may be interpolated, to finer pixels too.

Both are one step: the nearest (or, for ground, the bilinear) value at k x k places in each new pixel, then the highest or the
mean of them. k is the number of old pixels to a side of a new one, rounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from math import isfinite, sqrt
from typing import Any, Literal, TypeAlias

import numpy as np
from attrs import frozen
from numpy.typing import NDArray
from rasterio import Affine
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform
from rasterio.windows import Window

from forestgaps_core.errors import DataError
from forestgaps_geo.bands.band import Band, FloatArray
from forestgaps_geo.files.gdal import convert_gdal_errors
from forestgaps_geo.files.header_checks import MAX_SIDE_PIXELS
from forestgaps_geo.files.opening import open_vrt_text
from forestgaps_geo.files.virtual_rasters import sanitize_text
from forestgaps_geo.grids.crs import is_same_crs
from forestgaps_geo.grids.grid import Grid, apply_transform, match_pixel_blocks
from forestgaps_geo.grids.target_grid import MIN_COARSENING

Method: TypeAlias = Literal["maximum", "mean", "interpolated"]
"""A surface takes the highest value, ground with the same pixels the mean, other ground the mean of interpolated values."""

MAX_PIXELS_READ = 2**24  # at a time


def aggregate_pixels(values: FloatArray, k: int, method: Method) -> FloatArray:
    """(k H, k W) to (H, W): maximum or mean of the values that are not NaN; NaN where fewer than half of them are."""
    if k == 1:
        return values
    # One place of all blocks at a time: reductions over the short axes of a 4-D array take four times as long.
    parts = [values[row::k, column::k] for row in range(k) for column in range(k)]
    count = np.zeros(parts[0].shape, np.int32)
    out: NDArray[Any] = np.full(parts[0].shape, np.nan, np.float32) if method == "maximum" else np.zeros(parts[0].shape)
    for part in parts:
        known = np.isfinite(part)
        count += known
        if method == "maximum":
            np.fmax(out, part, out=out)
        else:
            np.add(out, part, out=out, where=known)
    if method != "maximum":
        out /= np.maximum(count, 1)
    return np.where(2 * count >= k * k, out, np.nan).astype(np.float32)


@frozen(eq=False)
class ResampledBand:
    """A target grid's pixels, float32, NaN where there is no data.

    Attributes:
        window: (row, column, rows, columns) to (rows, columns), all inside the grid.
        exact: Made of whole pixels, none interpolated or moved.
    """

    grid: Grid
    window: Callable[[int, int, int, int], FloatArray]
    exact: bool

    def read(self, start: int, count: int) -> FloatArray:
        """Whole rows, (count, columns)."""
        return self.window(start, 0, count, self.grid.columns)


@contextmanager
def resample_band(
    band: Band, target: Grid, method: Method, *, resample: bool, tolerance: float = 0.125, remedy: str = "Add --resample"
) -> Iterator[ResampledBand]:
    """The band on the target grid.

    Args:
        resample: Whether pixels may be made anew. Ground may always be interpolated.
        tolerance: Pixels by which a place on another CRS may be off. Within it GDAL's answer depends on the window that is read.
        remedy: What to do where the grids do not fit.

    Raises:
        DataError: The grids do not fit and resampling was not asked, or a surface is coarser than the target.
    """
    fit = match_pixel_blocks(band.grid, target)
    if fit is not None and (fit[2] == 1 or resample or method == "interpolated"):
        row, column, k = fit

        def read_block(first: int, left: int, rows: int, columns: int) -> FloatArray:
            return band.read(row + first, column + left, rows, columns)

        yield ResampledBand(target, aggregate_window(read_block, k, method), exact=True)
        return
    if not resample and method != "interpolated":
        raise DataError(f"{band.path}: its grid ({band.grid}) does not fit the pixels of the DSM ({target}). {remedy}")
    size = measure_pixel_size(band.grid, target)
    if method != "interpolated":
        check_not_finer(band, size, target.resolution)
    k = max(round(target.resolution / size), 1)
    fine = refine_grid(target, k)
    scale, offset = np.float32(band.source.scale), np.float32(band.source.offset)
    with open_warped(band, fine, Resampling.bilinear if method == "interpolated" else Resampling.nearest, tolerance) as vrt:

        def read_warped(first: int, left: int, rows: int, columns: int) -> FloatArray:
            with convert_gdal_errors(band.path, f"cannot be brought to the grid {target}"):
                values: FloatArray = vrt.read(1, window=Window(left, first, columns, rows))
            with np.errstate(over="ignore", invalid="ignore"):
                return (values * scale + offset) * np.float32(band.unit_m)

        yield ResampledBand(target, aggregate_window(read_warped, k, method), exact=False)


ReadWindow: TypeAlias = Callable[[int, int, int, int], FloatArray]


def aggregate_window(read: ReadWindow, k: int, method: Method) -> ReadWindow:
    """Return what reads a window of pixels that are k x k of those that `read` reads, `MAX_PIXELS_READ` of them at a time."""

    def window(first: int, left: int, rows: int, columns: int) -> FloatArray:
        step = max(MAX_PIXELS_READ // (k * k * max(columns, 1)), 1)
        parts = [
            aggregate_pixels(read(row * k, left * k, min(step, first + rows - row) * k, columns * k), k, method)
            for row in range(first, first + rows, step)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    return window


def refine_grid(grid: Grid, k: int) -> Grid:
    """The same ground in pixels of 1/k of the size."""
    a, b, c, d, e, f = tuple(grid.transform)[:6]
    return Grid(grid.crs, Affine(a / k, b / k, c, d / k, e / k, f), grid.rows * k, grid.columns * k)


def check_not_finer(band: Band, size_m: float, wanted_m: float) -> None:
    """
    Raises:
        DataError: A surface has coarser pixels than are wanted, by more than a nearest pixel can bridge.
    """
    if size_m >= MIN_COARSENING * wanted_m:
        raise DataError(
            f"{band.path}: its pixels ({size_m:.3g} m) are coarser than those of the new grid ({wanted_m:g} m); "
            "resampling cannot add detail"
        )


def measure_pixel_size(source: Grid, target: Grid) -> float:
    """The side of a source pixel in meters on the ground, as a square of the same area, measured in the target's CRS."""
    if is_same_crs(source.crs, target.crs):
        return sqrt(abs(source.transform.determinant)) * target.unit_m
    x, y = source.columns / 2, source.rows / 2
    corners = [apply_transform(source.transform, *place) for place in ((x, y), (x + 1, y), (x, y + 1))]
    try:
        (x0, x1, x2), (y0, y1, y2) = transform(source.crs, target.crs, *zip(*corners, strict=True))
        side = sqrt(abs((x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0))) * target.unit_m
    except Exception as error:  # some of GDAL's errors are of no public class
        raise DataError(f"a grid ({source}) cannot be brought to another ({target}): {sanitize_text(error)}") from error
    if not isfinite(side):
        raise DataError(f"a grid ({source}) does not lie where the CRS of another ({target}) is defined")
    return side


@contextmanager
def open_warped(band: Band, target: Grid, resampling: Resampling, tolerance: float = 0.125) -> Iterator[Any]:
    crs = target.crs or "EPSG:3857"  # without any CRS both grids are plain meters, and one name for both says so
    nodata = band.source.gdal_nodata
    if max(target.rows, target.columns) > MAX_SIDE_PIXELS:
        raise DataError(
            f"{band.path}: on the new grid it would have {target.columns} x {target.rows} pixels; no side may have more than "
            f"{MAX_SIDE_PIXELS}"
        )
    with ExitStack() as stack:
        dataset, text = band.dataset, band.source.gdal_source
        if text != dataset.name:
            dataset = stack.enter_context(open_vrt_text(band.path, text, dataset.width * dataset.height))
        with convert_gdal_errors(band.path, f"cannot be brought to the grid {target}"):
            view = WarpedVRT(
                dataset,
                src_crs=band.grid.crs or "EPSG:3857",
                src_transform=band.grid.transform,
                crs=crs,
                transform=target.transform,
                width=target.columns,
                height=target.rows,
                resampling=resampling,
                src_nodata=np.nan if nodata is None else nodata,
                nodata=np.nan,
                dtype="float32",
                warp_mem_limit=64,
                tolerance=tolerance,
            )
        yield stack.enter_context(view)
