from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio import Affine
from rasterio.windows import Window
from test_predicting import Local

from forestgaps_geo.opening import gdal
from forestgaps_geo.sparse import stored_blocks
from forestgaps_rasters import predicting
from forestgaps_rasters.cloud import interruptible
from forestgaps_rasters.predicting import MapOptions, predict_raster

SIDE, BLOCK, PLACE = 1500, 128, (700, 900)
SMALL = MapOptions(window=128, overlap=64, skip_checks=True)


def write(path: Path, *, sparse: bool, nodata: float | None = -9999, south_up: bool = False) -> Path:
    """A survey of 60 x 90 pixels in a raster that is empty elsewhere."""
    values = np.random.default_rng(0).uniform(395, 410, (60, 90)).astype("float32")
    layout = {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "SPARSE_OK": sparse, "compress": "deflate"}
    place = Affine(1, 0, 5e5, 0, 1, 5.2e6 - SIDE) if south_up else Affine(1, 0, 5e5, 0, -1, 5.2e6)
    profile = {"driver": "GTiff", "count": 1, "height": SIDE, "width": SIDE, "dtype": "float32", "crs": "EPSG:32610"}
    with rasterio.open(path, "w", **profile, transform=place, nodata=nodata, **layout) as file:
        if not sparse:
            file.write(np.full((SIDE, SIDE), -9999 if nodata is None else nodata, "float32"), 1)
        row = SIDE - PLACE[0] - 60 if south_up else PLACE[0]
        file.write(values[::-1] if south_up else values, 1, window=Window(PLACE[1], row, 90, 60))
    return path


def test_maps_of_a_sparse_raster_are_those_of_a_full_one_and_stay_sparse(tmp_path, monkeypatch) -> None:
    kept = []
    monkeypatch.setattr(predicting.WorkFolder, "keep", lambda self, item, values, keep=predicting.WorkFolder.keep: (
        kept.append(item), keep(self, item, values)))  # fmt: skip
    found = {}
    for name, options in {
        "full": {"sparse": False},
        "sparse": {"sparse": True},
        "south": {"sparse": True, "south_up": True},
    }.items():
        kept.clear()
        done = predict_raster(Local(), write(tmp_path / f"{name}.tif", **options), tmp_path / name, [2, 5], SMALL)
        with rasterio.open(done.probabilities) as file:
            found[name] = file.read()
            stored = [stored_blocks(file, band) for band in file.indexes]
            assert sum(int(blocks.sum()) for blocks in stored if blocks is not None) <= 8, "blocks without data take no room"
        assert len(kept) < 30 or name == "full", "blocks known to be empty are not computed"
    assert np.isin(found["full"], np.arange(251)).sum() == 2 * 60 * 90
    assert np.array_equal(found["sparse"], found["full"])
    assert np.array_equal(found["south"], found["full"])


def test_blocks_without_bytes_and_without_nodata_hold_zeros_not_nothing(tmp_path) -> None:
    from forestgaps_geo.bands import opened

    path = write(tmp_path / "zeros.tif", sparse=True, nodata=None)
    with gdal(), opened(path) as band:
        assert not band.source.is_empty(0, 0, 100, 100)
    with gdal(), opened(path, nodata=0) as band:
        assert band.source.is_empty(0, 0, 100, 100)
        assert not band.source.is_empty(0, 0, SIDE, SIDE)


def test_room_is_asked_for_what_is_occupied(tmp_path) -> None:
    from forestgaps_geo.grids import Grid

    grid = Grid(None, Affine(1, 0, 0, 0, -1, 0), 40_000, 40_000)
    assert predicting.room(grid, 1, 0.001) < 0.002 * predicting.room(grid, 1)


def test_a_signal_ends_the_wait_for_gdal_at_once() -> None:
    """The call in the other thread goes on; the main thread does not wait for it."""
    free, stopped = threading.Event(), threading.Event()

    def busy() -> None:
        signal.raise_signal(signal.SIGUSR1)
        free.wait(60)
        stopped.set()

    def raised(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, raised)
    try:
        with pytest.raises(KeyboardInterrupt):
            interruptible(busy)
        assert not stopped.is_set()
    finally:
        signal.signal(signal.SIGUSR1, before)
        free.set()
        from forestgaps_core import ending

        ending._abandoned.clear()


def test_an_error_of_the_call_is_raised() -> None:
    def fail() -> None:
        time.sleep(0)
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        interruptible(fail)
