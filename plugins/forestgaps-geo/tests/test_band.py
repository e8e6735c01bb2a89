from __future__ import annotations

import numpy as np
import pytest
import rasterio

from forestgaps_core.errors import DataError
from forestgaps_geo.bands.band import open_band
from forestgaps_geo.bands.elevation_checks import scan_band
from forestgaps_geo.files.gdal import configure_gdal

FLAT = np.full((6, 5), 100, np.float32)


def refused(path, match: str, **options) -> None:
    with configure_gdal(), pytest.raises(DataError, match=match), open_band(path, **options) as band:
        scan_band(band)


def test_nodata_nan_and_masks_are_all_no_data(raster) -> None:
    values = FLAT.copy()
    values[0, 0] = np.nan
    with configure_gdal(), open_band(raster("a.tif", values)) as band:
        assert np.isnan(band.read(0, 0, 6, 5)).sum() == 1
        assert scan_band(band).valid == 29
    with configure_gdal(), open_band(raster("b.tif", values, nodata=None)) as band:
        assert scan_band(band).valid == 29
    path = raster("c.tif", FLAT, nodata=None)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
        mask = np.full((6, 5), 255, np.uint8)
        mask[2:4] = 0
        file.write_mask(mask)
    with configure_gdal(), open_band(path) as band:
        assert scan_band(band).valid == 20


def test_nodata_can_be_stated(raster) -> None:
    values = FLAT.copy()
    values[1] = -32768
    path = raster("a.tif", values, nodata=None)
    refused(path, r"5 pixels near row 1 beyond 12000 m.*-32768.*--nodata=-32768")
    with configure_gdal(), open_band(path, nodata=-32768) as band:
        found = scan_band(band)
    assert (found.valid, found.low, found.high) == (25, 100, 100)


@pytest.mark.parametrize("value", [np.inf, -np.inf, 12_001, -3.4e38])
def test_infinite_and_absurd_values_are_refused(raster, value: float) -> None:
    values = FLAT.copy()
    values[3, 2] = value
    refused(raster("a.tif", values), "1 pixel near row 3 beyond 12000 m, the first is .* in column 2")


def test_a_raster_without_any_data_is_refused(raster) -> None:
    refused(raster("a.tif", np.full((6, 5), np.nan, np.float32)), "no data at all")


def test_a_missing_file_a_folder_and_a_text_are_no_rasters(tmp_path) -> None:
    refused(tmp_path / "none.tif", "no such file")
    refused(tmp_path, "is a folder")
    (tmp_path / "text.tif").write_text("no raster")
    refused(tmp_path / "text.tif", "not a readable raster")


def test_a_truncated_file_is_damaged_not_a_crash(raster) -> None:
    path = raster("a.tif", np.random.default_rng(0).random((400, 400)).astype(np.float32))
    path.write_bytes(path.read_bytes()[:100_000])
    refused(path, "damaged|not a readable raster")


def test_several_bands_are_no_elevations(tmp_path) -> None:
    path = tmp_path / "rgb.tif"
    with rasterio.open(path, "w", driver="GTiff", width=4, height=4, count=3, dtype="uint8", crs="EPSG:32610",
                       transform=rasterio.Affine(1, 0, 5, 0, -1, 5)) as file:  # fmt: skip
        file.write(np.ones((3, 4, 4), np.uint8))
    refused(path, "has 3 bands")


def test_unknown_units_are_refused_and_declared_ones_converted(raster) -> None:
    refused(raster("d.tif", FLAT, unit="fathom"), "heights are in fathom. Add --scale FACTOR", feet=True)
    refused(raster("e.tif", FLAT, unit="cm"), "heights are in cm, not in feet. Leave --feet out", feet=True)
    for number, (declared, factor) in enumerate((("ft", 0.3048), ("US survey foot", 1200 / 3937), ("dm", 0.1), ("cm", 0.01))):
        with configure_gdal(), open_band(raster(f"{number}.tif", FLAT, unit=declared)) as band:
            assert band.read(0, 0, 1, 1)[0, 0] == pytest.approx(FLAT[0, 0] * factor, rel=1e-6)
            assert band.declared_unit == declared.lower()
    with configure_gdal(), open_band(raster("b.tif", FLAT, crs="EPSG:26910+6360")) as band:
        assert (band.unit_m, band.declared_unit) == (1200 / 3937, "us survey foot")
    with configure_gdal(), open_band(raster("f.tif", FLAT, unit="fathom"), scale=1.8288) as band:
        assert (band.unit_m, band.declared_unit) == (1.8288, "")
    with configure_gdal(), open_band(raster("c.tif", FLAT, unit="metre")) as band:
        assert scan_band(band).valid == 30


