from __future__ import annotations

import signal

import numpy as np
import pytest
import rasterio
from rasterio import Affine
from rasterio.crs import CRS

from forestgaps_geo.bands.writing import IncompleteRasterError, NewRaster, choose_output_crs

PLACE = {"crs": "EPSG:32632", "transform": Affine(0.1, 0, 500000.3, 0, -0.1, 5300000.7)}
VALUES = np.random.default_rng(0).normal(size=(2, 300, 257)).astype(np.float32)
VALUES[0, 5, 7] = np.nan
PROFILE = {"height": 300, "width": 257, "count": 2, "dtype": "float32", "nodata": np.nan, **PLACE}


def values(kind: str = "float32") -> np.ndarray:
    return VALUES if kind == "float32" else np.nan_to_num(VALUES).astype(kind)


def write(path, **options) -> None:
    with NewRaster(path, **{**PROFILE, **options}) as raster:
        for row in range(0, 300, 70):
            raster.write(values(options.get("dtype", "float32"))[:, row : row + 70], row)
        raster.file.descriptions = ("one", "two")


@pytest.mark.parametrize(
    "options", [{}, {"compress": "deflate", "predictor": 3}, {"tiled": True}, {"dtype": "int16", "nodata": -1}, {"crs": None}]
)
def test_what_was_written_is_in_the_file(tmp_path, options) -> None:
    write(tmp_path / "a.tif", **options)
    with rasterio.open(tmp_path / "a.tif") as file:
        np.testing.assert_array_equal(file.read(), values(options.get("dtype", "float32")))
        assert file.descriptions == ("one", "two")


@pytest.mark.parametrize("compress", ["none", "deflate"])
@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.7, 0.99, 0.9999])
def test_a_disk_that_takes_a_part_is_noticed(tmp_path, compress, share) -> None:
    """A limit on the size of files, at several places. GDAL alone closes most of such files without a word."""
    write(tmp_path / "whole.tif", compress=compress)
    size = (tmp_path / "whole.tif").stat().st_size
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(size * share), before[1]))
    try:
        with pytest.raises(IncompleteRasterError, match=r"a\.tif"):
            write(tmp_path / "a.tif", compress=compress)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(path.read_bytes()[:-9000]), lambda path: path.unlink()])
def test_a_file_that_lost_something_before_it_was_closed_is_noticed(tmp_path, damage) -> None:
    raster = NewRaster(tmp_path / "a.tif", **PROFILE)
    raster.write(VALUES)
    raster.file.close()
    damage(raster.path)
    with pytest.raises(IncompleteRasterError):
        raster.pixels.verify(raster.path, {})


def test_a_wrong_pixel_is_noticed(tmp_path) -> None:
    raster = NewRaster(tmp_path / "a.tif", **PROFILE)
    raster.write(VALUES)
    raster.close()
    with rasterio.open(tmp_path / "a.tif", "r+") as file:
        file.write(np.float32([[7]]), 1, window=((299, 300), (256, 257)))
    with pytest.raises(IncompleteRasterError, match="does not hold what was written"):
        raster.pixels.verify(raster.path, {})


def test_an_error_of_the_caller_stays_one(tmp_path) -> None:
    with pytest.raises(ZeroDivisionError), NewRaster(tmp_path / "a.tif", **PROFILE):
        _ = 1 / 0


@pytest.mark.parametrize("vertical", [5703, 6360, 3855])
def test_results_have_no_vertical_crs_whose_unit_is_not_theirs(tmp_path, vertical: int) -> None:
    write(tmp_path / "a.tif", crs=f"EPSG:26910+{vertical}")
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.crs.to_epsg() == 26910
        assert file.units == (None, None)


@pytest.mark.parametrize("crs", [None, "EPSG:26910", "+proj=utm +zone=32 +ellps=bessel +towgs84=598,74,418,0,0,0,0 +units=m"])
def test_other_crs_are_written_as_they_are(crs) -> None:
    assert choose_output_crs(crs) == (None if crs is None else CRS.from_user_input(crs))
