from __future__ import annotations

import signal

import numpy as np
import pytest
import rasterio
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import RasterioError

from forestgaps_geo.bands.writing import IncompleteRasterError
from forestgaps_geo.files.gdal import configure_gdal
from forestgaps_geo.grids.grid import Grid
from forestgaps_rasters.prediction.cog import CogWriter

GRID = Grid(CRS.from_epsg(2193), Affine(0.5, 0, 1_491_668, 0, -0.5, 5_372_317), 700, 600)


def values(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 251, (2, GRID.rows, GRID.columns)).astype(np.uint8)


def test_the_file_is_cloud_optimized_and_holds_what_was_written_in_strips(tmp_path) -> None:
    path = tmp_path / "map.tif"
    whole = values()
    with configure_gdal(), CogWriter(path, GRID, ["at 2 m", "at 5 m"], scale=0.004, origin="test") as file:
        for row in range(0, GRID.rows, 90):
            file.write(row, whole[:, row : row + 90])
    with rasterio.open(path) as found:
        assert np.array_equal(found.read(), whole)
        assert found.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert found.overviews(1) == [2]
        assert (found.crs, found.transform, found.nodata) == (GRID.crs, GRID.transform, 255)
        assert found.descriptions == ("at 2 m", "at 5 m")
        assert found.scales == (0.004, 0.004)
        assert found.tags()["origin"] == "test"
    assert [file.name for file in tmp_path.iterdir()] == ["map.tif"], "the draft is gone"


@pytest.mark.parametrize("bands", range(1, 9))
def test_bands_are_values_whatever_their_number(tmp_path, bands: int) -> None:
    path = tmp_path / "map.tif"
    grid = Grid(CRS.from_epsg(2193), Affine(0.5, 0, 1_491_668, 0, -0.5, 5_372_317), 30, 40)
    with configure_gdal(), CogWriter(path, grid, [f"gap at {level} m" for level in range(bands)]) as file:
        file.write(0, np.ones((bands, 30, 40), np.uint8))
    with rasterio.open(path) as found:
        assert set(found.colorinterp) <= {ColorInterp.gray, ColorInterp.undefined}
        assert found.mask_flag_enums == ([MaskFlags.nodata],) * bands
        assert found.nodatavals == (255,) * bands


def test_a_file_that_does_not_hold_what_was_written_is_noticed(tmp_path) -> None:
    def write() -> None:
        with configure_gdal(), CogWriter(tmp_path / "map.tif", GRID, ["a", "b"]) as file:
            file.write(0, values())
            file.pixels.add(0, 0, np.roll(values(), 1, axis=2))

    with pytest.raises(IncompleteRasterError, match="does not hold"):
        write()


@pytest.mark.parametrize("share", [0.001, 0.5, 0.98])
def test_a_disk_that_takes_a_part_is_noticed(tmp_path, share) -> None:
    """A limit on the size of files, which GDAL does not always report."""

    def write(name: str) -> None:
        with configure_gdal(), CogWriter(tmp_path / name, GRID, ["a", "b"]) as file:
            file.write(0, values())

    write("whole.tif")
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int((tmp_path / "whole.tif").stat().st_size * share), before[1]))
    try:
        with pytest.raises((IncompleteRasterError, RasterioError)):
            write("map.tif")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_an_error_inside_makes_no_file(tmp_path) -> None:
    with configure_gdal(), pytest.raises(KeyError), CogWriter(tmp_path / "map.tif", GRID, ["a", "b"]):
        raise KeyError
    assert not (tmp_path / "map.tif").exists()


def test_what_gdal_could_not_write_is_unwritten(tmp_path, monkeypatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise RasterioError("Write failed")

    monkeypatch.setattr(rasterio.shutil, "copy", full)
    draft = CogWriter(tmp_path / "map.tif", GRID, ["a", "b"])
    with configure_gdal(), pytest.raises(IncompleteRasterError, match=r"map\.tif: Write failed"), draft:
        pass


def test_other_errors_are_not_taken_for_a_full_disk(tmp_path, monkeypatch) -> None:
    def wrong(*_: object, **__: object) -> None:
        raise TypeError("a bug")

    monkeypatch.setattr(rasterio.shutil, "copy", wrong)
    draft = CogWriter(tmp_path / "map.tif", GRID, ["a", "b"])
    with configure_gdal(), pytest.raises(TypeError, match="a bug"), draft:
        pass


@pytest.mark.parametrize("vertical", ["+5703", "+6360", "+3855"])
def test_maps_of_a_dsm_with_a_vertical_crs_are_written_without_it(tmp_path, vertical: str) -> None:
    grid = Grid(CRS.from_user_input(f"EPSG:26910{vertical}"), Affine(1, 0, 500_000, 0, -1, 5_200_000), 30, 40)
    with configure_gdal(), CogWriter(tmp_path / "map.tif", grid, ["gap at 5 m"]) as file:
        file.write(0, np.ones((1, 30, 40), np.uint8))
    with rasterio.open(tmp_path / "map.tif") as found:
        assert found.crs.to_epsg() == 26910
        assert found.units == (None,)
