from __future__ import annotations

import attrs
import numpy as np
import pytest

from forestgaps_evaluation.counting.tile_counts import count_split
from forestgaps_evaluation.protocol.strata import make_strata


@pytest.fixture
def tile_counts(trained):
    return count_split(trained, "test", (2.0, 10.0))


def test_every_tile_is_in_one_class_of_each_kind(tile_counts):
    found = make_strata(tile_counts)
    for by in ("site", "slope", "canopy cover"):
        assert sum(stratum.tiles.astype(int) for stratum in found if stratum.by == by).tolist() == [1] * 8
    assert [stratum.label for stratum in found if stratum.by == "slope"] == ["0-10°", "10-20°", "20-30°", "over 30°"]


def test_borders_belong_to_the_class_above_and_unknown_slopes_to_none(tile_counts):
    slopes = np.array([0, 9.99, 10, 20, 30, 89, np.nan, np.nan])
    covers = np.array([0, 0.24, 0.25, 0.5, 0.75, 1, 1, np.nan])
    found = {
        f"{one.by} {one.label}": np.nonzero(one.tiles)[0].tolist()
        for one in make_strata(attrs.evolve(tile_counts, sites=(), slope_deg=slopes, canopy_cover=covers))
    }
    assert found == {
        "slope 0-10°": [0, 1],
        "slope 10-20°": [2],
        "slope 20-30°": [3],
        "slope over 30°": [4, 5],
        "canopy cover 0-25 %": [0, 1],
        "canopy cover 25-50 %": [2],
        "canopy cover 50-75 %": [3],
        "canopy cover 75-100 %": [4, 5, 6],
    }


def test_classes_without_a_tile_are_left_out(tile_counts):
    flat = attrs.evolve(tile_counts, sites=("hill",) * 8, slope_deg=np.zeros(8), canopy_cover=np.full(8, 0.9))
    assert [(one.by, one.label, int(one.tiles.sum())) for one in make_strata(flat)] == [
        ("slope", "0-10°", 8), ("canopy cover", "75-100 %", 8)
    ]  # fmt: skip
