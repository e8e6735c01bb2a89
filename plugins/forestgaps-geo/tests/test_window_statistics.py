from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forestgaps_geo.bands.band import open_band
from forestgaps_geo.checks.surface_shapes import compute_cell_extremes, count_patches, find_enclosed, find_jumps
from forestgaps_geo.checks.window_statistics import MAX_WINDOWS, WINDOW_PIXELS, choose_cell_side, sample_windows, spread_windows
from forestgaps_geo.files.gdal import configure_gdal


@given(st.integers(1, 60_000), st.integers(1, 60_000))
def test_windows_are_few_inside_and_spread_to_the_edges(rows: int, columns: int) -> None:
    found = list(spread_windows(rows, columns))
    assert 1 <= len(found) <= MAX_WINDOWS
    assert len(set(found)) == len(found)
    for top, left, height, width in found:
        assert 0 <= top < top + height <= rows
        assert 0 <= left < left + width <= columns
    assert min(top for top, *_ in found) == min(left for _, left, *_ in found) == 0
    if min(rows, columns) > 4 * WINDOW_PIXELS and max(rows, columns) < 6 * min(rows, columns):
        assert max(top + height for top, _, height, _ in found) == rows
        assert max(left + width for _, left, _, width in found) == columns
        assert len(found) > MAX_WINDOWS / 3


def test_a_small_raster_is_seen_whole() -> None:
    seen = np.zeros((1300, 2100), int)
    for top, left, height, width in spread_windows(1300, 2100):
        seen[top : top + height, left : left + width] += 1
    assert (seen == 1).all()


def test_cells_are_64_m_or_so_small_that_nine_fit() -> None:
    assert choose_cell_side(5000, 5000, 1.0) == 64
    assert choose_cell_side(5000, 5000, 0.5) == 128
    assert choose_cell_side(200, 200, 0.5) == 64, "128 pixels would leave one cell"
    assert choose_cell_side(30, 30, 1.0) == 8
    assert choose_cell_side(3, 5, 1.0) == 3


@given(st.integers(0, 10_000), st.integers(2, 9))
def test_extremes_are_those_of_plain_loops(seed: int, side: int) -> None:
    random = np.random.default_rng(seed)
    values = random.normal(0, 5, (23, 31)).astype(np.float32)
    values[random.random(values.shape) < random.random()] = np.nan
    lows, highs = [], []
    for row in range(0, 23 - side + 1, side):
        for column in range(0, 31 - side + 1, side):
            inside = [float(v) for v in values[row : row + side, column : column + side].ravel() if not np.isnan(v)]
            if 2 * len(inside) >= side * side:
                lows.append(min(inside))
                highs.append(max(inside))
    found = compute_cell_extremes(values, side)
    assert found[0].tolist() == lows
    assert found[1].tolist() == highs


def test_holes_have_data_on_four_sides_and_borders_have_not() -> None:
    values = np.ones((20, 30), np.float32)
    values[:, :5] = np.nan
    values[8:12, 10:14] = np.nan
    hole = find_enclosed(values) & np.isnan(values)
    assert hole.sum() == 16
    assert hole[8:12, 10:14].all()


def test_level_and_tilted_patches_are_counted_separately() -> None:
    random = np.random.default_rng(0)
    values = random.normal(300, 1, (64, 64)).astype(np.float32)
    values[:8, :32] = 7.5
    y, x = np.mgrid[:8, :16]
    values[8:16, :16] = 300 + 0.3 * y - 0.1 * x
    assert count_patches(values) == (64, 4, 2, 0)
    values[0, 0] = np.nan
    assert count_patches(values) == (63, 3, 2, 0)


def rough(rows: int = 512, columns: int = 512, seed: int = 0) -> np.ndarray:
    """Bumps of some 7 pixels, alike in all directions, on a slope."""
    noise = np.fft.rfft2(np.random.default_rng(seed).normal(0, 1, (rows, columns)))
    far = np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns))
    bumps = np.fft.irfft2(noise * np.exp(-((far / 0.07) ** 2)), s=(rows, columns))
    y, x = np.mgrid[:rows, :columns]
    return (500 + 0.3 * x - 0.1 * y + 4 * bumps / bumps.std()).astype(np.float32)


def test_a_step_through_the_window_is_found_with_its_place_and_size() -> None:
    values = rough()
    values[:, 301:] += 2.5
    found = find_jumps(values)
    assert found.places.tolist() == [300]
    assert found.sizes == pytest.approx([2.5], abs=0.5)
    assert find_jumps(values.T).places.size == 0


@pytest.mark.parametrize("seed", range(5))
def test_forest_on_a_slope_has_no_steps(seed: int) -> None:
    assert find_jumps(rough(seed=seed)).places.size == 0


def test_a_step_over_part_of_the_window_is_none() -> None:
    values = rough()
    values[:300, 301:] += 2.5
    assert find_jumps(values).places.size == 0


def test_narrow_or_empty_windows_have_no_steps() -> None:
    assert find_jumps(rough()[:50]).places.size == 0
    assert find_jumps(rough()[:, :20]).places.size == 0
    assert find_jumps(np.full((512, 512), np.nan, np.float32)).places.size == 0


def test_a_sample_counts_what_the_file_holds(raster) -> None:
    values = rough(100, 130)
    values[40:50, 60:70] = np.nan
    values[0, :5] = 0
    with configure_gdal(), open_band(raster("a.tif", values)) as band:
        (one,) = sample_windows(band)
    assert one.window == (0, 0, 100, 130)
    assert (one.valid, one.void, one.zeros) == (12_900, 100, 5)
    assert (one.low, one.high) == (0, np.nanmax(values))
    assert one.least == np.nanmin(values[values > 0])
    assert one.on_step[0] == (np.abs(values - np.rint(values)) < 2e-3).sum()


def test_windows_without_data_are_passed_over(raster) -> None:
    values = np.full((600, 600), np.nan, np.float32)
    values[:20, :20] = 3
    with configure_gdal(), open_band(raster("a.tif", values)) as band:
        assert [one.window[:2] for one in sample_windows(band)] == [(0, 0)]
