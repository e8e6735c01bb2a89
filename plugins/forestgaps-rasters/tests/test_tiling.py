from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from rasterio import Affine

from forestgaps_rasters.prediction.window_grid import (
    MAX_FEATHER_PIXELS,
    STRIDE_PIXELS,
    WindowAxis,
    WindowGrid,
    compute_first_pixel,
    round_up,
)

windows = st.integers(1, 20).flatmap(
    lambda n: st.tuples(st.just(n * STRIDE_PIXELS), st.integers(0, n // 2).map(lambda m: m * STRIDE_PIXELS))
)


firsts = st.integers(-(10**7), 10**7)


@given(extent=st.integers(1, 5000), sizes=windows, first=firsts)
def test_windows_lie_on_the_stride_and_hardly_reach_beyond_the_raster(extent, sizes, first) -> None:
    axis = WindowAxis.create(extent, *sizes, first=first)
    assert all((first + begin) % STRIDE_PIXELS == 0 for begin in axis.starts), "on the ground"
    assert -STRIDE_PIXELS < axis.starts[0] <= 0
    assert list(axis.starts) == sorted(set(axis.starts)), "each where no other is"
    assert axis.size <= sizes[0]
    assert 0 <= axis.starts[-1] + axis.size - extent < STRIDE_PIXELS


@given(extent=st.integers(1, 5000), sizes=windows, first=firsts)
def test_each_pixel_is_kept_once_and_beside_a_border_twice(extent, sizes, first) -> None:
    axis = WindowAxis.create(extent, *sizes, first=first)
    count = np.zeros(extent, int)
    for place in range(len(axis)):
        begin, end = axis.get_kept_range(place)
        seen_begin, seen_end = axis.get_read_range(place)
        assert seen_begin <= begin < end <= seen_end, "only what was seen is kept"
        count[begin:end] += 1
    expected = np.ones(extent, int)
    for border in axis.borders:
        expected[border - axis.feather : border + axis.feather] += 1
    assert np.array_equal(count, expected)


@given(extent=st.integers(1, 5000), sizes=windows, first=firsts)
def test_what_is_kept_lies_far_from_the_window_s_edge(extent, sizes, first) -> None:
    window, overlap = sizes
    axis = WindowAxis.create(extent, window, overlap, first=first)
    for place in range(len(axis)):
        (begin, end), (seen_begin, seen_end) = axis.get_kept_range(place), axis.get_read_range(place)
        halo = overlap // 2 - min(overlap // 8, MAX_FEATHER_PIXELS)
        assert begin == seen_begin == 0 or begin - seen_begin >= halo
        assert end == seen_end == extent or seen_end - end >= halo


@given(extent=st.integers(1, 5000), sizes=windows, first=firsts)
def test_windows_are_no_wider_than_as_many_must_be(extent, sizes, first) -> None:
    window, overlap = sizes
    axis = WindowAxis.create(extent, window, overlap, first=first)
    extent -= axis.starts[0]
    as_asked = 1 + max(-(-(extent - window) // (window - overlap)), 0)
    assert len(axis) <= as_asked
    if len(axis) == as_asked > 1:
        beyond = axis.size * as_asked - overlap * (as_asked - 1) - extent
        assert beyond < STRIDE_PIXELS * as_asked, "each could be narrower by a stride"


def test_a_lattice_by_hand() -> None:
    axis = WindowAxis.create(1300, 512, 128)
    assert axis.size == 448, "four windows of 512 would cover 1664 pixels; of 448, 1408"
    assert axis.starts == (0, 320, 640, 896), "the last is moved back: 896 + 448 reaches beyond 1300 by 44"
    assert axis.borders == (384, 704, 1024)
    assert axis.feather == 16
    assert [axis.get_kept_range(place) for place in range(4)] == [(0, 400), (368, 720), (688, 1040), (1008, 1300)]


def test_a_lattice_by_hand_of_a_raster_that_begins_between_two_multiples_of_the_stride() -> None:
    axis = WindowAxis.create(1300, 512, 128, first=-7812 * STRIDE_PIXELS + 44)
    assert axis.starts == (-44, 276, 596, 852), "1344 pixels from the multiple before: as by hand above, and none beyond"
    assert axis.borders == (340, 660, 980)
    assert [axis.get_read_range(place) for place in (0, 3)] == [(0, 404), (852, 1300)]
    assert [axis.get_kept_range(place) for place in range(4)] == [(0, 356), (324, 676), (644, 996), (964, 1300)]


@given(
    row=st.integers(0, 5000),
    column=st.integers(0, 5000),
    side=st.sampled_from([0.1, 0.25, 0.3, 0.5, 1.0, 1.5, 3.28084, 2.0]),
    shift=st.sampled_from([0.0, 0.1, 0.25, 1 / 3, 0.5, 2 / 3, 0.75, 0.9]),
    corner=st.tuples(st.integers(-(10**6), 10**6), st.integers(-(10**7), 10**7)),
)
def test_a_crop_has_its_pixels_where_the_whole_has_them(row, column, side, shift, corner) -> None:
    """Whatever part of a pixel the grid is shifted by, and after the rounding of its coordinates."""
    left, top = ((place + shift) * side for place in corner)
    whole = compute_first_pixel(Affine(side, 0, left, 0, -side, top))
    crop = compute_first_pixel(Affine(side, 0, round(left + column * side, 6), 0, -side, round(top - row * side, 6)))
    assert crop == (whole[0] + row, whole[1] + column)


def test_a_raster_without_georeference_begins_at_the_stride() -> None:
    assert compute_first_pixel(Affine(1, 0, 0, 0, -1, 0)) == compute_first_pixel(Affine.identity()) == (0, 0)


def test_a_raster_smaller_than_a_window_is_one_window() -> None:
    assert WindowAxis.create(10, 512, 128) == WindowAxis(10, 64, (0,), (), 0)
    assert WindowAxis.create(512, 512, 128).starts == (0,)
    assert WindowAxis.create(513, 512, 128).starts == (0, 192)


def test_blocks_go_row_by_row() -> None:
    window_grid = WindowGrid.create(600, 900, 512, 128)
    assert list(window_grid) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    assert window_grid.shape((0, 0)) == (336, 400), "of windows of 384 by 448"


def test_pixels_are_rounded_up_to_the_stride() -> None:
    assert [round_up(pixels) for pixels in (0, 0.5, 64, 65)] == [0, 64, 64, 128]
