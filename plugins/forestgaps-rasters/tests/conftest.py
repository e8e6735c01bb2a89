"""Small synthetic rasters; none is of a real survey."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from forestgaps_geo.testing.synthetic_rasters import write_raster

sys.path.insert(0, str(Path(__file__).parent))  # `small_network`, for the tests and for processes they start

Raster = Callable[..., Path]


@pytest.fixture
def raster(tmp_path: Path) -> Raster:
    return partial(write_raster, tmp_path)


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
