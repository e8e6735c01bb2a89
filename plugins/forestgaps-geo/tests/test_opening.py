from __future__ import annotations

import numpy as np
import pytest
import rasterio
from rasterio import Affine

from forestgaps_core.errors import DataError
from forestgaps_geo.files.opening import open_raster

PLACE = {"crs": "EPSG:32632", "transform": Affine(1, 0, 500000, 0, -1, 5300000)}


def test_opened_geotiff_reads_what_was_written(tmp_path):
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    with rasterio.open(tmp_path / "dsm.tif", "w", driver="GTiff", height=3, width=4, count=1, dtype="float32", **PLACE) as file:
        file.write(values, 1)
    with open_raster(tmp_path / "dsm.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(1), values)


def test_opened_text_file_is_refused_with_its_path(tmp_path):
    (tmp_path / "dsm.tif").write_text("not a raster")
    with pytest.raises(DataError, match=r"dsm\.tif"), open_raster(tmp_path / "dsm.tif"):
        pass


def test_opened_virtual_raster_follows_a_nested_one_that_is_replaced(tmp_path):
    """In one process, as a notebook does."""
    for name, value in (("a", 1), ("b", 2)):
        with rasterio.open(
            tmp_path / f"{name}.tif", "w", driver="GTiff", height=3, width=4, count=1, dtype="uint8", **PLACE
        ) as file:
            file.write(np.full((1, 3, 4), value, np.uint8))

    def name(file, source):
        (tmp_path / file).write_text(
            '<VRTDataset rasterXSize="4" rasterYSize="3"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
            f'<SourceFilename relativeToVRT="1">{source}</SourceFilename><SourceBand>1</SourceBand>'
            "</SimpleSource></VRTRasterBand></VRTDataset>"
        )

    def value():
        with open_raster(tmp_path / "outer.vrt") as dataset:
            return int(dataset.read(1)[0, 0])

    name("outer.vrt", "middle.vrt")
    name("middle.vrt", "inner.vrt")
    name("inner.vrt", "a.tif")
    assert value() == 1
    name("inner.vrt", "b.tif")
    assert value() == 2
