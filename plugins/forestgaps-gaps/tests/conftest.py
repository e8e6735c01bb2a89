"""Small made-up rasters, and plain ways to know what is right."""

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
    """Write an array, (rows, columns) or (bands, rows, columns), as a GeoTIFF; 1 m pixels in EPSG:32610 unless said otherwise."""

    def write(name: str, values: NDArray[Any], *, descriptions: tuple[str, ...] = (), unit: str = "", **profile: Any) -> Path:
        path = tmp_path / name
        planes = values[None] if values.ndim == 2 else values
        settings = {"crs": "EPSG:32610", "transform": Affine(1, 0, 500_000, 0, -1, 5_200_000), "nodata": None} | profile
        size = {"count": len(planes), "height": planes.shape[1], "width": planes.shape[2]}
        with rasterio.open(path, "w", driver="GTiff", dtype=planes.dtype, **size, **settings) as file:
            file.write(planes)
            if descriptions:
                file.descriptions = descriptions
            if unit:
                file.units = [unit] * len(planes)
        return path

    return write


@pytest.fixture
def wood() -> Callable[..., NDArray[np.float32]]:
    """Canopy heights with gaps of many sizes."""

    def grown(rows: int, columns: int, seed: int = 0) -> NDArray[np.float32]:
        from scipy.ndimage import gaussian_filter

        random = np.random.default_rng(seed)
        noise = sum(gaussian_filter(random.standard_normal((rows, columns)), s) * s for s in (0.7, 2, 5))
        return np.maximum(12 + 9 * noise, 0).astype(np.float32)

    return grown
