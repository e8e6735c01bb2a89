"""Pixel grids whose pixels can be measured in metres."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import Any

from attrs import frozen
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.errors import CRSError

from forestgaps_core.errors import DataError
from forestgaps_gaps.measuring import Pixel

NEAR = 0.01  # pixels: grids that fit this well are the same, written with rounded numbers


@frozen
class Grid:
    """Rows and columns on the ground.

    Attributes:
        crs: None for a raster without one, whose transform is then in metres.
        transform: North-west corner and sides of pixels, in units of the CRS; not rotated.
        unit_m: Metres in a unit of the CRS.
    """

    crs: CRS | None
    transform: Affine
    rows: int
    columns: int
    unit_m: float = 1.0

    @property
    def pixel(self) -> Pixel:
        a, e = self.transform.a, self.transform.e
        return Pixel(abs(a) * self.unit_m, abs(e) * self.unit_m, self.transform.c, self.transform.f, a, e)

    def __str__(self) -> str:
        t = self.transform
        return (
            f"{self.columns} x {self.rows} pixels of {abs(t.a):g} x {abs(t.e):g} from x {t.c:.10g}, y {t.f:.10g}, {name(self.crs)}"
        )


def name(crs: CRS | None) -> str:
    if crs is None:
        return "no CRS"
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else "a CRS of its own"


def grid_of(path: Path, dataset: Any, pixel_size_m: float | None) -> Grid:
    """The grid of an open raster.

    Args:
        pixel_size_m: The pixel size, for a raster without CRS; its grid is then taken to be in metres.

    Raises:
        DataError: Areas cannot be measured on it.
    """
    crs, transform, unit = dataset.crs or None, dataset.transform, 1.0
    if crs is None:
        transform = stated(path, transform, pixel_size_m)
    elif crs.is_geographic:
        raise DataError(
            f"{path}: its grid is in degrees ({name(crs)}), where areas differ from row to row; bring it to a grid in metres "
            "first, such as gdalwarp -t_srs EPSG:N -r near"
        )
    else:
        try:
            unit = float(crs.linear_units_factor[1])
        except CRSError:
            unit = 1.0
    if abs(transform.b) > 1e-9 * abs(transform.a) or abs(transform.d) > 1e-9 * abs(transform.e):
        raise DataError(f"{path}: its grid is rotated; bring it to rows that run east, such as gdalwarp -r near")
    return Grid(crs, transform, dataset.height, dataset.width, unit)


def stated(path: Path, transform: Affine, pixel_size_m: float | None) -> Affine:
    """The transform of a raster without CRS, once its pixel size is said."""
    if pixel_size_m is None:
        raise DataError(
            f"{path}: has no CRS, so the unit of its pixels is unknown; if it is metres say their size, such as --pixel-size 1"
        )
    if not (isfinite(pixel_size_m) and pixel_size_m > 0):
        raise DataError(f"{path}: a pixel size of {pixel_size_m:g} m was given; it is a length above 0")
    if transform == Affine.identity():
        return Affine(pixel_size_m, 0, 0, 0, -pixel_size_m, 0)
    if abs(abs(transform.a) - pixel_size_m) > 1e-4 * pixel_size_m:
        raise DataError(f"{path}: has pixels of {abs(transform.a):g}, not of {pixel_size_m:g} m as stated")
    return transform


def same_grid(one: Grid, other: Grid) -> bool:
    """Whether pixels fall on pixels, in the same number."""
    if (one.rows, one.columns) != (other.rows, other.columns) or (one.crs and other.crs and one.crs != other.crs):
        return False
    a, b = one.transform, other.transform
    wide, high = abs(a.a), abs(a.e)
    shifts = (a.c - b.c) / wide, (a.f - b.f) / high
    stretch = (a.a - b.a) / wide * one.columns, (a.e - b.e) / high * one.rows
    return all(abs(difference) < NEAR for difference in (*shifts, *stretch))
