from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import pytest
import rasterio
import torch
from attrs import evolve, frozen
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio import Affine
from small_network import small
from torch import Tensor

from forestgaps_core.errors import DataError, DiskError, ForestgapsError
from forestgaps_geo.bands.band import open_band
from forestgaps_geo.bands.writing import WrittenPixels
from forestgaps_geo.files.gdal import configure_gdal
from forestgaps_geo.grids.crs import parse_crs
from forestgaps_geo.grids.grid import Grid
from forestgaps_rasters.prediction import window_choice
from forestgaps_rasters.prediction.block_mapper import PROBABILITY_STEPS
from forestgaps_rasters.prediction.map_options import MapOptions
from forestgaps_rasters.prediction.predict_raster import predict_raster
from forestgaps_rasters.prediction.window_choice import choose_thread_count, choose_windows
from forestgaps_rasters.prediction.window_grid import WindowGrid, round_up
from forestgaps_rasters.sources.resampling import aggregate_pixels
from forestgaps_rasters.work.executors import ProcessExecutor, ThreadExecutor

SMALL = MapOptions(window=128, overlap=64)


@frozen
class Local:
    """A stand-in whose probability depends on a pixel's elevation and the threshold only."""

    thresholds: tuple[float, ...] = (2.0, 5.0, 10.0)
    resolution_m: float = 1.0

    def __call__(self, dsm: Tensor, valid: Tensor, thresholds: Sequence[float], kept: tuple[slice, slice]) -> Tensor:
        assert dsm.dtype == torch.float32
        assert valid.dtype == torch.bool
        assert dsm.shape == valid.shape
        assert dsm.isfinite().all(), "no NaN may reach a network"
        levels = torch.tensor(thresholds)[None, :, None, None]
        answer: Tensor = torch.sigmoid((levels - (dsm - 400)) / 5)
        return answer[..., *kept]


def expected(surface: np.ndarray, thresholds: Sequence[float]) -> np.ndarray:
    return 1 / (1 + np.exp(-(np.array(thresholds)[:, None, None] - (surface - 400)) / 5))


def terrain(rows: int = 150, columns: int = 210) -> np.ndarray:
    random = np.random.default_rng(4)
    surface = random.normal(404, 8, (rows, columns)).astype(np.float32)
    surface[random.random(surface.shape) < 0.03] = np.nan
    surface[20:90, 100:190] = np.nan
    return surface


@pytest.fixture
def refused(tmp_path, untouched):
    def check(dsm, match: str, thresholds: Sequence[float] = (2,), options: MapOptions = SMALL, predictor=None) -> None:
        untouched()
        with pytest.raises(ForestgapsError, match=match):
            predict_raster(predictor or Local(), dsm, tmp_path / "map", thresholds, options)
        assert untouched(), "something was left on disk"

    return check


def test_one_pass_maps_all_thresholds_without_a_seam(raster, tmp_path) -> None:
    surface = terrain()
    done = predict_raster(Local(), raster("dsm.tif", surface), tmp_path / "map", [5, 2], SMALL)
    truth, valid = expected(surface, [2, 5]), np.isfinite(surface)
    with rasterio.open(done.probabilities) as file:
        scaled = file.read()
        assert file.descriptions == ("gap probability at 2 m", "gap probability at 5 m")
        assert file.scales == (1 / PROBABILITY_STEPS, 1 / PROBABILITY_STEPS)
    assert np.abs(scaled / PROBABILITY_STEPS - truth)[:, valid].max() < 0.5 / PROBABILITY_STEPS + 1e-5
    assert (scaled[:, ~valid] == 255).all()
    with rasterio.open(done.gaps) as file:
        gaps = file.read()
        assert file.descriptions == ("gap at 2 m", "gap at 5 m")
    assert np.array_equal(gaps == 1, (scaled != 255) & (scaled >= 0.5 * PROBABILITY_STEPS)), (
        "what a reader of the probabilities would get"
    )
    assert (gaps[:, ~valid] == 255).all()
    assert done.gap_fraction == pytest.approx({2.0: (gaps[0] == 1).sum() / valid.sum(), 5.0: (gaps[1] == 1).sum() / valid.sum()})