@pytest.mark.parametrize(
    ("declared", "meters"),
    [({}, 30.48), ({"unit": "ft"}, 30.48), ({"crs": "EPSG:26910+6360"}, 100 * 1200 / 3937), ({"unit": "metre"}, 30.48)],
)
def test_feet_become_meters_where_requested(raster, declared, meters: float) -> None:
    values = FLAT.copy()
    values[0, 0] = np.nan
    with configure_gdal(), open_band(raster("a.tif", values, **declared), feet=True) as band:
        found = scan_band(band)
    assert (found.valid, found.low, found.high) == (29, pytest.approx(meters, rel=1e-6), pytest.approx(meters, rel=1e-6))


@pytest.mark.parametrize("feet", [False, True])
@pytest.mark.parametrize("value", [-9999, 9999])
def test_undeclared_nodata_is_reported_by_its_value(raster, value: float, feet: bool) -> None:
    values = np.full((60, 50), 100, np.float32)
    values[40, 7] = value
    path = raster("a.tif", values, nodata=None)
    refused(path, rf"1 pixel near row 40 outside the elevations .*the first is {value} in column 7; .*--nodata={value} ", feet=feet)
    with configure_gdal(), open_band(path, nodata=value, feet=feet) as band:
        assert scan_band(band).valid == 2999


@pytest.mark.parametrize(("options", "unit_m"), [({"scale": 0.01}, 0.01), ({"feet": True}, 0.3048), ({"scale": 0.1}, 0.1)])
def test_land_as_high_as_a_marker_in_other_units_is_land(raster, options, unit_m: float) -> None:
    slope = np.arange(9_900, 10_200, dtype=np.int32).reshape(15, 20)
    with configure_gdal(), open_band(raster("slope.tif", slope, nodata=None), **options) as band:
        found = scan_band(band)
    assert (found.valid, found.high) == (300, pytest.approx(10_199 * unit_m))
    slope = slope // 3
    slope[3, 4] = 9999
    far = slope * unit_m + 20 < 9998 * unit_m  # in centimeters the marker is 99.99 m, and land is at 33 m
    assert far.sum() == 299
    refused(raster("marker.tif", slope, nodata=None), "1 pixel near row 3 .*the first is 9999 in column 4", **options)


def test_elevations_below_the_sea_are_no_nodata(raster) -> None:
    shore = raster("a.tif", np.full((6, 5), -430.5, np.float32))
    with configure_gdal(), open_band(shore) as band:
        assert scan_band(band).valid == 30
    refused(raster("b.tif", np.full((6, 5), -999, np.float32)), "30 pixels near row 0 outside the elevations of any land")


def test_without_crs_the_pixel_size_must_be_stated(raster) -> None:
    path = raster("a.tif", FLAT, crs=None)
    refused(path, "has no CRS.*--pixel-size 1")
    refused(path, "has pixels of 1 m, not of 2 m as stated", pixel_size_m=2.0)
    for none in (0.0, -1.0, float("nan"), float("inf")):
        refused(path, "it is a length above 0", pixel_size_m=none)
    with configure_gdal(), open_band(path, pixel_size_m=1.0) as band:
        assert band.grid.crs is None
        assert band.grid.resolution == 1.0


def test_a_raster_without_any_georeference_takes_the_stated_pixels(tmp_path) -> None:
    path = tmp_path / "bare.tif"
    with configure_gdal(), rasterio.open(path, "w", driver="GTiff", width=5, height=6, count=1, dtype="float32") as file:
        file.write(FLAT, 1)
    with configure_gdal(), open_band(path, pixel_size_m=2.0) as band:
        assert tuple(band.grid.transform)[:6] == (2, 0, 0, 0, -2, 0)
