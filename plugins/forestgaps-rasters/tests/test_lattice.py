from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from forestgaps_rasters.lattice import FEATHER, STRIDE, Axis, Lattice, rounded_up

windows = st.integers(1, 20).flatmap(lambda n: st.tuples(st.just(n * STRIDE), st.integers(0, n // 2).map(lambda m: m * STRIDE)))


@given(extent=st.integers(1, 5000), sizes=windows)
def test_windows_lie_on_the_stride_and_hardly_reach_beyond_the_raster(extent, sizes) -> None:
    axis = Axis.over(extent, *sizes)
    assert all(begin % STRIDE == 0 for begin in axis.begins)
    assert list(axis.begins) == sorted(set(axis.begins)), "each where no other is"
    assert axis.size <= sizes[0]
    assert 0 <= axis.begins[-1] + axis.size - extent < STRIDE


@given(extent=st.integers(1, 5000), sizes=windows)
def test_each_pixel_is_kept_once_and_beside_a_border_twice(extent, sizes) -> None:
    axis = Axis.over(extent, *sizes)
    count = np.zeros(extent, int)
    for place in range(len(axis)):
        first, last = axis.kept(place)
        seen_first, seen_last = axis.seen(place)
        assert seen_first <= first < last <= seen_last, "only what was seen is kept"
        count[first:last] += 1
    expected = np.ones(extent, int)
    for border in axis.borders:
        expected[border - axis.feather : border + axis.feather] += 1
    assert np.array_equal(count, expected)


@given(extent=st.integers(1, 5000), sizes=windows)
def test_what_is_kept_lies_far_from_the_window_s_edge(extent, sizes) -> None:
    window, overlap = sizes
    axis = Axis.over(extent, window, overlap)
    for place in range(len(axis)):
        (first, last), (seen_first, seen_last) = axis.kept(place), axis.seen(place)
        halo = overlap // 2 - min(overlap // 8, FEATHER)
        assert first == seen_first == 0 or first - seen_first >= halo
        assert last == seen_last == extent or seen_last - last >= halo


@given(extent=st.integers(1, 5000), sizes=windows)
def test_windows_are_no_wider_than_as_many_must_be(extent, sizes) -> None:
    window, overlap = sizes
    axis = Axis.over(extent, window, overlap)
    as_asked = 1 + max(-(-(extent - window) // (window - overlap)), 0)
    assert len(axis) <= as_asked
    if len(axis) == as_asked > 1:
        beyond = axis.size * as_asked - overlap * (as_asked - 1) - extent
        assert beyond < STRIDE * as_asked, "each could be narrower by a stride"


def test_a_lattice_by_hand() -> None:
    axis = Axis.over(1300, 512, 128)
    assert axis.size == 448, "four windows of 512 would cover 1664 pixels; of 448, 1408"
    assert axis.begins == (0, 320, 640, 896), "the last is moved back: 896 + 448 reaches beyond 1300 by 44"
    assert axis.borders == (384, 704, 1024)
    assert axis.feather == 16
    assert [axis.kept(place) for place in range(4)] == [(0, 400), (368, 720), (688, 1040), (1008, 1300)]


def test_a_raster_smaller_than_a_window_is_one_window() -> None:
    assert Axis.over(10, 512, 128) == Axis(10, 64, (0,), (), 0)
    assert Axis.over(512, 512, 128).begins == (0,)
    assert Axis.over(513, 512, 128).begins == (0, 192)


def test_blocks_go_row_by_row() -> None:
    lattice = Lattice.over(600, 900, 512, 128)
    assert list(lattice) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    assert lattice.shape((0, 0)) == (336, 400), "of windows of 384 by 448"


def test_pixels_are_rounded_up_to_the_stride() -> None:
    assert [rounded_up(pixels) for pixels in (0, 0.5, 64, 65)] == [0, 64, 64, 128]
