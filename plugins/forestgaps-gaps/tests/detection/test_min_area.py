from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from forestgaps_core.testing import check_postprocessor
from forestgaps_gaps.detection.min_area import MinArea, SmallGapFilter


@pytest.mark.parametrize("connectivity", [4, 8])
def test_min_area_keeps_the_contract(connectivity) -> None:
    check_postprocessor(MinArea(connectivity=connectivity))
    check_postprocessor(MinArea(area_m2=20, connectivity=connectivity))


@pytest.mark.parametrize("connectivity", [4, 8])
def test_it_removes_what_an_independent_labeling_calls_small(connectivity) -> None:
    gaps = np.random.default_rng(1).random((3, 80, 90)) < np.array([0.2, 0.35, 0.6])[:, None, None]
    found = SmallGapFilter(6, connectivity)(gaps, np.ones((80, 90), np.bool_))
    for plane, result in zip(gaps, found, strict=True):
        labels, count = ndimage.label(plane, ndimage.generate_binary_structure(2, 1 if connectivity == 4 else 2))
        sizes = ndimage.sum_labels(plane, labels, np.arange(count + 1))
        assert np.array_equal(result, plane & (sizes[labels] >= 6))


def test_the_area_is_counted_in_pixels_of_the_map() -> None:
    assert MinArea().build(0.5) == SmallGapFilter(16, 8)
    assert MinArea(area_m2=5).build(2.0) == SmallGapFilter(2, 8)
    assert MinArea().build(10.0).halo == 0


def test_a_map_of_gaps_only_and_one_without_gaps_stay() -> None:
    for value in (True, False):
        gaps = np.full((1, 20, 20), value)
        assert np.array_equal(SmallGapFilter(4, 8)(gaps, np.ones((20, 20), np.bool_)), gaps)
