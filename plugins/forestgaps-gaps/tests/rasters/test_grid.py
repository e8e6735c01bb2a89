from __future__ import annotations

import numpy as np
import pytest
import rasterio
from rasterio import Affine

from forestgaps_core.errors import DataError
from forestgaps_gaps.rasters.grid import is_same_grid, measure_pixel, read_grid
from forestgaps_geo.grids.grid import Grid

PLANE = np.zeros((3, 5), np.float32)


def grid(path, pixel_size_m: float | None = None) -> Grid:
    with rasterio.open(path) as dataset:
        return read_grid(path, dataset, pixel_size_m)


def test_pixels_are_measured_in_meters_whatever_the_unit(raster) -> None:
    pixel = measure_pixel(grid(raster("feet.tif", PLANE, crs="EPSG:2277", transform=Affine(3, 0, 3e6, 0, -6, 10e6))))
    assert pixel.width_m == pytest.approx(3 * 0.3048, rel=1e-5)
    assert pixel.area_m2 == pytest.approx(18 * 0.3048**2, rel=1e-5)
    assert (pixel.west, pixel.north, pixel.right, pixel.down) == (3e6, 10e6, 3, -6)


def test_degrees_are_refused_with_a_way_out(raster) -> None:
    with pytest.raises(DataError, match=r"in degrees \(EPSG:4326\).* gdalwarp -s_srs EPSG:4326 -t_srs EPSG:32632"):
        grid(raster("degrees.tif", PLANE, crs="EPSG:4326", transform=Affine(1e-5, 0, 10, 0, -1e-5, 50)))


def test_rotated_grids_are_refused(raster) -> None:
    with pytest.raises(DataError, match="rotated"):
        grid(raster("turned.tif", PLANE, transform=Affine(1, 0.2, 0, 0.2, -1, 0)))


def test_without_crs_the_pixel_size_must_be_stated(raster) -> None:
    path = raster("bare.tif", PLANE, crs=None, transform=Affine(2, 0, 7, 0, -2, 9))
    with pytest.raises(DataError, match="--pixel-size 1"):
        grid(path)
    with pytest.raises(DataError, match="has pixels of 2 m, not of 1 m"):
        grid(path, 1.0)
    for none in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(DataError, match="it is a length above 0"):
            grid(path, none)
    assert measure_pixel(grid(path, 2.0)).area_m2 == 4


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_without_any_place_the_corner_is_zero(raster) -> None:
    assert grid(raster("nowhere.tif", PLANE, crs=None, transform=Affine.identity()), 0.5).transform == Affine(0.5, 0, 0, 0, -0.5, 0)


def test_grids_are_the_same_within_rounding() -> None:
    one = Grid(None, Affine(1, 0, 500_000, 0, -1, 9), 100, 100)
    assert is_same_grid(one, Grid(None, Affine(1, 0, 500_000.004, 0, -1, 9), 100, 100))
    for other in (Affine(1, 0, 500_000.5, 0, -1, 9), Affine(1.001, 0, 500_000, 0, -1, 9), Affine(1, 0, 500_000, 0, 1, 9)):
        assert not is_same_grid(one, Grid(None, other, 100, 100))
    assert not is_same_grid(one, Grid(None, one.transform, 100, 99))
    lambert, utm = (rasterio.crs.CRS.from_epsg(code) for code in (2154, 32610))
    assert not is_same_grid(Grid(lambert, one.transform, 1, 1), Grid(utm, one.transform, 1, 1))
