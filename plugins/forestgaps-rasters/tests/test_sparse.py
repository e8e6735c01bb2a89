from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio import Affine
from rasterio.windows import Window
from test_predicting import Local

from forestgaps_geo.bands import band as bands
from forestgaps_geo.bands import elevation_checks
from forestgaps_geo.bands.sparse_blocks import find_stored_blocks
from forestgaps_geo.bands.value_band import ValueBand
from forestgaps_geo.checks.window_statistics import sample_windows
from forestgaps_geo.files.gdal import configure_gdal
from forestgaps_rasters.prediction import cog
from forestgaps_rasters.prediction import predict_raster as predicting
from forestgaps_rasters.prediction.cog import CogWriter, run_in_thread
from forestgaps_rasters.prediction.map_options import MapOptions
from forestgaps_rasters.prediction.predict_raster import predict_raster

SIDE, BLOCK, PLACE = 1500, 128, (700, 900)
SMALL = MapOptions(window=128, overlap=64, skip_checks=True)


def write(path: Path, *, sparse: bool, nodata: float | None = -9999, south_up: bool = False, side: int = SIDE) -> Path:
    """A survey of 60 x 90 pixels in a raster that is empty elsewhere."""
    values = np.random.default_rng(0).uniform(395, 410, (60, 90)).astype("float32")
    layout = {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "SPARSE_OK": sparse, "compress": "deflate"}
    place = Affine(1, 0, 5e5, 0, 1, 5.2e6 - side) if south_up else Affine(1, 0, 5e5, 0, -1, 5.2e6)
    profile = {"driver": "GTiff", "count": 1, "height": side, "width": side, "dtype": "float32", "crs": "EPSG:32610"}
    with rasterio.open(path, "w", **profile, transform=place, nodata=nodata, **layout) as file:
        if not sparse:
            file.write(np.full((side, side), -9999 if nodata is None else nodata, "float32"), 1)
        row = side - PLACE[0] - 60 if south_up else PLACE[0]
        file.write(values[::-1] if south_up else values, 1, window=Window(PLACE[1], row, 90, 60))
    return path


