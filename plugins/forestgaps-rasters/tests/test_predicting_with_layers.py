"""Maps of networks that need further input layers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from small_network import colored
from test_further_layers import rgb, write_bands

from forestgaps_core.errors import DataError
from forestgaps_rasters.prediction.map_options import MapOptions
from forestgaps_rasters.prediction.predict_raster import predict_raster
from forestgaps_rasters.work.executors import ProcessExecutor


def test_a_map_shows_what_the_layers_show_in_windows_and_processes(site: Callable[..., Path], tmp_path: Path) -> None:
    folder, bands = site("ridge", 150, 140), rgb(150, 140)
    path = write_bands(tmp_path / "ortho.tif", bands)
    options = MapOptions(window=128, overlap=64, layers={"rgb": path})
    done = predict_raster(colored(), folder / "dsm.tif", tmp_path / "maps", (2.0, 5.0), options)
    with rasterio.open(done.probabilities) as raster, rasterio.open(folder / "dsm.tif") as dsm:
        found, valid = raster.read(), dsm.read(1) != -9999
    flat = torch.zeros(1, 1, 150, 140)
    expected = colored()(flat, flat == 0, (2.0, 5.0), layers={"rgb": torch.from_numpy(bands[None]).float()})
    assert np.array_equal(found[:, valid], (expected[0].numpy() * 250).round().astype(np.uint8)[:, valid])
    assert (found[:, ~valid] == 255).all()
    again = predict_raster(colored(), folder / "dsm.tif", tmp_path / "again", (2.0, 5.0), options, executor=ProcessExecutor(2))
    assert again.probabilities.read_bytes() == done.probabilities.read_bytes()


@pytest.mark.parametrize(
    ("layers", "sentence"),
    [
        ({}, r"needs the layer 'rgb' \(3 bands\); add --layer rgb=FILE"),
        ({"rbg": "ortho.tif"}, r"add --layer rgb=FILE\n--layer rbg: .* no such layer \(did you mean 'rgb'\?\); it takes: rgb"),
        ({"rgb": "one.tif"}, "one.tif has 1 band of values, the network was trained with 3"),
        ({"rgb": "none.tif"}, "layer 'rgb': .*none.tif: no such file"),
        ({"rgb": "zone.tif"}, "zone.tif is in EPSG:32611, the DSM in EPSG:32610; bring it there:\n  gdalwarp"),
        ({"rgb": "far.tif"}, "does not overlap the DSM"),
    ],
)
def test_wrong_layers_are_refused_and_nothing_is_written(
    site: Callable[..., Path], tmp_path: Path, layers: dict[str, str], sentence: str
) -> None:
    folder = site("ridge")
    write_bands(tmp_path / "ortho.tif", rgb())
    write_bands(tmp_path / "one.tif", rgb(bands=1))
    write_bands(tmp_path / "zone.tif", rgb(), crs="EPSG:32611")
    write_bands(tmp_path / "far.tif", rgb(), transform=rasterio.Affine(1, 0, 900_000, 0, -1, 5_200_000))
    before = sorted(tmp_path.rglob("*"))
    options = MapOptions(layers={name: tmp_path / file for name, file in layers.items()})
    with pytest.raises(DataError, match=sentence):
        predict_raster(colored(), folder / "dsm.tif", tmp_path / "maps", (2.0,), options)
    assert sorted(tmp_path.rglob("*")) == before
