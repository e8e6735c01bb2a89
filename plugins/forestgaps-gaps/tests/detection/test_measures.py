from __future__ import annotations

from math import pi

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from forestgaps_gaps.detection.gap_table import GapTable
from forestgaps_gaps.detection.measures import Measures
from forestgaps_gaps.rasters.grid import Pixel
from forestgaps_geo.gap_labeling import label_raster

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=14)


def measured(
    gap: np.ndarray, known: np.ndarray, height: np.ndarray | None, *, step: int, connectivity: int = 8, pixel: Pixel | None = None
) -> GapTable:
    labels = label_raster(lambda row, rows: gap[row : row + rows], *gap.shape, connectivity=connectivity, step=step)
    measures = Measures(labels.count, gap.shape[1], connectivity)
    for strip in labels.strips():
        rows = slice(strip.row, strip.row + len(strip.local))
        measures.add(strip, known[rows], None if height is None else height[rows])
    measures.finish()
    count = labels.count
    return measures.make_table(np.arange(1, count + 1), np.zeros(count), pixel or Pixel(), 5.0)


@given(st.data(), SHAPES, st.integers(1, 15), st.sampled_from([4, 8]))
def test_every_number_is_that_of_the_plain_way(data, shape, step, connectivity) -> None:
    gap = data.draw(hnp.arrays(bool, shape))
    known = data.draw(hnp.arrays(bool, shape)) | gap
    heights = st.one_of(st.just(float("nan")), st.floats(-2, 40, width=32))
    height = data.draw(hnp.arrays(np.float32, shape, elements=heights))
    pixel = Pixel(0.5, 2.0, 100.0, 900.0, 0.5, -2.0)
    table = measured(gap, known, height, step=step, connectivity=connectivity, pixel=pixel)
    square = np.ones((3, 3)) if connectivity == 8 else None
    labels, count = ndimage.label(gap, square)
    lost = ndimage.binary_dilation(np.pad(~known, 1, constant_values=True), np.ones((3, 3)) if connectivity == 8 else None)[
        1:-1, 1:-1
    ]
    assert len(table) == count
    for i in range(count):
        row, column = np.nonzero(labels == i + 1)
        inside = height[row, column].astype(float)
        inside = inside[~np.isnan(inside)]
        framed = np.pad(labels == i + 1, 1)
        upright, level = (framed[:, 1:] != framed[:, :-1]).sum(), (framed[1:] != framed[:-1]).sum()
        assert (table.pixels[i], table.area_m2[i]) == (len(row), len(row))
        assert table.perimeter_m[i] == upright * 2.0 + level * 0.5
        assert table.shape_index[i] == pytest.approx(table.perimeter_m[i] / (2 * (pi * len(row)) ** 0.5))
        assert table.row[i] == pytest.approx(row.mean() + 0.5)
        assert table.column[i] == pytest.approx(column.mean() + 0.5)
        assert table.x[i] == pytest.approx(100 + 0.5 * (column.mean() + 0.5))
        assert table.y[i] == pytest.approx(900 - 2.0 * (row.mean() + 0.5))
        box = (table.first_row[i], table.last_row[i], table.first_column[i], table.last_column[i])
        assert box == (row.min(), row.max(), column.min(), column.max())
        assert table.touches_edge[i] == lost[row, column].any()
        found = (table.height_mean[i], table.height_max[i], table.height_min[i], table.height_sd[i])
        if len(inside):
            assert found == pytest.approx((inside.mean(), inside.max(), inside.min(), inside.std()), abs=1e-6)
        else:
            assert np.isnan(found).all()


def test_a_square_pixel_has_the_shape_index_of_a_square() -> None:
    gap = np.zeros((5, 5), bool)
    gap[2, 2] = True
    table = measured(gap, np.ones_like(gap), None, step=2)
    assert table.perimeter_m[0] == 4
    assert table.shape_index[0] == pytest.approx(1.1284, abs=1e-4)
    assert not table.touches_edge[0]
    assert np.isnan(table.height_mean[0]) and np.isnan(table.height_sd[0])


def test_a_hole_counts_in_the_outline() -> None:
    gap = np.zeros((7, 7), bool)
    gap[1:6, 1:6] = True
    gap[3, 3] = False
    assert measured(gap, np.ones_like(gap), None, step=3).perimeter_m[0] == 20 + 4


def test_spread_survives_an_offset() -> None:
    """Sums of squares in float64 lose all digits of this one."""
    height = np.full((300, 300), 1e8)
    height[::2] += 1e-3
    gap = np.ones(height.shape, bool)
    table = measured(gap, gap, height, step=7)
    assert table.height_sd[0] == pytest.approx(height.std(), rel=1e-3)


def test_a_gap_beside_a_void_may_be_larger_than_seen() -> None:
    gap, known = np.zeros((9, 9), bool), np.ones((9, 9), bool)
    gap[2, 2] = gap[5, 5] = True
    known[3, 3] = False  # touches the first at its corner
    assert measured(gap, known, None, step=3).touches_edge.tolist() == [True, False]
    assert measured(gap, known, None, step=3, connectivity=4).touches_edge.tolist() == [False, False]
