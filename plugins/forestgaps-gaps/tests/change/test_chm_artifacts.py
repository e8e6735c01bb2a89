from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from forestgaps_gaps.change.chm_artifacts import HeightCounts

SURVEYS = Path(os.environ.get("FORESTGAPS_DATA", ""))


def count_heights(height: np.ndarray) -> HeightCounts:
    counts = HeightCounts()
    counts.add(height)
    return counts


def test_a_dent_is_found_where_it_is() -> None:
    height = np.random.default_rng(0).uniform(0, 40, 100_000)
    assert count_heights(height).find_missing_levels() == ()
    keep = (height < 9.5) | (height >= 10) | (np.arange(len(height)) % 2 == 0)
    assert count_heights(height[keep]).find_missing_levels() == (10,)


@given(st.integers(0, 2**32), st.floats(1, 30), st.floats(1, 15))
def test_smooth_canopies_have_none(seed, mean, spread) -> None:
    height = np.abs(np.random.default_rng(seed).normal(mean, spread, 3000))
    assert len(count_heights(height).find_missing_levels()) <= 1, "chance may make one, not two"


def test_a_trough_between_ground_and_canopy_is_no_dent() -> None:
    random = np.random.default_rng(1)
    height = np.concatenate([random.exponential(0.3, 50_000), random.normal(18, 4, 50_000)])
    assert count_heights(height).find_missing_levels() == ()


def test_parts_add_up_and_what_is_no_height_is_left_out() -> None:
    counts = HeightCounts()
    counts.add(np.array([[1.0, np.nan], [-0.3, 250.0]]))
    counts.add(np.array([0.9, 1.2]))
    assert counts.counts.sum() == 3
    assert counts.counts[1] == 1 and counts.counts[2] == 2


@pytest.mark.surveys
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_of_real_surveys_only_the_one_made_in_layers_is_dented() -> None:
    found = {}
    for path in sorted(SURVEYS.glob("*/chm.tif")):
        with rasterio.open(path) as file:
            found[path.parent.name] = count_heights(file.read(1, masked=True).filled(np.nan)).find_missing_levels()
    assert {name: levels for name, levels in found.items() if levels} == {"br_cauaxi_2014": (5, 10, 15, 20)}