def test_maps_lie_where_the_dsm_lies(raster, tmp_path) -> None:
    dsm = raster("dsm.tif", terrain(40, 50), nodata=-32767)
    done = predict_raster(Local(), dsm, tmp_path / "map", [2], SMALL)
    with rasterio.open(dsm) as source:
        for path in (done.probabilities, done.gaps):
            with rasterio.open(path) as found:
                assert (found.crs, found.transform, found.shape) == (source.crs, source.transform, source.shape)
                assert (found.nodata, found.dtypes[0]) == (255, "uint8")
                assert found.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    files = ["gaps.qlr", "gaps.qml", "gaps.tif", "probabilities.qml", "probabilities.tif"]
    assert sorted(path.name for path in (tmp_path / "map").iterdir()) == files


def test_windows_of_any_size_give_one_map(raster, tmp_path) -> None:
    dsm = raster("dsm.tif", terrain())
    maps = []
    for number, (window, overlap) in enumerate([(512, 128), (64, 0), (128, 64), (192, 64)]):
        options = MapOptions(window=window, overlap=overlap)
        done = predict_raster(Local(), dsm, tmp_path / str(number), [2, 10], options)
        with rasterio.open(done.probabilities) as file:
            maps.append(file.read())
    assert all(np.array_equal(other, maps[0]) for other in maps[1:])


def test_without_thresholds_those_of_the_training_are_mapped(raster, tmp_path) -> None:
    done = predict_raster(Local(), raster("dsm.tif", terrain(40, 40)), tmp_path / "map", (), SMALL)
    assert list(done.gap_fraction) == [2, 5, 10]
    assert done.notes == ()


def test_a_raster_smaller_than_a_window_is_mapped_whole(raster, tmp_path) -> None:
    surface = terrain(7, 5)
    done = predict_raster(Local(), raster("dsm.tif", surface), tmp_path / "map", [2], MapOptions())
    with rasterio.open(done.probabilities) as file:
        assert (
            np.abs(file.read(1) / PROBABILITY_STEPS - expected(surface, [2])[0])[np.isfinite(surface)].max()
            < 0.5 / PROBABILITY_STEPS + 1e-5
        )


def test_a_finer_dsm_is_noted_and_resampled_where_asked(raster, tmp_path) -> None:
    surface = terrain(80, 61)
    dsm = raster("dsm.tif", surface, resolution=0.5)
    done = predict_raster(Local(), dsm, tmp_path / "fine", [2], SMALL)
    assert done.notes == (
        "the DSM has pixels of 0.5 m, the network learned at 1 m: expect a worse map; --resample brings it there",
    )
    done = predict_raster(Local(), dsm, tmp_path / "map", [2], MapOptions(window=64, overlap=0, resample=True))
    assert (done.rows, done.columns, done.resolution_m, done.notes) == (40, 30, 1.0, ())
    top = aggregate_pixels(surface[:, :60], 2, "maximum")
    with rasterio.open(done.probabilities) as file:
        assert file.transform == Affine(1, 0, 500_000, 0, -1, 5_200_000)
        found = file.read(1)
    assert np.array_equal(found == 255, np.isnan(top))
    assert np.abs(found / PROBABILITY_STEPS - expected(top, [2])[0])[np.isfinite(top)].max() < 0.5 / PROBABILITY_STEPS + 1e-5


def test_what_the_network_did_not_learn_is_noted(raster, tmp_path) -> None:
    done = predict_raster(Local(), raster("dsm.tif", terrain(40, 40)), tmp_path / "map", [2, 30], SMALL)
    assert done.notes == ("30 m: outside the thresholds the network was trained for, 2 to 10 m",)


