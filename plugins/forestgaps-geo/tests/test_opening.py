from __future__ import annotations

import numpy as np
import pytest
import rasterio
from rasterio import Affine

from forestgaps_core.errors import DataError
from forestgaps_geo.opening import opened

PLACE = {"crs": "EPSG:32632", "transform": Affine(1, 0, 500000, 0, -1, 5300000)}


def test_opened_geotiff_reads_what_was_written(tmp_path):
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    with rasterio.open(tmp_path / "dsm.tif", "w", driver="GTiff", height=3, width=4, count=1, dtype="float32", **PLACE) as file:
        file.write(values, 1)
    with opened(tmp_path / "dsm.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(1), values)


def test_opened_text_file_is_refused_with_its_path(tmp_path):
    (tmp_path / "dsm.tif").write_text("not a raster")
    with pytest.raises(DataError, match=r"dsm\.tif"), opened(tmp_path / "dsm.tif"):
        pass
