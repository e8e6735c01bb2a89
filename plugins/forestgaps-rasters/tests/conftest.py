"""Small made-up rasters; nothing here was ever surveyed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio import Affine

sys.path.insert(0, str(Path(__file__).parent))  # `small_network`, for the tests and for processes they start

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


@pytest.fixture
def site(raster: Raster) -> Callable[..., Path]:
    """A folder with the dsm.tif, dtm.tif and chm.tif of a hilly wood with some holes in the survey."""

    def write(name: str, rows: int = 90, columns: int = 70, *, seed: int = 0, layers: str = "dsm dtm chm", **options: Any) -> Path:
        planes = wood(rows, columns, seed)
        for layer in layers.split():
            raster(f"{name}/{layer}.tif", planes[layer], **options)
        return raster(f"{name}/dsm.tif", planes["dsm"], **options).parent

    return write


def wood(rows: int, columns: int, seed: int) -> dict[str, NDArray[np.float32]]:
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :columns]
    dtm = (400 + 0.2 * y + 5 * np.sin(x / 15)).astype(np.float32)
    chm = np.maximum(random.normal(8, 6, (rows, columns)), 0).astype(np.float32)
    hole = random.random((rows, columns)) < 0.03
    dtm[hole] = np.nan
    return {"dsm": dtm + chm, "dtm": dtm, "chm": (dtm + chm) - dtm}


@pytest.fixture
def untouched(tmp_path: Path) -> Callable[[], bool]:
    """Whether the folder holds what it held at the first call, and nothing else."""
    seen: list[set[Path]] = []

    def same() -> bool:
        seen.append(set(tmp_path.rglob("*")))
        return seen[0] == seen[-1]

    return same
