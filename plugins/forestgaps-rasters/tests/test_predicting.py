from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import torch
from attrs import frozen
from rasterio import Affine
from torch import Tensor

from forestgaps_core.errors import DataError, ForestgapsError
from forestgaps_rasters.bands import gdal, opened
from forestgaps_rasters.grids import parsed_crs
from forestgaps_rasters.predicting import STEPS, MapOptions, predict_raster
from forestgaps_rasters.resampling import gathered

SMALL = MapOptions(window=64, overlap=16, batch=3)


@frozen
class Local:
    """A stand-in whose probability depends on a pixel's elevation and the threshold only."""

    thresholds: tuple[float, ...] = (2.0, 5.0, 10.0)
    resolution_m: float = 1.0

    def __call__(self, dsm: Tensor, valid: Tensor, thresholds: Sequence[float]) -> Tensor:
        assert dsm.dtype == torch.float32
        assert valid.dtype == torch.bool
        assert dsm.shape == valid.shape
        assert dsm.isfinite().all(), "no NaN may reach a network"
        levels = torch.tensor(thresholds)[None, :, None, None]
        return torch.sigmoid((levels - (dsm - 400)) / 5)


def expected(surface: np.ndarray, thresholds: Sequence[float]) -> np.ndarray:
    return 1 / (1 + np.exp(-(np.array(thresholds)[:, None, None] - (surface - 400)) / 5))


def terrain(rows: int = 150, columns: int = 210) -> np.ndarray:
    random = np.random.default_rng(4)
    surface = random.normal(404, 8, (rows, columns)).astype(np.float32)
    surface[random.random(surface.shape) < 0.1] = np.nan
    surface[20:90, 100:190] = np.nan
    return surface


@pytest.fixture
def refused(tmp_path, untouched):
    def check(dsm, match: str, thresholds: Sequence[float] = (2,), how: MapOptions = SMALL, predictor=None) -> None:
        untouched()
        with pytest.raises(ForestgapsError, match=match):
            predict_raster(predictor or Local(), dsm, tmp_path / "map", thresholds, how)
        assert untouched(), "something was left on disk"

    return check


def test_one_pass_maps_all_thresholds_without_a_seam(raster, tmp_path) -> None:
    surface = terrain()
    done = predict_raster(Local(), raster("dsm.tif", surface), tmp_path / "map", [5, 2], SMALL)
    truth, valid = expected(surface, [2, 5]), np.isfinite(surface)
    with rasterio.open(done.probabilities) as file:
        scaled = file.read()
        assert file.descriptions == ("gap probability at 2 m", "gap probability at 5 m")
        assert file.scales == (1 / STEPS, 1 / STEPS)
    assert np.abs(scaled / STEPS - truth)[:, valid].max() < 0.5 / STEPS + 1e-5
    assert (scaled[:, ~valid] == 255).all()
    with rasterio.open(done.gaps) as file:
        gaps = file.read()
        assert file.descriptions == ("gap at 2 m", "gap at 5 m")
    clear = np.abs(truth - 0.5) > 1e-5
    assert ((gaps == (truth >= 0.5)) | ~clear)[:, valid].all()
    assert (gaps[:, ~valid] == 255).all()
    assert done.gap_share == pytest.approx({2.0: (gaps[0] == 1).sum() / valid.sum(), 5.0: (gaps[1] == 1).sum() / valid.sum()})


def test_maps_lie_where_the_dsm_lies(raster, tmp_path) -> None:
    dsm = raster("dsm.tif", terrain(40, 50), nodata=-32767)
    done = predict_raster(Local(), dsm, tmp_path / "map", [2], SMALL)
    with rasterio.open(dsm) as source:
        for path in (done.probabilities, done.gaps):
            with rasterio.open(path) as found:
                assert (found.crs, found.transform, found.shape) == (source.crs, source.transform, source.shape)
                assert (found.nodata, found.dtypes[0]) == (255, "uint8")
                assert found.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    assert sorted(path.name for path in (tmp_path / "map").iterdir()) == ["gaps.tif", "probabilities.tif"]


