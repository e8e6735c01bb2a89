"""A raster seen on another grid, strip by strip.

A surface takes the highest value of the pixels that fall together (a crown is not lowered by the ground beside it), ground takes
their mean. Neither mixes in pixels without data: a pixel made of k x k others is valid where at least half of them are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from math import isfinite, sqrt
from typing import Any, Literal, TypeAlias

import numpy as np
from attrs import frozen
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform
from rasterio.windows import Window

from forestgaps_core.errors import DataError
from forestgaps_geo.bands import Band, Plane
from forestgaps_geo.grids import Grid, at, blocks_of, same_place
from forestgaps_geo.opening import SIDE, opened_text, reading
from forestgaps_geo.virtual_rasters import plain

How: TypeAlias = Literal["maximum", "mean"]


def gathered(values: Plane, k: int, how: How) -> Plane:
    """(k H, k W) to (H, W): maximum or mean of the values that are not NaN; NaN where fewer than half of them are."""
    if k == 1:
        return values
    # One place of all blocks at a time: reductions over the short axes of a 4-D array take four times as long.
    parts = [values[row::k, column::k] for row in range(k) for column in range(k)]
    count = np.zeros(parts[0].shape, np.int32)
    out: NDArray[Any] = np.full(parts[0].shape, np.nan, np.float32) if how == "maximum" else np.zeros(parts[0].shape)
    for part in parts:
        known = np.isfinite(part)
        count += known
        if how == "maximum":
            np.fmax(out, part, out=out)
        else:
            np.add(out, part, out=out, where=known)
    if how == "mean":
        out /= np.maximum(count, 1)
    return np.where(2 * count >= k * k, out, np.nan).astype(np.float32)


@frozen(eq=False)
class Strips:
    """A target grid's pixels, float32, NaN where there is no data.

    Attributes:
        window: (row, column, rows, columns) to (rows, columns), all inside the grid.
        exact: Made of whole pixels, none interpolated or moved.
    """

    grid: Grid
    window: Callable[[int, int, int, int], Plane]
    exact: bool

    def read(self, start: int, count: int) -> Plane:
        """Whole rows, (count, columns)."""
        return self.window(start, 0, count, self.grid.columns)


@contextmanager
def onto(band: Band, target: Grid, how: How, *, resample: bool, tolerance: float = 0.125) -> Iterator[Strips]:
    """The band on the target grid.

    Args:
        tolerance: Pixels by which a place on another CRS may be off. Within it GDAL's answer depends on the window that is read.

    Raises:
        DataError: The grids do not fit and resampling was not asked, or the band is coarser than the target.
    """
    fit = blocks_of(band.grid, target)
    if fit is not None and (fit[2] == 1 or resample):
        row, column, k = fit

        def gathered_window(first: int, left: int, rows: int, columns: int) -> Plane:
            return gathered(band.read(row + first * k, column + left * k, rows * k, columns * k), k, how)

        yield Strips(target, gathered_window, exact=True)
        return
    if not resample:
        raise DataError(f"{band.path}: its grid ({band.grid}) does not fit the pixels of the DSM ({target}); add --resample")
    if (size := pixel_size(band.grid, target)) > 1.02 * target.resolution:
        raise DataError(
            f"{band.path}: its pixels ({size:.3g}) are coarser than those of the new grid ({target.resolution:g}); "
            "finer pixels than there are would be invented"
        )
    scale, offset = np.float32(band.source.scale), np.float32(band.source.offset)
    with warped(band, target, how, tolerance) as vrt:

        def warped_window(first: int, left: int, rows: int, columns: int) -> Plane:
            with reading(band.path, f"cannot be brought to the grid {target}"):
                values: Plane = vrt.read(1, window=Window(left, first, columns, rows))
            with np.errstate(over="ignore", invalid="ignore"):
                return (values * scale + offset) * np.float32(band.unit_m)

        yield Strips(target, warped_window, exact=False)


def pixel_size(source: Grid, target: Grid) -> float:
    """The side of a source pixel in metres, as a square of the same area, measured in the target's CRS at the source's middle."""
    if same_place(source.crs, target.crs):
        return sqrt(abs(source.transform.determinant)) * target.unit_m
    x, y = source.columns / 2, source.rows / 2
    corners = [at(source.transform, *place) for place in ((x, y), (x + 1, y), (x, y + 1))]
    try:
        (x0, x1, x2), (y0, y1, y2) = transform(source.crs, target.crs, *zip(*corners, strict=True))
        side = sqrt(abs((x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0))) * target.unit_m
    except Exception as error:  # some of GDAL's errors are of no public class
        raise DataError(f"a grid ({source}) cannot be brought to another ({target}): {plain(error)}") from error
    if not isfinite(side):
        raise DataError(f"a grid ({source}) does not lie where the CRS of another ({target}) is defined")
    return side


@contextmanager
def warped(band: Band, target: Grid, how: How, tolerance: float = 0.125) -> Iterator[Any]:
    crs = target.crs or "EPSG:3857"  # without any CRS both grids are plain metres, and one name for both says so
    nodata = band.source.gdal_nodata
    if max(target.rows, target.columns) > SIDE:
        raise DataError(
            f"{band.path}: on the new grid it would have {target.columns} x {target.rows} pixels; no side may have more than {SIDE}"
        )
    with ExitStack() as stack:
        dataset, text = band.dataset, band.source.gdal_source
        if text != dataset.name:
            dataset = stack.enter_context(opened_text(band.path, text, dataset.width * dataset.height))
        with reading(band.path, f"cannot be brought to the grid {target}"):
            view = WarpedVRT(
                dataset,
                src_crs=band.grid.crs or "EPSG:3857",
                src_transform=band.grid.transform,
                crs=crs,
                transform=target.transform,
                width=target.columns,
                height=target.rows,
                resampling=Resampling.max if how == "maximum" else Resampling.average,
                src_nodata=np.nan if nodata is None else nodata,
                nodata=np.nan,
                dtype="float32",
                warp_mem_limit=64,
                tolerance=tolerance,
            )
        yield stack.enter_context(view)
