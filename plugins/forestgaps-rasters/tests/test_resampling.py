from __future__ import annotations

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from rasterio import Affine

from forestgaps_core.errors import DataError
from forestgaps_geo.bands import opened
from forestgaps_geo.grids import Grid
from forestgaps_geo.opening import gdal
from forestgaps_rasters.resampling import gathered, onto, warped


def test_four_pixels_make_one_by_maximum_or_mean() -> None:
    fine = np.array([[1, 2, 5, np.nan], [3, 4, np.nan, np.nan], [np.nan, 7, 0, 0], [8, np.nan, 0, 4]], np.float32)
    assert np.array_equal(gathered(fine, 2, "maximum"), np.array([[4, np.nan], [8, 4]], np.float32), equal_nan=True)
    assert np.array_equal(gathered(fine, 2, "mean"), np.array([[2.5, np.nan], [7.5, 1]], np.float32), equal_nan=True)


@given(st.integers(1, 5), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_gathering_agrees_with_ten_slow_lines(k: int, seed: int, holes: float) -> None:
    random = np.random.default_rng(seed)
    fine = random.normal(0, 100, (3 * k, 2 * k)).astype(np.float32)
    fine[random.random(fine.shape) < holes] = np.nan
    for how, rule in (("maximum", max), ("mean", lambda some: float(np.mean(some, dtype=np.float64)))):
        for row in range(3):
            for column in range(2):
                block = fine[row * k : row * k + k, column * k : column * k + k].ravel().tolist()
                known = [value for value in block if value == value]
                expected = rule(known) if 2 * len(known) >= len(block) and known else np.nan
                found = gathered(fine, k, how)[row, column]
                assert np.isclose(found, expected, rtol=1e-5, atol=1e-4, equal_nan=True)


def test_a_grid_within_the_band_is_read_as_it_is(raster) -> None:
    values = np.arange(48, dtype=np.float32).reshape(6, 8)
    path = raster("a.tif", values)
    with gdal(), opened(path) as band, onto(band, band.grid.window(1, 2, 4, 5), "maximum", resample=False) as strips:
        assert strips.exact
        assert np.array_equal(strips.read(1, 3), values[2:5, 2:7])


def test_whole_blocks_and_warping_agree_where_both_can(raster) -> None:
    values = np.random.default_rng(0).normal(50, 20, (12, 16)).astype(np.float32)
    path = raster("a.tif", values, resolution=0.5)
    shifted = Affine(1, 0, 500_000, 0, -1, 5_200_000)
    for how in ("maximum", "mean"):
        with gdal(), opened(path) as band:
            target = Grid(band.grid.crs, shifted, 6, 8)
            with onto(band, target, how, resample=True) as exact, warped(band, target, how) as vrt:
                assert np.allclose(vrt.read(1), exact.read(0, 6), atol=1e-4)


@pytest.mark.parametrize("how", ["maximum", "mean"])
def test_nothing_is_mixed_in_from_pixels_without_data(raster, how) -> None:
    values = np.full((40, 40), 500, np.float32)
    values[10:20, 10:20] = np.nan
    turned = Affine(0.94, 0.342, 500_000, 0.342, -0.94, 5_200_000)  # by 20 degrees
    with gdal(), opened(raster("a.tif", values, transform=turned)) as band:
        target = Grid(band.grid.crs, Affine(1.5, 0, 500_005, 0, -1.5, 5_199_998), 15, 15)
        with onto(band, target, how, resample=True) as strips:
            found = strips.read(0, 15)
    known = np.isfinite(found)
    assert not strips.exact
    assert known.sum() > 0
    assert (found[known] == 500).all()


def test_grids_that_do_not_fit_need_resampling(raster) -> None:
    values = np.ones((8, 8), np.float32)
    shifted = raster("a.tif", values, transform=Affine(1, 0, 500_000.3, 0, -1, 5_200_000))
    target = Grid(rasterio.crs.CRS.from_epsg(32610), Affine(1, 0, 500_001, 0, -1, 5_199_999), 4, 4)
    with gdal(), opened(shifted) as band:
        with pytest.raises(DataError, match=r"does not fit.*--resample"), onto(band, target, "mean", resample=False):
            pass
        with onto(band, target, "mean", resample=True) as strips:
            assert (strips.read(0, 4) == 1).all()


def test_finer_pixels_are_not_invented(raster) -> None:
    target = Grid(rasterio.crs.CRS.from_epsg(32610), Affine(1, 0, 500_000, 0, -1, 5_200_000), 10, 10)
    path = raster("a.tif", np.ones((4, 4), np.float32), resolution=5.0)
    with gdal(), opened(path) as band, pytest.raises(DataError, match="coarser"), onto(band, target, "mean", resample=True):
        pass


def test_scaled_bands_are_metres_after_warping_too(raster) -> None:
    path = raster("a.tif", np.full((20, 20), 400), dtype="int16", nodata=-1)
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = (0.5,), (10.0,)
    target = Grid(rasterio.crs.CRS.from_epsg(32610), Affine(1.5, 0, 500_001, 0, -1.5, 5_199_999), 8, 8)
    with gdal(), opened(path) as band, onto(band, target, "mean", resample=True) as strips:
        assert (band.read(0, 0, 20, 20) == 210).all()
        assert (strips.read(0, 8) == 210).all()