def test_windows_of_any_size_give_one_map(raster, tmp_path) -> None:
    dsm = raster("dsm.tif", terrain())
    maps = []
    for number, (window, overlap, batch) in enumerate([(512, 128, 4), (64, 0, 1), (48, 24, 7)]):
        how = MapOptions(window=window, overlap=overlap, batch=batch)
        done = predict_raster(Local(), dsm, tmp_path / str(number), [2, 10], how)
        with rasterio.open(done.probabilities) as file:
            maps.append(file.read().astype(int))
    assert all(np.abs(other - maps[0]).max() <= 1 for other in maps[1:])


def test_without_thresholds_those_of_the_training_are_mapped(raster, tmp_path) -> None:
    done = predict_raster(Local(), raster("dsm.tif", terrain(40, 40)), tmp_path / "map", (), SMALL)
    assert list(done.gap_share) == [2, 5, 10]
    assert done.notes == ()


def test_a_raster_smaller_than_a_window_is_mapped_whole(raster, tmp_path) -> None:
    surface = terrain(7, 5)
    done = predict_raster(Local(), raster("dsm.tif", surface), tmp_path / "map", [2], MapOptions())
    with rasterio.open(done.probabilities) as file:
        assert np.abs(file.read(1) / STEPS - expected(surface, [2])[0])[np.isfinite(surface)].max() < 0.5 / STEPS + 1e-5


def test_a_finer_dsm_is_noted_and_resampled_where_asked(raster, tmp_path) -> None:
    surface = terrain(80, 61)
    dsm = raster("dsm.tif", surface, resolution=0.5)
    done = predict_raster(Local(), dsm, tmp_path / "fine", [2], SMALL)
    assert done.notes == (
        "the DSM has pixels of 0.5 m, the network learned at 1 m: expect a worse map; --resample brings it there",
    )
    done = predict_raster(Local(), dsm, tmp_path / "map", [2], MapOptions(window=64, overlap=16, resample=True))
    assert (done.rows, done.columns, done.resolution_m, done.notes) == (40, 30, 1.0, ())
    top = gathered(surface[:, :60], 2, "maximum")
    with rasterio.open(done.probabilities) as file:
        assert file.transform == Affine(1, 0, 500_000, 0, -1, 5_200_000)
        found = file.read(1)
    assert np.array_equal(found == 255, np.isnan(top))
    assert np.abs(found / STEPS - expected(top, [2])[0])[np.isfinite(top)].max() < 0.5 / STEPS + 1e-5


def test_what_the_network_did_not_learn_is_noted(raster, tmp_path) -> None:
    done = predict_raster(Local(), raster("dsm.tif", terrain(40, 40)), tmp_path / "map", [2, 30], SMALL)
    assert done.notes == ("30 m: outside the thresholds the network was trained for, 2 to 10 m",)


def test_a_dsm_without_crs_is_mapped_once_its_pixels_are_stated(raster, tmp_path, refused) -> None:
    dsm = raster("dsm.tif", terrain(40, 40), crs=None)
    refused(dsm, "has no CRS.*--pixel-size 1")
    done = predict_raster(Local(), dsm, tmp_path / "map", [2], MapOptions(pixel_size_m=1.0))
    assert done.notes == ("the DSM has no CRS, so the maps have none",)


def test_a_degree_based_dsm_is_mapped_in_metres_where_asked(raster, tmp_path, refused) -> None:
    dsm = raster("dsm.tif", np.full((90, 90), 402, np.float32), crs="EPSG:4326",
                 transform=Affine(1.3e-5, 0, -122.6, 0, -0.9e-5, 47.2))  # fmt: skip
    refused(dsm, "in degrees .*--resample --crs EPSG:32610")
    how = MapOptions(window=64, overlap=16, resample=True, crs=parsed_crs("EPSG:32610"))
    done = predict_raster(Local(resolution_m=1.5), dsm, tmp_path / "map", [2], how)
    with rasterio.open(done.probabilities) as file:
        assert (file.crs.to_epsg(), file.res) == (32610, (1.5, 1.5))
        found = file.read(1)
    assert (found != 255).mean() > 0.8
    assert (found[found != 255] == 125).all()