def test_a_dsm_without_crs_is_mapped_once_its_pixels_are_stated(raster, tmp_path, refused) -> None:
    dsm = raster("dsm.tif", terrain(40, 40), crs=None)
    refused(dsm, "has no CRS.*--pixel-size 1")
    done = predict_raster(Local(), dsm, tmp_path / "map", [2], MapOptions(pixel_size_m=1.0))
    assert done.notes == ("the DSM has no CRS, so the maps have none",)


def test_a_degree_based_dsm_is_mapped_in_meters_where_asked(raster, tmp_path, refused) -> None:
    dsm = raster("dsm.tif", np.full((90, 90), 402, np.float32), crs="EPSG:4326",
                 transform=Affine(1.3e-5, 0, -122.6, 0, -0.9e-5, 47.2))  # fmt: skip
    refused(dsm, "in degrees .*--resample --crs EPSG:32610")
    options = MapOptions(window=64, overlap=0, resample=True, crs=parse_crs("EPSG:32610"))
    done = predict_raster(Local(resolution_m=1.5), dsm, tmp_path / "map", [2], options)
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


def test_unknown_units_are_refused_and_declared_feet_are_converted(raster, refused, tmp_path) -> None:
    refused(raster("dsm.tif", terrain(40, 40), unit="fathom"), r"heights are in fathom\. Add --scale FACTOR")
    done = predict_raster(Local(), raster("feet.tif", terrain(40, 40), unit="ft"), tmp_path / "map", (2,), SMALL)
    assert any("declares heights in ft; they are converted" in note for note in done.notes)


def test_an_existing_folder_is_refused(raster, tmp_path, refused) -> None:
    dsm = raster("dsm.tif", terrain(40, 40))
    (tmp_path / "map").mkdir()
    refused(dsm, "exists already")


def test_finer_pixels_than_there_are_are_refused(raster, refused) -> None:
    refused(raster("dsm.tif", terrain(40, 40), resolution=2.0), "cannot add detail", options=MapOptions(resample=True))


@pytest.mark.parametrize(
    "options",
    [MapOptions(window=8), MapOptions(window=500), MapOptions(window=512, overlap=320), MapOptions(decision_threshold=1.0)],
)
def test_impossible_windows_and_cuts_are_refused(raster, refused, options) -> None:
    refused(raster("dsm.tif", terrain(40, 40)), "at most half|between 0 and 1", options=options)


def canopy() -> np.ndarray:
    """A CHM: ground of every 20 m at zero, crowns between."""
    y, x = np.mgrid[:150, :210]
    return (10 * np.abs(np.sin(x / 6) * np.sin(y / 6)) + np.random.default_rng(0).normal(0, 0.05, (150, 210))).astype(np.float32)


def test_canopy_heights_are_refused_unless_a_person_insists(raster, tmp_path, refused) -> None:
    chm = raster("chm.tif", canopy())
    refused(chm, "chm.tif: the ground is near zero everywhere.*looks like canopy heights(.|\n)*--skip-checks")
    done = predict_raster(Local(), chm, tmp_path / "map", [2], MapOptions(skip_checks=True))
    assert "looks like canopy heights" in done.notes[0]


def test_pixels_far_from_those_of_the_training_are_refused(raster, tmp_path, refused) -> None:
    dsm = raster("dsm.tif", terrain(60, 60), resolution=5.0)
    refused(dsm, "pixels of 5 m, the network learned at 1 m, more than 4 times apart.*take a finer DSM")
    done = predict_raster(Local(), dsm, tmp_path / "map", [2], MapOptions(skip_checks=True))
    assert "more than 4 times apart" in done.notes[0]


def test_feet_are_mapped_as_meters_where_asked(raster, tmp_path) -> None:
    surface = terrain(40, 40)
    dsm = raster("dsm.tif", surface / np.float32(0.3048), unit="ft")
    feet = MapOptions(window=128, overlap=64, feet=True)
    done = predict_raster(Local(), dsm, tmp_path / "map", [2], feet)
    with rasterio.open(done.probabilities) as file:
        found = file.read(1)
    valid = np.isfinite(surface)
    assert np.abs(found / PROBABILITY_STEPS - expected(surface, [2])[0])[valid].max() < 0.5 / PROBABILITY_STEPS + 1e-4


