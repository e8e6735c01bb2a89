from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from forestgaps_core.components import Tile
from forestgaps_core.errors import DataError
from forestgaps_pretrained.scores import FILTERS, crop_to_data, find_best_filter, is_evaluated, load_filters, mean_iou, score_area

masks = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30)


@given(masks)
def test_mean_iou_equals_that_of_sets(pairs) -> None:
    gap, truth = (np.array(column) for column in zip(*pairs, strict=True))
    expected = []
    for answer in (True, False):
        one, other = ({i for i, value in enumerate(column) if value == answer} for column in (gap, truth))
        expected.append(len(one & other) / len(one | other) if one | other else 1.0)
    assert mean_iou(gap, truth) == pytest.approx(sum(expected) / 2)
    assert mean_iou(~gap, ~truth) == mean_iou(gap, truth)


def flat_forest(size: int = 64) -> Tile:
    """A flat plain under 20 m of canopy with a square hole, and a strip without data."""
    height = torch.full((size, size), 20.0)
    height[20:44, 20:44] = 0.0
    valid = torch.ones((size, size), dtype=torch.bool)
    valid[:8] = False
    return Tile(dsm=torch.where(valid, 100 + height, -9999.0), height=torch.where(valid, height, -9999.0), valid=valid)


def test_score_area_of_a_perfect_mapper_is_1() -> None:
    tile = crop_to_data(flat_forest())
    assert tile.dsm.shape == (56, 64)

    def perfect(dsm, valid, thresholds):
        heights = dsm - 100
        return torch.cat([(heights < t).float() for t in thresholds], 1)

    rows = score_area(perfect, "plain", tile, 1.0, (2.0, 10.0, 25.0))
    fraction = 24 * 24 / (56 * 64)
    assert [row["network"] for row in rows] == [1.0, 1.0, 1.0]
    assert rows[0]["gap_fraction"] == pytest.approx(fraction)
    assert rows[0]["baseline"] == pytest.approx((1 - fraction) / 2)
    assert rows[2]["baseline"] == 1.0
    assert rows[0]["opening"] > 0.95
    assert is_evaluated(rows[0])
    assert not is_evaluated(rows[2])
    assert find_best_filter(rows[0])[1] == max(rows[0][label] for label in FILTERS)


def test_score_area_of_a_constant_map_is_the_baseline() -> None:
    tile = crop_to_data(flat_forest())
    tile.height[10:] = torch.where(tile.valid[10:], 0.0, tile.height[10:])
    (row,) = score_area(lambda dsm, valid, levels: torch.ones((1, len(levels), *dsm.shape[2:])), "low", tile, 1.0, (5.0,))
    assert row["network"] == row["baseline"]
    assert row["gap_fraction"] > 0.5


def test_crop_to_data_without_data_is_an_error() -> None:
    empty = Tile(dsm=torch.zeros(4, 4), height=torch.zeros(4, 4), valid=torch.zeros(4, 4, dtype=torch.bool))
    with pytest.raises(DataError, match="no data at all"):
        crop_to_data(empty)


@pytest.mark.parametrize("name", FILTERS)
def test_filter_is_below_the_surface_and_follows_the_elevation(name) -> None:
    rows, columns = np.mgrid[:60, :50]
    terrain = 300 + 0.2 * rows + 0.1 * columns
    canopy = 15 * (np.random.default_rng(0).random((60, 50)) < 0.7)
    dsm = terrain + canopy
    dsm[:3, :3] = np.nan
    estimate_ground = load_filters()[name]
    ground = estimate_ground(dsm, 1.0)
    known = np.isfinite(dsm)
    assert (ground[known] <= dsm[known] + 1e-9).all()
    assert np.abs(ground - terrain)[known].mean() < 2.5
    assert estimate_ground(dsm + 500, 1.0)[known] == pytest.approx(ground[known] + 500, abs=1e-6)
