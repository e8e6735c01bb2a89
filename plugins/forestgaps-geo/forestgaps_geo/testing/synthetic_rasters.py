"""Write small synthetic rasters for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio import Affine


def write_raster(
    folder: Path, name: str, values: NDArray[Any], *, resolution: float = 1.0, nodata: float | None = -9999, **profile: Any
) -> Path:
    """Write an array as a GeoTIFF and return its path. NaN becomes nodata.

    Args:
        profile: As for `rasterio.open`, by default pixels of 1 m in EPSG:32610; and `unit`, the unit of the band.
    """
    path = folder / name
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
