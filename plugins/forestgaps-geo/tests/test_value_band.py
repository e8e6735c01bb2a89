from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio import Affine
from rasterio.enums import ColorInterp

from forestgaps_core.errors import DataError
from forestgaps_geo.bands.band_selection import choose_band, find_alpha_band, list_value_bands
from forestgaps_geo.bands.value_band import make_value_band
from forestgaps_geo.files.gdal import configure_gdal
from forestgaps_geo.files.opening import open_raster, open_vrt_text

ROWS, COLUMNS = 7, 9
NORTH_UP = Affine(2, 0, 500_000, 0, -2, 5_200_000)
SOUTH_UP = Affine(2, 0, 500_000, 0, 2, 5_200_000 - 2 * ROWS)
MIRRORED = Affine(-2, 0, 500_000 + 2 * COLUMNS, 0, -2, 5_200_000)
BOTH = Affine(-2, 0, 500_000 + 2 * COLUMNS, 0, 2, 5_200_000 - 2 * ROWS)
ALPHA = (ColorInterp.gray, ColorInterp.alpha)


def write(path: Path, planes: np.ndarray, *, colors=None, names=(), mask=None, external=False, **profile: Any) -> Path:
    settings = {"crs": "EPSG:32610", "transform": NORTH_UP, "nodata": None} | profile
    size = {"count": len(planes), "height": planes.shape[1], "width": planes.shape[2]}
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=not external):
        with rasterio.open(path, "w", driver="GTiff", dtype=planes.dtype, **size, **settings) as file:
            file.write(planes)
            if mask is not None:
                file.write_mask(mask)
        if colors or names:
            with rasterio.open(path, "r+") as file:
                file.colorinterp = colors or file.colorinterp
                file.descriptions = names or file.descriptions
    return path


