"""Pixel grids whose pixels can be measured in meters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import evolve, field, frozen
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.warp import transform_bounds

from forestgaps_core.errors import DataError
from forestgaps_gaps.detection.measures import Pixel
from forestgaps_geo.bands.georeference import format_metric_command, format_straighten_command, resolve_transform
from forestgaps_geo.bands.value_band import make_value_band
from forestgaps_geo.grids.crs import explain_geocentric, get_meters_per_unit, is_same_crs
from forestgaps_geo.grids.ground_scale import GroundScale, get_ground_scale

MAX_MISFIT_PIXELS = 0.01  # pixels: grids that fit this well are the same, written with rounded numbers


@frozen
class Grid:
    """Rows and columns on the ground.

    Attributes:
        crs: None for a raster without one, whose transform is then in meters.
        transform: North-west corner and sides of pixels, in units of the CRS; not rotated.
        unit_m: Meters in a unit of the CRS.
        ground: Meters on the ground in a meter of the CRS, at the middle of the raster.
    """

    crs: CRS | None
    transform: Affine
    rows: int
    columns: int
    unit_m: float = 1.0
    ground: GroundScale = field(factory=GroundScale)

    @property
    def pixel(self) -> Pixel:
        a, e = self.transform.a, self.transform.e
        wide, high = abs(a) * self.unit_m * self.ground.x, abs(e) * self.unit_m * self.ground.y
        return Pixel(wide, high, self.transform.c, self.transform.f, a, e)

    def __str__(self) -> str:
        t = self.transform
        pixels = f"{self.columns} x {self.rows} pixels of {abs(t.a):g} x {abs(t.e):g}"
        return f"{pixels} from x {t.c:.10g}, y {t.f:.10g}, {format_crs(self.crs)}"


def format_crs(crs: CRS | None) -> str:
    if crs is None:
        return "no CRS"
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else "a CRS of its own"


def read_grid(path: Path, dataset: Any, pixel_size_m: float | None) -> Grid:
    """The grid of an open raster, north up.

    Args:
        pixel_size_m: The pixel size, for a raster without CRS; its grid is then taken to be in meters.

    Raises:
        DataError: Areas cannot be measured on it.
    """
    crs = dataset.crs or None
    unit = get_meters_per_unit(crs)
    source = make_value_band(path, dataset, 1, transform=resolve_transform(path, dataset, pixel_size_m))
    transform = source.transform
    if crs is not None and crs.is_geographic:
        raise DataError(
            f"{path}: its grid is in degrees ({format_crs(crs)}), where areas differ from row to row. Bring it to a grid in "
            f"meters: {format_metric_command(source)}"
        )
    if fault := explain_geocentric(crs):
        raise DataError(f"{path}: {fault}")
    if abs(transform.b) > 1e-9 * abs(transform.a) or abs(transform.d) > 1e-9 * abs(transform.e):
        raise DataError(f"{path}: its grid is rotated. Bring it to rows that run east: {format_straighten_command(source)}")
    x, y = transform.c + dataset.width / 2 * transform.a, transform.f + dataset.height / 2 * transform.e
    return Grid(crs, transform, dataset.height, dataset.width, unit, get_ground_scale(crs, x, y, unit))


def is_same_grid(one: Grid, other: Grid) -> bool:
    """Whether pixels fall on pixels, in the same number. Vertical parts of the CRS say nothing on that."""
    return (one.rows, one.columns) == (other.rows, other.columns) and find_shift(one, other) == (0, 0)


def find_shift(one: Grid, other: Grid) -> tuple[int, int] | None:
    """Rows and columns from the corner of one grid to that of another; None where pixels do not fall on pixels."""
    if one.crs and other.crs and not is_same_crs(one.crs, other.crs):
        return None
    a, b = one.transform, other.transform
    column, row = (b.c - a.c) / a.a, (b.f - a.f) / a.e
    stretch = (a.a - b.a) / a.a * max(one.columns, other.columns), (a.e - b.e) / a.e * max(one.rows, other.rows)
    misfit = max(abs(column - round(column)), abs(row - round(row)), *map(abs, stretch))
    return (round(row), round(column)) if misfit < MAX_MISFIT_PIXELS else None


def require_overlap(path: Path, one: Grid, other_path: Path, other: Grid) -> None:
    """Reject rasters of two places: a line that brings one to the grid of the other would write a raster without data.

    Raises:
        DataError: The two do not overlap.
    """
    left, bottom, right, top = compute_bounds(one)
    west, south, east, north = compute_bounds(other)
    if one.crs and other.crs and not is_same_crs(one.crs, other.crs):
        try:
            west, south, east, north = transform_bounds(other.crs, one.crs, west, south, east, north)
        except CRSError:
            return
    if left >= east or west >= right or bottom >= north or south >= top:
        raise DataError(f"{path} and {other_path} do not overlap ({one}; {other}). Give rasters of the same place")


def compute_bounds(grid: Grid) -> tuple[float, float, float, float]:
    """Return left, bottom, right, top in the CRS of the grid."""
    left, top = grid.transform.c, grid.transform.f
    return left, top + grid.rows * grid.transform.e, left + grid.columns * grid.transform.a, top


def find_common_extent(one: Grid, other: Grid) -> tuple[Grid, tuple[int, int], tuple[int, int]] | None:
    """The pixels that both grids have, with the row and column where they begin in each; None where pixels do not fall on pixels.

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
    a, b, c, d, e, f = tuple(one.transform)[:6]
    grid = evolve(one, transform=Affine(a, b, c + left * a, d, e, f + top * e), rows=bottom - top, columns=right - left)
    return grid, (top, left), (top - shifted[0], left - shifted[1])
