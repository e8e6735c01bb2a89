from __future__ import annotations

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from rasterio import Affine

from forestgaps_core.errors import DataError
from forestgaps_geo.bands.band import open_band
from forestgaps_geo.files.gdal import configure_gdal
from forestgaps_geo.grids.grid import Grid
from forestgaps_rasters.sources import resampling
from forestgaps_rasters.sources.resampling import aggregate_pixels, aggregate_window, measure_pixel_size, resample_band


def test_four_pixels_make_one_by_maximum_or_mean() -> None:
    fine = np.array([[1, 2, 5, np.nan], [3, 4, np.nan, np.nan], [np.nan, 7, 0, 0], [8, np.nan, 0, 4]], np.float32)
    assert np.array_equal(aggregate_pixels(fine, 2, "maximum"), np.array([[4, np.nan], [8, 4]], np.float32), equal_nan=True)
    assert np.array_equal(aggregate_pixels(fine, 2, "mean"), np.array([[2.5, np.nan], [7.5, 1]], np.float32), equal_nan=True)


@given(st.integers(1, 5), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_gathering_agrees_with_ten_slow_lines(k: int, seed: int, holes: float) -> None:
    random = np.random.default_rng(seed)
    fine = random.normal(0, 100, (3 * k, 2 * k)).astype(np.float32)
    fine[random.random(fine.shape) < holes] = np.nan
    for method, rule in (("maximum", max), ("mean", lambda some: float(np.mean(some, dtype=np.float64)))):
        for row in range(3):
            for column in range(2):
                block = fine[row * k : row * k + k, column * k : column * k + k].ravel().tolist()
                known = [value for value in block if value == value]
                expected = rule(known) if 2 * len(known) >= len(block) and known else np.nan
                found = aggregate_pixels(fine, k, method)[row, column]
                assert np.isclose(found, expected, rtol=1e-5, atol=1e-4, equal_nan=True)


def test_a_grid_within_the_band_is_read_as_it_is(raster) -> None:
    values = np.arange(48, dtype=np.float32).reshape(6, 8)
    path = raster("a.tif", values)
    with (
        configure_gdal(),
        open_band(path) as band,
        resample_band(band, band.grid.window(1, 2, 4, 5), "maximum", resample=False) as strips,
    ):
        assert strips.exact
        assert np.array_equal(strips.read(1, 3), values[2:5, 2:7])


def test_whole_blocks_and_warping_agree_where_both_can(raster, monkeypatch) -> None:
    values = np.random.default_rng(0).normal(50, 20, (12, 16)).astype(np.float32)
    path = raster("a.tif", values, resolution=0.5)
    shifted = Affine(1, 0, 500_000, 0, -1, 5_200_000)
    for method in ("maximum", "mean", "interpolated"):
        with configure_gdal(), open_band(path) as band:
            target = Grid(band.grid.crs, shifted, 6, 8)
            with resample_band(band, target, method, resample=True) as exact:
                expected = exact.read(0, 6)
            monkeypatch.setattr(resampling, "match_pixel_blocks", lambda *_: None)
            with resample_band(band, target, method, resample=True) as moved:
                assert not moved.exact
                assert np.allclose(moved.read(0, 6), expected, atol=1e-4)
            monkeypatch.undo()


@pytest.mark.parametrize("method", ["maximum", "mean"])
def test_nothing_is_mixed_in_from_pixels_without_data(raster, method) -> None:
    values = np.full((40, 40), 500, np.float32)
    values[10:20, 10:20] = np.nan
    turned = Affine(0.94, 0.342, 500_000, 0.342, -0.94, 5_200_000)  # by 20 degrees
    with configure_gdal(), open_band(raster("a.tif", values, transform=turned)) as band:
        target = Grid(band.grid.crs, Affine(1.5, 0, 500_005, 0, -1.5, 5_199_998), 15, 15)
        with resample_band(band, target, method, resample=True) as strips:
            found = strips.read(0, 15)
    known = np.isfinite(found)
    assert not strips.exact
    assert known.sum() > 0
    assert (found[known] == 500).all()


def test_grids_that_do_not_fit_need_resampling(raster) -> None:
    values = np.ones((8, 8), np.float32)
    shifted = raster("a.tif", values, transform=Affine(1, 0, 500_000.3, 0, -1, 5_200_000))
    target = Grid(rasterio.crs.CRS.from_epsg(32610), Affine(1, 0, 500_001, 0, -1, 5_199_999), 4, 4)
    with configure_gdal(), open_band(shifted) as band:
        with pytest.raises(DataError, match=r"does not fit.*--resample"), resample_band(band, target, "mean", resample=False):
            pass
        with resample_band(band, target, "mean", resample=True) as strips:
            assert (strips.read(0, 4) == 1).all()


def test_finer_pixels_are_not_invented(raster) -> None:
    target = Grid(rasterio.crs.CRS.from_epsg(32610), Affine(1, 0, 500_000, 0, -1, 5_200_000), 10, 10)
    path = raster("a.tif", np.ones((4, 4), np.float32), resolution=5.0)
    with (
        configure_gdal(),
        open_band(path) as band,
        pytest.raises(DataError, match="coarser"),
        resample_band(band, target, "mean", resample=True),
    ):
        pass


def test_scaled_bands_are_meters_after_warping_too(raster) -> None:
    path = raster("a.tif", np.full((20, 20), 400), dtype="int16", nodata=-1)
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = (0.5,), (10.0,)
    target = Grid(rasterio.crs.CRS.from_epsg(32610), Affine(1.5, 0, 500_001, 0, -1.5, 5_199_999), 8, 8)
    with configure_gdal(), open_band(path) as band, resample_band(band, target, "mean", resample=True) as strips:
        assert (band.read(0, 0, 20, 20) == 210).all()
        assert (strips.read(0, 8) == 210).all()


# --- gaps keep their share ---------------------------------------------------------------------------------------------


def forest(rows: int, columns: int, size: float) -> np.ndarray:
    """Crowns of some meters with gaps between, on level ground at 300 m, in pixels of `size` meters."""
    y, x = (np.arange(count)[shape] * size + 0.3 for count, shape in ((rows, np.s_[:, None]), (columns, np.s_[None, :])))
    crowns = (np.sin(x / 2.1) * np.sin(y / 1.7) + 0.4 * np.sin(x / 5.3 + y / 4.1)) > -0.15
    return (300 + np.where(crowns, 18 + np.sin(x) + np.cos(y), 0.4)).astype(np.float32)


def rotated(size: float, degrees: float, shift: float = 0.0) -> Affine:
    along, across = size * np.cos(np.radians(degrees)), size * np.sin(np.radians(degrees))
    return Affine(along, across, 500_000 + shift, across, -along, 5_200_000 - shift)


def gap_fraction(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    assert known.size > 1000
    return float((known < 305).mean())


@pytest.mark.parametrize(
    ("own", "target"),
    [
        (Affine(1, 0, 500_000.5, 0, -1, 5_200_000), 1.0),  # half a pixel aside
        (Affine(1, 0, 500_000.3, 0, -1, 5_200_000.6), 1.0),
        (rotated(1, 15), 1.0),
        (rotated(1, 45), 1.0),
        (Affine(1, 0, 500_000, 0, -1, 5_200_000), 1.1),  # a little coarser
        (Affine(1, 0, 500_000, 0, -1, 5_200_000), 1.4),
        (Affine(1, 0, 500_000, 0, -1, 5_200_000), 0.9),  # a little finer
    ],
)
def test_pixels_that_keep_their_size_keep_the_share_of_gaps(raster, own, target) -> None:
    values = forest(160, 160, 1.0)
    path = raster("dsm.tif", values, transform=own)
    with configure_gdal(), open_band(path) as band:
        left, bottom, right, top = band.grid.bounds
        rows, columns = int((top - bottom) / target), int((right - left) / target)
        grid = Grid(band.grid.crs, Affine(target, 0, np.floor(left), 0, -target, np.ceil(top)), rows, columns)
        with resample_band(band, grid, "maximum", resample=True) as strips:
            found = strips.read(0, rows)
    assert gap_fraction(found) == pytest.approx(gap_fraction(values), rel=0.05)
    assert np.isin(found[np.isfinite(found)], values).all(), "no value is invented"


@pytest.mark.parametrize("turn", [0.0, 20.0, 45.0])
@pytest.mark.parametrize("shift", [0.0, 0.25])
def test_coarser_pixels_take_the_highest_whatever_the_grid(raster, turn, shift) -> None:
    values = forest(320, 320, 0.5)
    straight = gap_fraction(aggregate_pixels(values, 2, "maximum"))
    own = rotated(0.5, turn, shift)
    with configure_gdal(), open_band(raster("dsm.tif", values, transform=own)) as band:
        left, bottom, right, top = band.grid.bounds
        grid = Grid(band.grid.crs, Affine(1, 0, np.floor(left), 0, -1, np.ceil(top)), int(top - bottom), int(right - left))
        with resample_band(band, grid, "maximum", resample=True) as strips:
            found = strips.read(0, grid.rows)
    assert straight < 0.9 * gap_fraction(values), "crowns grow by half a pixel when pixels are joined"
    assert gap_fraction(found) == pytest.approx(straight, rel=0.05)


@pytest.mark.parametrize("size", [2.0, 5.0, 1.3])
def test_ground_is_interpolated_without_being_asked(raster, size) -> None:
    rows, columns = int(120 / size), int(140 / size)
    y, x = (np.arange(count)[shape] * size + size / 2 for count, shape in ((rows, np.s_[:, None]), (columns, np.s_[None, :])))
    path = raster(
        "dtm.tif", (400 + 0.5 * x - 0.3 * y).astype(np.float32), transform=Affine(size, 0, 500_000.2, 0, -size, 5_200_000)
    )
    with configure_gdal(), open_band(path) as band:
        grid = Grid(band.grid.crs, Affine(1, 0, 500_011, 0, -1, 5_199_990), 80, 90)
        with resample_band(band, grid, "interpolated", resample=False) as strips:
            found = strips.read(0, 80)
    expected = 400 + 0.5 * (np.arange(90)[None, :] + 11.3) - 0.3 * (np.arange(80)[:, None] + 10.5)
    assert np.abs(found - expected).max() < 0.02


def test_a_window_is_gathered_in_pieces_that_fit_memory(monkeypatch) -> None:
    values = np.random.default_rng(1).normal(0, 1, (60, 40)).astype(np.float32)
    monkeypatch.setattr(resampling, "MAX_PIXELS_READ", 200)
    taken = []

    def read(row: int, column: int, rows: int, columns: int) -> np.ndarray:
        taken.append(rows * columns)
        return values[row : row + rows, column : column + columns]

    found = aggregate_window(read, 2, "maximum")(3, 4, 25, 12)
    assert np.array_equal(found, aggregate_pixels(values, 2, "maximum")[3:28, 4:16])
    assert max(taken) <= 200


@pytest.mark.parametrize(("latitude", "y"), [(52, 6_800_000), (60, 8_400_000), (70, 11_068_716)])
def test_pixels_of_web_mercator_keep_their_values_where_they_keep_their_size(raster, latitude, y) -> None:
    values = np.random.default_rng(0).normal(50, 20, (40, 40)).astype(np.float32)
    path = raster("a.tif", values, crs="EPSG:3857", transform=Affine(2, 0, 1_000_000, 0, -2, y))
    with configure_gdal(), open_band(path) as band:
        target = Grid(band.grid.crs, Affine(2, 0, 1_000_000.6, 0, -2, y - 0.6), 39, 39)
        assert measure_pixel_size(band.grid, target) == pytest.approx(target.resolution, rel=1e-6)
        with resample_band(band, target, "maximum", resample=True) as strips:
            assert np.array_equal(strips.read(0, 39), values[:39, :39]), latitude
