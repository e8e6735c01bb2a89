"""A raster seen on another grid, strip by strip.

A surface takes the highest value of the pixels that fall together (a crown is not lowered by the ground beside it), ground takes
their mean. Neither mixes in pixels without data: a pixel made of k x k others is valid where at least half of them are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import sqrt
from typing import Any, Literal, TypeAlias

import numpy as np
from attrs import frozen
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_bounds
from rasterio.windows import Window

from forestgaps_core.errors import DataError
from forestgaps_rasters.bands import Band, Plane
from forestgaps_rasters.grids import Grid, blocks_of, same_place

How: TypeAlias = Literal["maximum", "mean"]


def gathered(values: Plane, k: int, how: How) -> Plane:
    """(k H, k W) to (H, W): maximum or mean of the values that are not NaN; NaN where fewer than half of them are."""
    if k == 1:
        return values
    rows, columns = values.shape
    blocks = values.reshape(rows // k, k, columns // k, k)
    known = np.isfinite(blocks)
    count = known.sum((1, 3))
    if how == "maximum":
        out = np.fmax.reduce(blocks, axis=(1, 3))
    else:
        out = np.where(known, blocks, 0).sum((1, 3), dtype=np.float64) / np.maximum(count, 1)
    return np.where(2 * count >= k * k, out, np.nan).astype(np.float32)


@frozen(eq=False)
class Strips:
    """Rows of a target grid, (count, columns) float32, NaN where there is no data."""

    grid: Grid
    read: Callable[[int, int], Plane]
    exact: bool  # made of whole pixels, none interpolated or moved


@contextmanager
def onto(band: Band, target: Grid, how: How, *, resample: bool) -> Iterator[Strips]:
    """The band on the target grid.

    Raises:
        DataError: The grids do not fit and resampling was not asked, or the band is coarser than the target.
    """
    fit = blocks_of(band.grid, target)
    if fit is not None and (fit[2] == 1 or resample):
        row, column, k = fit

        def read(start: int, count: int) -> Plane:
            return gathered(band.read(row + start * k, column, count * k, target.columns * k), k, how)

        yield Strips(target, read, exact=True)
        return
    if not resample:
        raise DataError(f"{band.path}: its grid ({band.grid}) does not fit the pixels of the DSM ({target}); add --resample")
    if (size := pixel_size(band.grid, target)) > 1.02 * target.resolution:
        raise DataError(
            f"{band.path}: its pixels ({size:.3g}) are coarser than those of the new grid ({target.resolution:g}); "
            "finer pixels than there are would be invented"
        )
    scale, offset = (np.float32(factor[0]) for factor in (band.dataset.scales, band.dataset.offsets))
    with warped(band, target, how) as vrt:

        def read_warped(start: int, count: int) -> Plane:
            try:
                values: Plane = vrt.read(1, window=Window(0, start, target.columns, count))
            except RasterioError as error:
                raise DataError(f"{band.path}: cannot be brought to the grid {target} ({error})") from error
            return values * scale + offset

        yield Strips(target, read_warped, exact=False)


def pixel_size(source: Grid, target: Grid) -> float:
    """The side of a source pixel in units of the target's CRS, as a square of the same area."""
    if same_place(source.crs, target.crs):
        return sqrt(abs(source.transform.determinant))
    left, bottom, right, top = transform_bounds(source.crs, target.crs, *source.bounds)
    return sqrt((right - left) * (top - bottom) / (source.rows * source.columns))


def warped(band: Band, target: Grid, how: How) -> Any:
    crs = target.crs or "EPSG:3857"  # without any CRS both grids are plain metres, and one name for both says so
    nodata = band.nodata if band.nodata is not None else np.nan
    return WarpedVRT(
        band.dataset,
        src_crs=band.grid.crs or "EPSG:3857",
        src_transform=band.grid.transform,
        crs=crs,
        transform=target.transform,
        width=target.columns,
        height=target.rows,
        resampling=Resampling.max if how == "maximum" else Resampling.average,
        src_nodata=nodata,
        nodata=np.nan,
        dtype="float32",
        warp_mem_limit=64,
    )