def test_maps_of_a_sparse_raster_are_those_of_a_full_one_and_stay_sparse(tmp_path, monkeypatch) -> None:
    kept = []
    monkeypatch.setattr(predicting.WorkFolder, "write_block", lambda self, item, values, keep=predicting.WorkFolder.write_block: (
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
            stored = [find_stored_blocks(file, band) for band in file.indexes]
            assert sum(int(blocks.sum()) for blocks in stored if blocks is not None) <= 8, "blocks without data take no room"
        assert len(kept) < 30, "blocks known to be empty are not computed"
    assert np.isin(found["full"], np.arange(251)).sum() == 2 * 60 * 90
    assert np.array_equal(found["sparse"], found["full"])
    assert np.array_equal(found["south"], found["full"])


def mosaic(folder: Path, side: int) -> Path:
    """Two surveys, in a VRT that is empty elsewhere."""
    folder.mkdir()
    random = np.random.default_rng(1)
    parts = []
    for number, (row, column) in enumerate((PLACE, (side - 60, side - 90))):
        place = Affine(1, 0, 5e5 + column, 0, -1, 5.2e6 - row)
        with rasterio.open(folder / f"{number}.tif", "w", driver="GTiff", height=60, width=90, count=1, dtype="float32",
                           crs="EPSG:32610", transform=place, nodata=-9999) as file:  # fmt: skip
            file.write(random.uniform(395, 410, (60, 90)).astype("float32"), 1)
        size = 'xSize="90" ySize="60"'
        parts.append(
            f'<SimpleSource><SourceFilename relativeToVRT="1">{number}.tif</SourceFilename><SourceBand>1</SourceBand>'
            f'<SrcRect xOff="0" yOff="0" {size}/><DstRect xOff="{column}" yOff="{row}" {size}/></SimpleSource>'
        )
    path = folder / "mosaic.vrt"
    path.write_text(
        f'<VRTDataset rasterXSize="{side}" rasterYSize="{side}"><SRS>EPSG:32610</SRS>'
        "<GeoTransform>5e5, 1, 0, 5.2e6, 0, -1</GeoTransform>"
        f'<VRTRasterBand dataType="Float32" band="1"><NoDataValue>-9999</NoDataValue>{"".join(parts)}</VRTRasterBand></VRTDataset>'
    )
    return path


KINDS = {
    "sparse": lambda folder, side: write(folder / f"{side}.tif", sparse=True, side=side),
    "compressed nodata": lambda folder, side: write(folder / f"{side}.tif", sparse=False, side=side),
    "virtual": lambda folder, side: mosaic(folder / str(side), side),
    "files": lambda folder, side: sorted(mosaic(folder / str(side), side).parent.glob("*.tif")),
}


def counted_work(monkeypatch: pytest.MonkeyPatch, dsm: Path | list[Path], out: Path, side: int) -> Counter[str]:
    """Pixels that were read and written, blocks that were computed, while a map was made."""
    work: Counter[str] = Counter()

    def count(owner: Any, name: str, label: str, size: Callable[..., int]) -> None:
        original = getattr(owner, name)

        def counting(*arguments: Any, **options: Any) -> Any:
            work[label] += size(*arguments)
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, counting)

    with monkeypatch.context() as monkeypatch:
        monkeypatch.setattr(elevation_checks, "STRIP_PIXELS", 64 * side)
        count(ValueBand, "read", "read", lambda band, row, column, rows, columns: rows * columns)
        count(predicting.WorkFolder, "write_block", "computed", lambda *_: 1)
        count(CogWriter, "write", "written", lambda file, row, values, column: values.size)
        count(cog.NewRaster, "write", "overviews", lambda file, values, row, column: values.size > 0)
        predict_raster(Local(), dsm, out, [2], SMALL)
    return work


@pytest.mark.parametrize("kind", KINDS)
def test_work_is_that_of_what_holds_data_however_large_the_raster(tmp_path, monkeypatch, kind: str) -> None:
    small, large = (
        counted_work(monkeypatch, KINDS[kind](tmp_path, side), tmp_path / f"map of {side}", side)
        for side in (SIDE + 36, 2 * SIDE + 72)
    )
    surveys = 1 if kind in ("sparse", "compressed nodata") else 2
    assert large["read"] <= 1.05 * small["read"]
    assert large["written"] <= 1.05 * small["written"]
    assert 0 < large["computed"] <= 1.05 * small["computed"] <= 30 * surveys
    assert large["overviews"] <= small["overviews"] + 4 * surveys, "one or two more levels, two files"


@pytest.mark.parametrize("flips", [(1, -1), (1, 1), (-1, -1), (-1, 1)])
@pytest.mark.parametrize("sparse", [True, False])
def test_what_is_known_to_be_empty_holds_nothing(tmp_path, flips, sparse: bool) -> None:
    """In rasters whose rows and columns run either way, with blocks of many kinds."""
    random = np.random.default_rng(3)
    side, block = 300, 32
    values = np.full((side, side), -9999, "float32")
    values[40:70, 200:290] = 5  # constant blocks, compressed as well as nodata
    values[150, 10:200] = random.uniform(0, 9, 190)
    values[-1, -1] = 1
    profile = {"driver": "GTiff", "count": 1, "height": side, "width": side, "dtype": "float32", "nodata": -9999}
    layout = {"tiled": True, "blockxsize": block, "blockysize": block, "SPARSE_OK": sparse, "compress": "deflate"}
    place = Affine(flips[0], 0, 5e5, 0, flips[1], 5.2e6)
    with rasterio.open(tmp_path / "a.tif", "w", **profile, **layout, crs="EPSG:32610", transform=place) as file:
        file.write(values, 1)
    with configure_gdal(), bands.open_band(tmp_path / "a.tif") as band:
        whole = band.read(0, 0, side, side)
        assert np.isfinite(whole).sum() == 30 * 90 + 190 + 1
        empty = 0
        for row in range(0, side, 20):
            found = np.full((20, side), np.nan, np.float32)
            for first, columns in band.source.column_ranges(row, 20):
                found[:, first : first + columns] = band.read(row, first, 20, columns)
            assert np.array_equal(found, whole[row : row + 20], equal_nan=True)
            for column in range(0, side, 20):
                if band.source.is_empty(row, column, 20, 20):
                    empty += 1
                    assert np.isnan(whole[row : row + 20, column : column + 20]).all()
        assert empty > 100, "most of the 225 windows"


def test_samples_lie_where_a_sparse_raster_holds_data(tmp_path) -> None:
    with configure_gdal(), bands.open_band(write(tmp_path / "a.tif", sparse=True, side=40_000)) as band:
        (sample,) = sample_windows(band)
    assert sample.valid == 60 * 90


def test_blocks_without_bytes_and_without_nodata_hold_zeros_not_nothing(tmp_path) -> None:
    from forestgaps_geo.bands.band import open_band

    path = write(tmp_path / "zeros.tif", sparse=True, nodata=None)
    with configure_gdal(), open_band(path) as band:
        assert not band.source.is_empty(0, 0, 100, 100)
    with configure_gdal(), open_band(path, nodata=0) as band:
        assert band.source.is_empty(0, 0, 100, 100)
        assert not band.source.is_empty(0, 0, SIDE, SIDE)


def test_room_is_asked_for_what_is_occupied(tmp_path) -> None:
    from forestgaps_geo.grids.grid import Grid

    grid = Grid(None, Affine(1, 0, 0, 0, -1, 0), 40_000, 40_000)
    assert predicting.estimate_disk_bytes(grid, 1, 0.001) < 0.002 * predicting.estimate_disk_bytes(grid, 1)


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
            run_in_thread(busy)
        assert not stopped.is_set()
    finally:
        signal.signal(signal.SIGUSR1, before)
        free.set()
        from forestgaps_core.cli import exit as ending

        ending._abandoned.clear()


def test_an_error_of_the_call_is_raised() -> None:
    def fail() -> None:
        time.sleep(0)
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        run_in_thread(fail)
