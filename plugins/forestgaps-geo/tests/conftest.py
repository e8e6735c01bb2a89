"""Small synthetic rasters; none is of a real survey."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from forestgaps_geo.testing.synthetic_rasters import write_raster

Raster = Callable[..., Path]


@pytest.fixture
def raster(tmp_path: Path) -> Raster:
    return partial(write_raster, tmp_path)
