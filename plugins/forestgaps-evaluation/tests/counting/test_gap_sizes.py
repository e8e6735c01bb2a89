from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from forestgaps_evaluation.counting.gap_sizes import GapSizes, count_gap_sizes


def plain(mask) -> list[int]:
    """Flood fill, pixel by pixel."""
    left, found = {(int(y), int(x)) for y, x in np.argwhere(mask)}, []
    while left:
        front, area = [left.pop()], 0
        while front:
            y, x = front.pop()
            area += 1
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            front += near
        found.append(area)
    return sorted(found)


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_sizes_are_those_of_a_flood_fill(mask):
    assert sorted(count_gap_sizes(mask).tolist()) == plain(mask)


def test_corners_join_gaps():
    assert count_gap_sizes(np.eye(4, dtype=bool)).tolist() == [4]


def test_numbers_of_a_set_of_gaps():
    sizes = GapSizes.from_pixels(np.array([1, 10, 1, 4]), 2.0)
    assert sizes.areas_m2.tolist() == [4, 4, 16, 40]
    assert (len(sizes), sizes.median_m2, sizes.largest_m2) == (4, 10, 40)
    assert sizes.half_m2 == 40  # 40 of 64 square meters
    assert sizes.at_least(np.array([1.0, 4, 5, 40])).tolist() == [4, 4, 2, 1]
    assert np.isnan(sizes.at_least(np.array([41.0]))).all()


def test_without_gaps_there_is_no_size():
    sizes = GapSizes.from_pixels(count_gap_sizes(np.zeros((3, 3), bool)), 1.0)
    assert len(sizes) == 0
    assert np.isnan([sizes.median_m2, sizes.largest_m2, sizes.half_m2]).all()


@given(st.lists(st.integers(1, 500), min_size=1, max_size=40))
def test_half_the_area_lies_in_gaps_of_half_area_size(pixels):
    sizes = GapSizes.from_pixels(np.array(pixels), 1.0)
    large = sizes.areas_m2[sizes.areas_m2 >= sizes.half_m2].sum()
    larger = sizes.areas_m2[sizes.areas_m2 > sizes.half_m2].sum()
    assert large * 2 >= sizes.areas_m2.sum()
    assert larger * 2 <= sizes.areas_m2.sum()


def test_gap_sizes_need_two_dimensions():
    with pytest.raises(RuntimeError):
        count_gap_sizes(np.ones(3, bool))
