from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantized_networks_of_tests import about

from forestgaps_core.errors import CheckpointError
from forestgaps_core.plugins.registry import Plugins
from forestgaps_quantization.surfaces import SIDE, read_run_surfaces, split_surfaces, spread


def run(**data: object) -> dict[str, object]:
    plan = about("unet")
    plan["config"]["data"] = {"name": "landscapes", "train": 1, "validation": 1, "test": 1, "size_px": 64, "tile_px": 32} | data
    plan["components"]["data"] = {"name": "landscapes", "distribution": "forestgaps-landscapes", "version": "0.1.0"}
    return plan


def test_a_run_gives_its_own_validation_tiles() -> None:
    pytest.importorskip("forestgaps_landscapes")
    found = read_run_surfaces(run(), Plugins.discover(), Path("best.safetensors"), 3)
    assert [tuple(tile.dsm.shape) for tile in found] == [(1, 1, 32, 32)] * 3
    assert all(tile.dsm.isfinite().all() and tile.valid.any() for tile in found)


def test_data_that_are_gone_are_reported() -> None:
    with pytest.raises(CheckpointError, match=r"cannot be opened .*--calibrate-with DSM.tif"):
        read_run_surfaces(run(name="prepared_elsewhere"), Plugins.discover(), Path("best.safetensors"), 3)


@given(height=st.integers(1, 3000), width=st.integers(1, 3000), count=st.integers(1, 40))
def test_tiles_are_spread_over_a_raster_without_overlap(height: int, width: int, count: int) -> None:
    windows = list(spread(height, width, count))
    assert windows[0] == ((0, min(SIDE, height)), (0, min(SIDE, width)))
    assert all(0 <= a < b <= height and 0 <= c < d <= width for (a, b), (c, d) in windows)
    assert len(set(windows)) == len(windows)
    whole = -(-height // SIDE) * -(-width // SIDE)
    assert min(count, whole) <= len(windows) <= whole


def test_comparing_is_done_on_other_tiles() -> None:
    first, second = split_surfaces(list(range(5)))  # type: ignore[arg-type]  # whatever they are
    assert (list(first), list(second)) == ([0, 2, 4], [1, 3])
    assert split_surfaces([0]) == ([0], [0])  # type: ignore[list-item]
