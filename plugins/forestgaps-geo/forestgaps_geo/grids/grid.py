"""Pixel grids: location, pixel size in meters, and alignment of two grids."""

from __future__ import annotations

from math import floor, isfinite

from attrs import evolve, frozen
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.warp import transform_bounds

from forestgaps_core.errors import DataError
from forestgaps_geo.files.virtual_rasters import sanitize_text
from forestgaps_geo.grids.crs import (
    describe_crs,
    get_meters_per_unit,
    is_same_crs,
)
from forestgaps_geo.grids.ground_scale import GroundScale, get_ground_scale

ALIGNMENT_TOLERANCE = 0.02  # pixels: grids that fit this well are the same grid, written with rounded numbers


@frozen
class Grid:
    """Rows and columns on the ground, in the unit of the CRS. `crs` is None for a site without one, whose unit is the meter."""

    crs: CRS | None
    transform: Affine
    rows: int
    columns: int

    @property
    def resolution(self) -> float:
        """Pixel size in meters on the ground, also where the CRS counts in feet or is not true to length here.

        Degrees of a geographic CRS are left as they are.
        """
        return abs(float(self.transform.a)) * self.unit_m

    @property
    def nominal_resolution(self) -> float:
        """Pixel size in meters as the CRS counts them."""
        return abs(float(self.transform.a)) * get_meters_per_unit(self.crs)

    @property
    def unit_m(self) -> float:
        """Meters on the ground in one unit of the CRS, at the middle of the grid."""
        return get_meters_per_unit(self.crs) * self.ground_scale.mean

    @property
    def ground_scale(self) -> GroundScale:
        return get_ground_scale(
            self.crs, *apply_transform(self.transform, self.columns / 2, self.rows / 2), get_meters_per_unit(self.crs)
        )

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top of the four corners."""
        corners = [apply_transform(self.transform, x, y) for x in (0, self.columns) for y in (0, self.rows)]
        x, y = zip(*corners, strict=True)
        return min(x), min(y), max(x), max(y)

    def window(self, row: int, column: int, rows: int, columns: int) -> Grid:
        a, b, _, d, e, _ = tuple(self.transform)[:6]
        x, y = apply_transform(self.transform, column, row)
        return evolve(self, transform=Affine(a, b, x, d, e, y), rows=rows, columns=columns)

    def __str__(self) -> str:
        left, bottom, right, top = self.bounds
        pixels = f"{self.columns} x {self.rows} pixels of {self.resolution:g}"
        return f"{pixels}, {describe_crs(self.crs)}, x {left:.10g} to {right:.10g}, y {bottom:.10g} to {top:.10g}"


def apply_transform(transform: Affine, x: float, y: float) -> tuple[float, float]:
    """Where a point goes. (affine's own operator for this changes its name between versions.)"""
    a, b, c, d, e, f = tuple(transform)[:6]
    return a * x + b * y + c, d * x + e * y + f


def explain_not_north_up(transform: Affine) -> str | None:
    """Why rows and columns of this transform do not run east and south in square pixels."""
    if abs(transform.b) > 1e-9 * abs(transform.a) or abs(transform.d) > 1e-9 * abs(transform.e) or transform.a == 0:
        return "its grid is rotated"
    if transform.a < 0 or transform.e > 0:
        return "its rows or columns are mirrored (they must run south and east)"
    if abs(transform.a + transform.e) > 1e-4 * transform.a:
        return f"its pixels are not square ({transform.a:g} x {-transform.e:g})"
    return None


def reproject_bounds(grid: Grid, crs: CRS | str) -> tuple[float, float, float, float]:
    """Left, bottom, right, top of a grid in another CRS.

    Raises:
        DataError: It does not lie where that CRS is defined, or there is no way from one to the other.
    """
    crs_name = describe_crs(crs) if isinstance(crs, CRS) else crs
    try:
        left, bottom, right, top = transform_bounds(grid.crs, crs, *grid.bounds)
    except Exception as error:  # some of GDAL's errors are of no public class
        raise DataError(f"a grid ({grid}) cannot be brought to {crs_name} ({sanitize_text(error)})") from error
    if not all(isfinite(value) for value in (left, bottom, right, top)):
        raise DataError(f"a grid ({grid}) does not lie where {crs_name} is defined")
    return left, bottom, right, top


def match_pixel_blocks(source: Grid, target: Grid) -> tuple[int, int, int] | None:
    """(row, column, k): each target pixel is exactly k x k pixels of the source, the first of them there; None: it is not so."""
    if not is_same_crs(source.crs, target.crs):
        return None
    inverse = ~source.transform
    ends = ((0, 0), (target.columns, target.rows), (0, target.rows))
    corner, far, low = (apply_transform(inverse, *apply_transform(target.transform, x, y)) for x, y in ends)
    k = round((far[0] - corner[0]) / target.columns)
    column, row = round(corner[0]), round(corner[1])
    right, bottom = column + k * target.columns, row + k * target.rows
    misfit = max(abs(a - b) for a, b in zip((*corner, *far, *low), (column, row, right, bottom, column, bottom), strict=True))
    inside = row >= 0 and column >= 0 and bottom <= source.rows and right <= source.columns
    return (row, column, k) if k >= 1 and inside and misfit < ALIGNMENT_TOLERANCE else None


def crop_to_overlap(target: Grid, other: Grid) -> Grid | None:
    """The whole target pixels that lie on `other` too; None where the two do not overlap. Both in one CRS."""
    left, bottom, right, top = other.bounds
    if explain_not_north_up(target.transform):  # cannot be cropped by bounds; pixels without data do it
        west, south, east, north = target.bounds
        return target if left < east and west < right and bottom < north and south < top else None
    inverse = ~target.transform
    (first_column, first_row), (last_column, last_row) = (
        apply_transform(inverse, left, top),
        apply_transform(inverse, right, bottom),
    )
    row, column = max(-floor(-(first_row - ALIGNMENT_TOLERANCE)), 0), max(-floor(-(first_column - ALIGNMENT_TOLERANCE)), 0)
    rows, columns = (
        min(floor(last_row + ALIGNMENT_TOLERANCE), target.rows) - row,
        min(floor(last_column + ALIGNMENT_TOLERANCE), target.columns) - column,
    )
    return target.window(row, column, rows, columns) if rows > 0 and columns > 0 else None
