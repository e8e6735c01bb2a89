"""Small made-up rasters; nothing here was ever surveyed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio import Affine

Raster = Callable[..., Path]


@pytest.fixture
def raster(tmp_path: Path) -> Raster:
    """Write an array as a GeoTIFF of 1 m pixels in EPSG:32610, unless said otherwise."""

    def write(name: str, values: NDArray[Any], *, resolution: float = 1.0, nodata: float | None = -9999, **profile: Any) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        settings = {"crs": "EPSG:32610", "transform": Affine(resolution, 0, 500_000, 0, -resolution, 5_200_000)} | profile
        stored = values if nodata is None else np.where(np.isnan(values), nodata, values)
        size = {"height": values.shape[0], "width": values.shape[1]}
        kind = settings.pop("dtype", "float32")
        unit = settings.pop("unit", None)
        with rasterio.open(path, "w", driver="GTiff", count=1, dtype=kind, nodata=nodata, **size, **settings) as file:
            file.write(stored.astype(kind), 1)
            if unit:
                file.units = [unit]
        return path

    return write