def test_a_network_that_diverged_is_refused(raster, refused) -> None:
    class Diverged(Local):
        def __call__(self, dsm: Tensor, valid: Tensor, thresholds: Sequence[float], kept: tuple[slice, slice]) -> Tensor:
            return super().__call__(dsm, valid, thresholds, kept) * torch.nan

    refused(raster("dsm.tif", terrain(40, 40)), "not numbers", predictor=Diverged())


def test_too_little_room_is_told_before(raster, refused, monkeypatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    refused(raster("dsm.tif", terrain(40, 40)), "map: the disk is full; up to 1.6 MB are needed and 1.0 kB are free")


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


def test_a_disk_that_is_full_from_the_first_block_leaves_nothing(raster, tmp_path, untouched) -> None:
    dsm = raster("dsm.tif", np.random.default_rng(0).normal(400, 9, (600, 600)).astype(np.float32))
    untouched()
    with disk_of(10_000), pytest.raises(DiskError, match=r"File too large; the file is larger than.*Nothing was left behind"):
        predict_raster(Local(), dsm, tmp_path / "map", [2, 5], MapOptions(window=256))
    assert untouched()


def test_a_disk_that_fills_on_the_way_keeps_what_is_finished(raster, tmp_path) -> None:
    dsm = raster("dsm.tif", np.random.default_rng(0).normal(400, 9, (600, 600)).astype(np.float32))
    options = MapOptions(window=256)
    with disk_of(300_000), pytest.raises(DiskError, match=r"File too large; the file is larger than.*16 finished parts are kept"):
        predict_raster(Local(), dsm, tmp_path / "map", [2, 5], options)
    assert not (tmp_path / "map").exists()
    done = predict_raster(Local(), dsm, tmp_path / "map", [2, 5], options)
    assert (done.blocks, done.resumed) == (16, 16)


@pytest.mark.parametrize("name", ["gaps.tif", "probabilities.tif"])
def test_a_map_that_does_not_hold_what_was_written_names_that_and_not_a_full_disk(raster, tmp_path, monkeypatch, name) -> None:
    verify = WrittenPixels.verify

    def damaged_first(pixels: WrittenPixels, path: Path, about: Any) -> None:
        if path.name.startswith(name.removesuffix(".tif")):
            with path.open("r+b") as file:
                file.truncate(path.stat().st_size // 2)
        verify(pixels, path, about)

    monkeypatch.setattr(WrittenPixels, "verify", damaged_first)
    dsm = raster("dsm.tif", np.random.default_rng(0).normal(400, 9, (300, 300)).astype(np.float32))
    with pytest.raises(DiskError) as caught:
        predict_raster(Local(), dsm, tmp_path / "map", [2, 5], MapOptions(window=256))
    assert "full" not in str(caught.value)
    assert re.search(
        rf"may not be written or its disk fails \({name.removesuffix('.tif')}.*finished parts are kept", str(caught.value)
    )


# --- the same bytes, however they are computed ------------------------------------------------------------------------


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("executor", [ThreadExecutor(3), ProcessExecutor(2)])
def test_the_maps_do_not_depend_on_who_computes_them(raster, tmp_path, executor) -> None:
    dsm = raster("dsm.tif", terrain(300, 260))
    predict_raster(small(), dsm, tmp_path / "alone", options=SMALL, executor=ThreadExecutor())
    predict_raster(small(), dsm, tmp_path / "many", options=SMALL, executor=executor)
    assert content(tmp_path / "alone") == content(tmp_path / "many")


def test_a_mosaic_is_mapped_as_the_one_raster_it_is(raster, tmp_path) -> None:
    whole = terrain(300, 260)
    for name, columns in (("1.tif", slice(0, 130)), ("2.tif", slice(130, 260))):
        corner = Affine(1, 0, 500_000 + (columns.start or 0), 0, -1, 5_200_000)
        raster(f"tiles/{name}", whole[:, columns], transform=corner)
    predict_raster(small(), raster("dsm.tif", whole), tmp_path / "one", options=SMALL)
    predict_raster(small(), tmp_path / "tiles", tmp_path / "folder", options=SMALL)
    predict_raster(small(), sorted((tmp_path / "tiles").iterdir()), tmp_path / "files", options=SMALL)
    assert content(tmp_path / "one") == content(tmp_path / "folder") == content(tmp_path / "files")


def test_other_windows_change_probabilities_less_than_a_fiftieth(raster, tmp_path) -> None:
    dsm = raster("dsm.tif", terrain(400, 380))
    maps = []
    for number, (window, overlap) in enumerate([(512, 128), (128, 64), (192, 64), (256, 128)]):
        done = predict_raster(small(), dsm, tmp_path / str(number), options=MapOptions(window=window, overlap=overlap))
        with rasterio.open(done.probabilities) as file:
            maps.append(file.read()[:, 16:-16, 16:-16].astype(int))
    assert np.std(maps[0][maps[0] != 255]) > 5, "a map that could differ"
    assert max(np.abs(other - maps[0]).max() for other in maps[1:]) < 0.02 * PROBABILITY_STEPS


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(row=st.integers(0, 70), column=st.integers(0, 70), side=st.sampled_from([0.3, 0.5, 1.0]), eighths=st.integers(0, 8000))
def test_a_crop_gets_the_map_of_the_whole(raster, tmp_path, row, column, side, eighths) -> None:
    """Further from its own edge than the network looks, whatever the number of pixels it is cut by."""
    surface = terrain(200, 190)
    left, top = 500_000 + eighths / 8, 5_200_000 - eighths / 8
    predictor = evolve(small(), resolution_m=side)
    maps = []
    for name, values, x, y in (
        ("whole", surface, left, top),
        ("crop", surface[row:, column:], left + column * side, top - row * side),
    ):
        dsm = raster(f"{name}.tif", values, transform=Affine(side, 0, x, 0, -side, y))
        with TemporaryDirectory(dir=tmp_path) as folder:
            done = predict_raster(predictor, dsm, Path(folder) / "map", options=MapOptions(window=128, overlap=64))
            with rasterio.open(done.probabilities) as file:
                maps.append(file.read().astype(int))
    whole, crop = maps[0][:, row + 16 :, column + 16 :], maps[1][:, 16:, 16:]
    assert np.std(whole[whole != 255]) > 5, "a map that could differ"
    assert np.abs(whole - crop).max() < 0.02 * PROBABILITY_STEPS


def test_windows_are_as_wide_as_the_network_looks() -> None:
    predictor, grid = small(), Grid(None, Affine(1, 0, 0, 0, -1, 0), 20_000, 20_000)

    def windows(**asked: int) -> tuple[int, int, list[str]]:
        window_grid, notes = choose_windows(predictor, grid, MapOptions(**asked))
        axis = window_grid.down
        return round_up(axis.size), axis.starts[0] + axis.size - axis.starts[1], notes

    assert windows()[2] == windows(window=640, overlap=64)[2] == []
    assert (windows()[1], windows(window=640, overlap=64)[1], windows(window=128)[1]) == (128, 64, 64)
    predictor.model.context_pixels = 200
    assert 1600 <= windows()[0] <= 1728, "four times 512 would take more than 2 GB"
    assert windows()[1:] == (512, []), "half of it less the feather, 32, is more than 200"
    for asked in ({"window": 256}, {"window": 640, "overlap": 64}, {"overlap": 128}):
        size, overlap, notes = windows(**asked)
        assert size >= 960 and overlap == 512
        assert re.search("the network looks 200 pixels far, so windows of [0-9]+ pixels that share 512 are used", notes[0])
    predictor.model.multiple = 256
    assert windows(overlap=640)[1] == 768


def test_as_many_windows_at_once_as_fit_the_memory_a_network_says_it_takes(monkeypatch) -> None:
    monkeypatch.setattr(window_choice, "count_cores", lambda: 64)
    predictor, window_grid = small(), WindowGrid.create(8192, 8192, 1024, 128)
    predictor.model.pixel_bytes = 1
    assert choose_thread_count(predictor, window_grid) == 16, "more would wait for one another"
    predictor.model.pixel_bytes = 2**40
    assert choose_thread_count(predictor, window_grid) == 1, "there must be one"


# --- interrupted ------------------------------------------------------------------------------------------------------


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from small_network import small
from forestgaps_rasters.work.executors import ThreadExecutor
from forestgaps_rasters.prediction.predict_raster import predict_raster
from forestgaps_rasters.prediction.map_options import MapOptions
options = MapOptions(window=128, overlap=64)

def report(what, done, total):
    if what == "mapping" and 2 * done > total:  # of the rows
        print("at it", flush=True)
        sys.stdin.read()

predict_raster(small(), Path(sys.argv[2]), Path(sys.argv[3]), options=options, executor=ThreadExecutor(), report=report)
"""


def test_killed_the_same_call_goes_on_to_the_same_bytes(raster, tmp_path) -> None:
    dsm = raster("dsm.tif", terrain(500, 460))
    line = [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(dsm), str(tmp_path / "map")]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "at it\n"
        process.kill()
    assert not (tmp_path / "map").exists()
    done = predict_raster(small(), dsm, tmp_path / "map", options=SMALL)
    assert 8 <= done.resumed < done.blocks
    predict_raster(small(), dsm, tmp_path / "whole", options=SMALL)
    assert content(tmp_path / "map") == content(tmp_path / "whole")
    assert not (tmp_path / "map.partial").exists()


class Interrupted:
    """Computes some blocks, then is interrupted."""

    def execute(self, function, items):
        for item in list(items)[:5]:
            yield item, function(item)
        raise KeyboardInterrupt


def test_interrupted_with_another_network_or_dsm_it_is_refused(raster, tmp_path) -> None:
    dsm = raster("dsm.tif", terrain(300, 260))
    with pytest.raises(KeyboardInterrupt):
        predict_raster(small(), dsm, tmp_path / "map", options=SMALL, executor=Interrupted())
    with pytest.raises(DataError, match=r"map.partial: was started with other inputs or settings.*: network; --restart"):
        predict_raster(small(seed=1), dsm, tmp_path / "map", options=SMALL)
    with pytest.raises(DataError, match=r"thresholds \(2, 5, now 2\)"):
        predict_raster(small(), dsm, tmp_path / "map", [2], SMALL)
    raster("dsm.tif", terrain(300, 260) + 1)
    with pytest.raises(DataError, match=": input files; --restart"):
        predict_raster(small(), dsm, tmp_path / "map", options=SMALL)
    assert predict_raster(small(), dsm, tmp_path / "map", options=SMALL, restart=True).resumed == 0


def virtual(path: Path, source: Path) -> Path:
    with rasterio.open(source) as file:
        size, geo, crs = file.shape, file.transform.to_gdal(), file.crs.to_wkt()
    path.write_text(
        f'<VRTDataset rasterXSize="{size[1]}" rasterYSize="{size[0]}"><SRS>{escape(crs)}</SRS>'
        f"<GeoTransform>{', '.join(map(str, geo))}</GeoTransform>"
        '<VRTRasterBand dataType="Float32" band="1"><NoDataValue>-9999</NoDataValue><SimpleSource>'
        f'<SourceFilename relativeToVRT="1">{source.name}</SourceFilename><SourceBand>1</SourceBand>'
        f'<SrcRect xOff="0" yOff="0" xSize="{size[1]}" ySize="{size[0]}"/><DstRect xOff="0" yOff="0" xSize="{size[1]}" '
        f'ySize="{size[0]}"/></SimpleSource></VRTRasterBand></VRTDataset>'
    )
    return path


@pytest.mark.parametrize("what", ["replaced, with its time", "mask", "georeference", "nested"])
def test_interrupted_and_then_given_another_source_it_is_refused(raster, tmp_path, what) -> None:
    source = raster("source.tif", terrain(300, 260))
    dsm = virtual(tmp_path / "inner.vrt", source)
    if what == "nested":
        dsm = virtual(tmp_path / "outer.vrt", dsm)
    with pytest.raises(KeyboardInterrupt):
        predict_raster(small(), dsm, tmp_path / "map", options=SMALL, executor=Interrupted())
    if what == "mask":
        raster("source.tif.msk", np.zeros((300, 260)), dtype="uint8", nodata=None)
    elif what == "georeference":
        (tmp_path / "source.tfw").write_text("1\n0\n0\n-1\n0\n0\n")
    else:
        about = source.stat()
        raster("source.tif", terrain(300, 260) + 1)
        os.utime(source, ns=(about.st_atime_ns, about.st_mtime_ns))
    with pytest.raises(DataError, match=": input files; --restart"):
        predict_raster(small(), dsm, tmp_path / "map", options=SMALL)
    predict_raster(small(), dsm, tmp_path / "map", options=SMALL, restart=True)
    predict_raster(small(), dsm, tmp_path / "whole", options=SMALL)
    assert content(tmp_path / "map") == content(tmp_path / "whole")


def test_a_source_that_changes_while_it_is_read_makes_no_map(raster, tmp_path) -> None:
    dsm = virtual(tmp_path / "dsm.vrt", raster("source.tif", terrain(300, 260)))

    class Meanwhile:
        def execute(self, function, items):
            for item in items:
                yield item, function(item)
            raster("source.tif", terrain(300, 260) + 1)

    with pytest.raises(DataError, match=r"source\.tif: was changed while the map was made"):
        predict_raster(small(), dsm, tmp_path / "map", options=SMALL, executor=Meanwhile())
    assert not (tmp_path / "map").exists()
    with pytest.raises(DataError, match=": input files; --restart"):
        predict_raster(small(), dsm, tmp_path / "map", options=SMALL)


def test_a_process_that_finds_other_files_computes_nothing(raster, tmp_path) -> None:
    """As another machine of a cluster whose copy is an older one."""
    dsm = raster("dsm.tif", terrain(300, 260))

    class Elsewhere:
        def execute(self, function, items):
            sent = pickle.dumps(function)
            raster("dsm.tif", terrain(300, 260) + 1)
            for item in items:
                yield item, pickle.loads(sent)(item)

    with pytest.raises(DataError, match=r"dsm\.tif: differs on .* from what the map was planned with"):
        predict_raster(small(), dsm, tmp_path / "map", options=SMALL, executor=Elsewhere())
    assert [path.name for path in tmp_path.iterdir()] == ["dsm.tif"]


def test_what_is_added_to_the_maps_has_its_name_with_them_or_not_at_all(raster, tmp_path) -> None:
    dsm = raster("dsm.tif", terrain(300, 260))

    def fails(maps: Path, rasters: Sequence[Path]) -> None:
        (maps / "report.html").write_text("half")
        raise DataError("no report")

    with pytest.raises(DataError, match="no report"):
        predict_raster(small(), dsm, tmp_path / "map", options=SMALL, finish=fails)
    assert not (tmp_path / "map").exists()
    done = predict_raster(small(), dsm, tmp_path / "map", options=SMALL, finish=lambda maps, rasters: None)
    assert done.resumed == done.blocks
    assert "report.html" not in {path.name for path in (tmp_path / "map").iterdir()}


def test_the_summary_is_plain_enough_for_json(raster, tmp_path) -> None:
    done = predict_raster(Local(), raster("dsm.tif", terrain(40, 40)), tmp_path / "map", [2], SMALL)
    assert json.dumps([str(done.gaps), done.rows, done.columns, done.resolution_m, list(done.gap_fraction.values())])


def test_the_read_surface_is_the_file(raster) -> None:
    surface = terrain(30, 20)
    with configure_gdal(), open_band(raster("dsm.tif", surface)) as band:
        assert np.array_equal(band.read(0, 0, 30, 20), surface, equal_nan=True)