def surface(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(1, 250, (ROWS, COLUMNS)).round()


def as_read(path: Path, number: int = 1, nodata: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Through Python, and as GDAL is told to see it; NaN without data."""
    with open_raster(path) as dataset:
        band = make_value_band(path, dataset, number, nodata)
        values, valid = band.read(0, 0, dataset.height, dataset.width)
        with open_vrt_text(path, band.gdal_source, 0) if band.gdal_source.startswith("<") else open_raster(path) as seen:
            raw = seen.read(1).astype("float64")
            assert seen.transform == band.transform
            raw[raw == band.gdal_nodata] = np.nan
    return np.where(valid, values, np.nan).astype("float64"), raw


@pytest.mark.parametrize("kind", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"])
@pytest.mark.parametrize("opaque", [1, 100, 255, 65535])
def test_alpha_of_any_type_is_the_mask(tmp_path, kind: str, opaque: int) -> None:
    if np.dtype(kind).kind != "f" and opaque > np.iinfo(kind).max:
        opaque = int(np.iinfo(kind).max)
    values = (surface() / 2).astype(kind)
    alpha = np.full_like(values, opaque)
    alpha[:3, 2:] = 0
    truth = np.where(alpha > 0, values, np.nan).astype("float64")
    for found in as_read(write(tmp_path / "a.tif", np.stack([values, alpha]), colors=ALPHA)):
        assert np.array_equal(found, truth, equal_nan=True)


@pytest.mark.parametrize("external", [False, True])
@pytest.mark.parametrize(("number", "nodata"), [(1, None), (1, 7), (2, None), (2, 7)])
def test_mask_nodata_and_nan_all_count(tmp_path, external: bool, number: int, nodata: float | None) -> None:
    planes = np.stack([surface(0), surface(1)]).astype("float32")
    planes[:, 1, 1], planes[:, 2, 2] = np.nan, 7
    mask = np.full((ROWS, COLUMNS), 255, "uint8")
    mask[5, 3:] = 0
    truth = np.where(mask > 0, planes[number - 1], np.nan)
    truth[truth == nodata] = np.nan
    path = write(tmp_path / "a.tif", planes, mask=mask, external=external, nodata=nodata)
    assert (tmp_path / "a.tif.msk").exists() == external
    for found in as_read(path, number):
        assert np.array_equal(found, truth, equal_nan=True)


def test_stated_nodata_joins_the_mask(tmp_path) -> None:
    planes = surface()[None].astype("int16")
    planes[0, 0, 0] = -99
    mask = np.full((ROWS, COLUMNS), 255, "uint8")
    mask[6] = 0
    truth = np.where((mask > 0) & (planes[0] != -99), planes[0], np.nan)
    for found in as_read(write(tmp_path / "a.tif", planes, mask=mask), nodata=-99):
        assert np.array_equal(found, truth, equal_nan=True)


@pytest.mark.parametrize("nodata", [-9999, 0, 255, 3.4028234663852886e38, float("nan")])
def test_alpha_beside_a_nodata_value_of_the_whole_file(tmp_path, nodata: float) -> None:
    values, alpha = surface().astype("float32"), np.full((ROWS, COLUMNS), 255, "float32")
    values[0, :] = nodata
    alpha[2, :] = 0
    alpha[3, :] = np.nan
    alpha[4, :] = nodata
    truth = values.astype("float64")
    truth[[0, 2, 3]] = np.nan
    if nodata != 255:  # which is opaque
        truth[4] = np.nan
    for found in as_read(write(tmp_path / "a.tif", np.stack([values, alpha]), colors=ALPHA, nodata=nodata)):
        assert np.array_equal(found, truth, equal_nan=True)


@pytest.mark.parametrize("transform", [NORTH_UP, SOUTH_UP, MIRRORED, BOTH])
@pytest.mark.parametrize("crs", ["EPSG:32610", None])
def test_rows_run_south_and_columns_east_however_they_are_stored(tmp_path, transform: Affine, crs: str | None) -> None:
    truth = surface().astype("float32")
    truth[4, 2] = np.nan
    stored = truth[:: -1 if transform.e > 0 else 1, :: -1 if transform.a < 0 else 1]
    path = write(tmp_path / "a.tif", np.where(np.isnan(stored), -1, stored)[None], transform=transform, crs=crs, nodata=-1)
    for found in as_read(path):
        assert np.array_equal(found, truth, equal_nan=True)
    with open_raster(path) as dataset:
        band = make_value_band(path, dataset, 1)
        assert band.transform == NORTH_UP
        assert np.array_equal(band.read(2, 1, 3, 4)[0][~np.isnan(truth[2:5, 1:5])], truth[2:5, 1:5][~np.isnan(truth[2:5, 1:5])])


def test_a_file_without_georeference_begins_in_the_north(tmp_path) -> None:
    truth = surface().astype("float32")
    path = tmp_path / "a.tif"
    with configure_gdal(), rasterio.open(path, "w", driver="GTiff", width=COLUMNS, height=ROWS, count=1, dtype="float32") as file:
        file.write(truth, 1)
    with open_raster(path) as dataset:
        assert np.array_equal(make_value_band(path, dataset, 1).read(0, 0, ROWS, COLUMNS)[0], truth)


def test_nodata_of_each_band_of_a_vrt(tmp_path) -> None:
    planes = np.stack([surface(0), surface(1)]).astype("float32")
    planes[:, 0, 0], planes[:, 1, 1] = 3, 5
    write(tmp_path / "a.tif", planes)
    bands = "".join(
        f'<VRTRasterBand dataType="Float32" band="{n}"><NoDataValue>{nodata}</NoDataValue><SimpleSource>'
        f'<SourceFilename relativeToVRT="1">a.tif</SourceFilename><SourceBand>{n}</SourceBand></SimpleSource></VRTRasterBand>'
        for n, nodata in ((1, 3), (2, 5))
    )
    path = tmp_path / "a.vrt"
    path.write_text(f'<VRTDataset rasterXSize="{COLUMNS}" rasterYSize="{ROWS}"><SRS>EPSG:32610</SRS>'
                    f"<GeoTransform>500000, 2, 0, 5200000, 0, -2</GeoTransform>{bands}</VRTDataset>")  # fmt: skip
    for number, nodata in ((1, 3), (2, 5)):
        truth = np.where(planes[number - 1] == nodata, np.nan, planes[number - 1])
        for found in as_read(path, number):
            assert np.array_equal(found, truth, equal_nan=True)


@settings(max_examples=25, deadline=None)
@given(
    number=st.integers(1, 3),
    with_alpha=st.booleans(),
    with_mask=st.booleans(),
    nodata=st.sampled_from([None, 3.0]),
    transform=st.sampled_from([NORTH_UP, SOUTH_UP, MIRRORED]),
    seed=st.integers(0, 99),
)
def test_python_and_gdal_see_the_same_pixels(tmp_path_factory, number, with_alpha, with_mask, nodata, transform, seed) -> None:
    random = np.random.default_rng(seed)
    planes = random.integers(0, 6, (3 + with_alpha, ROWS, COLUMNS)).astype("float32")
    mask = random.integers(0, 2, (ROWS, COLUMNS)).astype("uint8") * 255 if with_mask else None
    colors = (ColorInterp.gray, *(ColorInterp.undefined,) * 2, *(ColorInterp.alpha,) * with_alpha)
    path = write(tmp_path_factory.mktemp("seen") / "a.tif", planes, colors=colors, mask=mask, nodata=nodata, transform=transform)
    python, seen = as_read(path, number)
    assert np.array_equal(python, seen, equal_nan=True)
    known = np.ones((ROWS, COLUMNS), bool)
    known &= True if mask is None else mask > 0
    known &= planes[-1] > 0 if with_alpha else True
    known &= planes[number - 1] != nodata
    assert np.isfinite(python).sum() == known.sum()


def test_bands_of_version_01_maps_are_values_though_declared_alpha(tmp_path) -> None:
    for what in ("gap", "gap probability"):
        path = write(
            tmp_path / f"{what}.tif",
            np.ones((4, ROWS, COLUMNS), "uint8"),
            photometric="RGB",
            alpha="YES",
            nodata=255,
            names=tuple(f"{what} at {level:g} m" for level in (2, 5, 7.5, 20)),
        )
        with open_raster(path) as dataset:
            assert dataset.colorinterp[3] == ColorInterp.alpha, "as version 0.1 wrote it"
            assert list_value_bands(path, dataset) == [1, 2, 3, 4]
            assert find_alpha_band(dataset) is None


def test_choose_band_names_the_option_and_the_bands(tmp_path) -> None:
    path = write(tmp_path / "a.tif", np.ones((3, ROWS, COLUMNS), "float32"), names=("surface", "ground", ""),
                 colors=(ColorInterp.gray, ColorInterp.undefined, ColorInterp.alpha))  # fmt: skip
    with open_raster(path) as dataset:
        with pytest.raises(DataError, match=r"2 bands of values \(1: surface, float32; 2: ground, float32\).*--band N"):
            choose_band(path, dataset, None, "a DSM")
        assert choose_band(path, dataset, 2, "a DSM") == 2
        with pytest.raises(DataError, match=r"band 3 is alpha.*bands 1 to 2"):
            choose_band(path, dataset, 3, "a DSM")
        with pytest.raises(DataError, match="no band 4; there are bands 1 to 2"):
            choose_band(path, dataset, 4, "a DSM")
    single = write(tmp_path / "b.tif", np.ones((1, ROWS, COLUMNS), "float32"))
    with open_raster(single) as dataset:
        assert choose_band(single, dataset, 2, "a DTM", several_only=True) == 1
        with pytest.raises(DataError, match="no band 2; there is band 1"):
            choose_band(single, dataset, 2, "a DTM")


def test_alpha_alone_is_no_raster_of_values(tmp_path) -> None:
    path = write(tmp_path / "a.tif", np.ones((1, ROWS, COLUMNS), "uint8"), colors=(ColorInterp.alpha,))
    with open_raster(path) as dataset, pytest.raises(DataError, match="no band of values"):
        list_value_bands(path, dataset)


@pytest.mark.parametrize(("declared", "stated"), [(-9999, -32768), (-32768, -9999), (-9999, 0), (3.4028234663852886e38, -1)])
@pytest.mark.parametrize("transform", [NORTH_UP, SOUTH_UP])
def test_stated_nodata_joins_a_declared_value_that_is_no_height(
    tmp_path, declared: float, stated: float, transform: Affine
) -> None:
    values = surface().astype(np.float32)
    values[0, :3], values[2, 1:5] = declared, stated
    path = write(tmp_path / "a.tif", values[None], nodata=declared, transform=transform)
    expected = np.where(np.isin(values, np.array([declared, stated], np.float32)), np.nan, values)[:: 1 if transform.e < 0 else -1]
    for seen in as_read(path, nodata=stated):
        np.testing.assert_array_equal(seen, expected)


@pytest.mark.parametrize("declared", [0, -1, 255])
def test_stated_nodata_replaces_a_declared_value_that_may_be_a_height(tmp_path, declared: float) -> None:
    values = surface().astype(np.float32)
    values[0, :3], values[2, 1:5] = declared, -9999
    path = write(tmp_path / "a.tif", values[None], nodata=declared)
    for seen in as_read(path, nodata=-9999):
        np.testing.assert_array_equal(seen, np.where(values == -9999, np.nan, values))
