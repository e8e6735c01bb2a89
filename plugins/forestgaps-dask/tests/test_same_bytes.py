"""The map of a cluster is that of one process, also when a worker is killed on the way."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

np = pytest.importorskip("numpy")
rasterio = pytest.importorskip("rasterio")
predicting = pytest.importorskip("forestgaps_rasters.prediction.predict_raster")

from forestgaps_dask.executor import DaskExecutor  # noqa: E402 - after what it needs was seen to be there


class KillsOneWorker:
    """The executor, with a worker killed after the tenth result."""

    def __init__(self, cluster) -> None:
        self.cluster = cluster
        self.killed = 0

    def execute(self, function, items):
        for number, pair in enumerate(DaskExecutor(self.cluster.scheduler_address).execute(function, items)):
            if number == 10:
                self.killed = next(iter(self.cluster.workers.values())).pid
                os.kill(self.killed, signal.SIGKILL)
            yield pair


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_maps_of_a_cluster_that_loses_a_worker_are_the_same_to_the_byte(mortal, tmp_path) -> None:
    from slow_network import slow_predictor

    random = np.random.default_rng(0)
    surface = random.normal(404, 8, (440, 400)).astype(np.float32)
    surface[100:220, 200:320] = np.nan
    profile = {"driver": "GTiff", "count": 1, "dtype": "float32", "nodata": np.nan, "crs": "EPSG:32610"}
    transform = rasterio.Affine(1, 0, 500_000, 0, -1, 5_200_000)
    with rasterio.open(tmp_path / "dsm.tif", "w", height=440, width=400, transform=transform, **profile) as file:
        file.write(surface, 1)
    options = predicting.MapOptions(window=128, overlap=64)
    executor = KillsOneWorker(mortal)
    predicting.predict_raster(slow_predictor(), tmp_path / "dsm.tif", tmp_path / "cluster", options=options, executor=executor)
    predicting.predict_raster(slow_predictor(), tmp_path / "dsm.tif", tmp_path / "alone", options=options)
    assert executor.killed
    assert content(tmp_path / "cluster") == content(tmp_path / "alone")
