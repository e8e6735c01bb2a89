"""A folder of maps as `forestgaps predict` writes it, with the surface model beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio


def write_example_maps(
    folder: Path,
    dsm: str = "dsm.tif",
    *,
    shape: tuple[int, int] = (96, 96),
    crs: Any = "EPSG:2193",
    names: Sequence[str] = ("gap at 5 m", "gap at 10 m"),
    tags: Mapping[str, str] | None = None,
) -> Path:
    """Write `probabilities.tif`, `gaps.tif` and the surface model; return the surface model."""
    rows, columns = shape
    height = np.add.outer(np.sin(np.arange(rows) / 9) * 9, np.cos(np.arange(columns) / 7) * 9) + 12
    grid = {"driver": "GTiff", "height": rows, "width": columns, "crs": crs, "transform": rasterio.Affine(1, 0, 1e6, 0, -1, 5e6)}
    chances = np.rint(250 / (1 + np.exp(height - np.array([5, 10])[:, None, None]))).astype(np.uint8)
    maps = {"probabilities.tif": (chances, 1 / 250), "gaps.tif": ((chances >= 125).astype(np.uint8), 1.0)}
    for name, (values, scale) in maps.items():
        with rasterio.open(folder / name, "w", count=2, dtype="uint8", nodata=255, **grid) as file:
            file.write(values)
            file.descriptions, file.scales = names, (scale, scale)
            file.update_tags(**(tags or {}))
    with rasterio.open(folder / dsm, "w", count=1, dtype="float32", **grid) as file:
        file.write(height[None].astype(np.float32))
    return folder / dsm