# --- bad input: a sentence, and nothing changes on disk ---------------------------------------------------------------


@pytest.mark.parametrize("threshold", [0, -2, np.nan, np.inf])
def test_a_threshold_that_is_not_above_zero_is_refused(raster, refused, threshold) -> None:
    refused(raster("dsm.tif", terrain(40, 40)), "must be above 0", thresholds=[2, threshold])


def test_rotated_grids_are_refused(raster, refused) -> None:
    refused(raster("dsm.tif", terrain(40, 40), transform=Affine(0.94, 0.34, 500_000, 0.34, -0.94, 5_200_000)), "rotated")


def test_a_raster_without_data_is_refused(raster, refused) -> None:
    refused(raster("dsm.tif", np.full((40, 40), np.nan, np.float32)), "no data at all")


@pytest.mark.parametrize("value", [np.inf, -20_000])
def test_infinite_and_absurd_values_are_refused(raster, refused, value) -> None:
    surface = terrain(40, 40)
    surface[30, 30] = value
    refused(raster("dsm.tif", surface), "beyond 12000 m")


def test_feet_are_refused(raster, refused) -> None:
    refused(raster("dsm.tif", terrain(40, 40), unit="ft"), "convert them to metres")


def test_an_existing_folder_is_refused(raster, tmp_path, refused) -> None:
    dsm = raster("dsm.tif", terrain(40, 40))
    (tmp_path / "map").mkdir()
    refused(dsm, "exists already")


def test_finer_pixels_than_there_are_are_refused(raster, refused) -> None:
    refused(raster("dsm.tif", terrain(40, 40), resolution=2.0), "would be invented", how=MapOptions(resample=True))


@pytest.mark.parametrize("how", [MapOptions(window=8), MapOptions(overlap=300), MapOptions(batch=0), MapOptions(cut=1.0)])
def test_impossible_windows_and_cuts_are_refused(raster, refused, how) -> None:
    refused(raster("dsm.tif", terrain(40, 40)), "at most half|between 0 and 1", how=how)


def test_a_network_that_diverged_is_refused(raster, refused) -> None:
    class Diverged(Local):
        def __call__(self, dsm: Tensor, valid: Tensor, thresholds: Sequence[float]) -> Tensor:
            return super().__call__(dsm, valid, thresholds) * torch.nan

    refused(raster("dsm.tif", terrain(40, 40)), "not numbers", predictor=Diverged())


def test_too_little_room_is_told_before(raster, refused, monkeypatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    refused(raster("dsm.tif", terrain(40, 40)), "map: the disk is full; up to 1.22 MB are needed and 1 KB are free")


@contextmanager
def disk_of(size: int):
    """No file of this process may grow beyond so many bytes, as on a disk that fills up; pytest writes none meanwhile."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("room", [10_000, 300_000])
def test_a_disk_that_fills_on_the_way_leaves_nothing(raster, tmp_path, untouched, room) -> None:
    dsm = raster("dsm.tif", np.random.default_rng(0).normal(400, 9, (600, 600)).astype(np.float32))
    untouched()
    with disk_of(room), pytest.raises(DataError, match="the disk is full"):
        predict_raster(Local(), dsm, tmp_path / "map", [2, 5], MapOptions(window=256))
    assert untouched()


def test_the_summary_is_plain_enough_for_json(raster, tmp_path) -> None:
    done = predict_raster(Local(), raster("dsm.tif", terrain(40, 40)), tmp_path / "map", [2], SMALL)
    assert json.dumps([str(done.gaps), done.rows, done.columns, done.resolution_m, list(done.gap_share.values())])


def test_the_read_surface_is_the_file(raster) -> None:
    surface = terrain(30, 20)
    with gdal(), opened(raster("dsm.tif", surface)) as band:
        assert np.array_equal(band.read(0, 0, 30, 20), surface, equal_nan=True)
