from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from forestgaps_gaps.detection.nearest import measure_nearest
from forestgaps_gaps.rasters.grid import Pixel
from forestgaps_geo.gap_labeling import label_raster


def found(mask: np.ndarray, *, step: int = 100, connectivity: int = 8, pixel: Pixel | None = None) -> np.ndarray:
    labels = label_raster(lambda row, rows: mask[row : row + rows], *mask.shape, connectivity=connectivity, step=step)
    return measure_nearest(labels, pixel or Pixel())


def brute(labels: np.ndarray, pixel: Pixel) -> np.ndarray:
    """All pairs of pixels of all pairs of gaps."""
    places = [np.argwhere(labels == number) for number in range(1, labels.max(initial=0) + 1)]
    nearest = np.full(len(places), np.nan)
    for i, one in enumerate(places):
        for j, other in enumerate(places):
            if i != j:
                between = np.maximum(np.abs(one[:, None] - other[None]) - 1, 0) * (pixel.height_m, pixel.width_m)
                nearest[i] = np.fmin(nearest[i], np.hypot(*between.reshape(-1, 2).T).min())
    return nearest


@settings(max_examples=60)
@given(
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=22),
    st.floats(0.02, 0.5),
    st.integers(0, 2**32 - 1),
    st.integers(1, 23),
    st.sampled_from([4, 8]),
    st.sampled_from([Pixel(), Pixel(0.5, 1.5), Pixel(3.0, 0.25)]),
)
def test_distances_are_those_of_all_pairs_whatever_the_strips(shape, share, seed, step, connectivity, pixel) -> None:
    from forestgaps_geo.gap_labeling import label_array

    mask = np.random.default_rng(seed).random(shape) < share
    expected = brute(label_array(mask, connectivity), pixel)
    np.testing.assert_allclose(found(mask, step=step, connectivity=connectivity, pixel=pixel), expected, rtol=1e-12)


def test_one_row_of_canopy_is_one_pixel_of_distance() -> None:
    mask = np.zeros((9, 9), bool)
    mask[0], mask[2], mask[8, 0] = True, True, True
    assert found(mask).tolist() == [1, 1, 5]


def test_gaps_that_touch_at_a_corner_have_no_distance() -> None:
    assert found(np.eye(3, dtype=bool), connectivity=4).tolist() == [0, 0, 0]


def test_a_gap_alone_has_no_neighbor() -> None:
    assert np.isnan(found(np.eye(3, dtype=bool))).tolist() == [True]
    assert found(np.zeros((3, 3), bool)).tolist() == []


def test_a_gap_within_another_is_near_to_it() -> None:
    mask = np.ones((41, 41), bool)
    mask[1:40, 1:40] = False
    mask[20, 20] = True
    assert found(mask, step=4).tolist() == [19, 19]


@pytest.mark.parametrize("step", [1, 5, 300])
def test_neighbors_are_found_across_empty_strips(step) -> None:
    mask = np.zeros((300, 40), bool)
    mask[3, 2] = mask[290, 35] = True
    assert found(mask, step=step) == pytest.approx([np.hypot(286, 32)] * 2)
