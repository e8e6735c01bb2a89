from __future__ import annotations

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from forestgaps_geo.grids.windows import Window, iterate_strips, iterate_windows

SIZES = st.integers(1, 40)


@given(rows=SIZES, columns=SIZES, window_rows=SIZES, window_columns=SIZES)
def test_windows_cover_each_pixel_once_in_row_order(rows, columns, window_rows, window_columns):
    covered = np.zeros((rows, columns), int)
    windows = list(iterate_windows(rows, columns, window_rows, window_columns))
    for window in windows:
        assert covered[window.slices].shape == (window.rows, window.columns)
        covered[window.slices] += 1
    assert (covered == 1).all()
    assert windows == sorted(windows)


@pytest.mark.parametrize(("pixels", "rows"), [(1, 1), (10, 1), (25, 2), (1000, 7)])
def test_strips_hold_whole_rows_within_the_number_of_pixels(pixels, rows):
    strips = list(iterate_strips(7, 10, pixels))
    assert {strip.columns for strip in strips} == {10}
    assert strips[0].rows == rows
    assert sum(strip.rows for strip in strips) == 7


@pytest.mark.parametrize(("rows", "columns"), [(0, 4), (4, 0), (0, 0)])
def test_an_empty_raster_has_no_strips(rows, columns):
    assert list(iterate_strips(rows, columns)) == []


def test_rasterio_reads_and_writes_the_slices_of_a_window(tmp_path):
    grid = {"width": 5, "height": 4, "transform": rasterio.Affine(1, 0, 0, 0, -1, 4)}
    values, window = np.arange(6, dtype=np.uint8).reshape(2, 3), Window(1, 2, 2, 3)
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", count=1, dtype="uint8", **grid) as dataset:
        dataset.write(values, 1, window=window.slices)
    with rasterio.open(tmp_path / "a.tif") as dataset:
        assert (dataset.read(1)[window.slices] == values).all()
        assert (dataset.read(1, window=window.slices) == values).all()
