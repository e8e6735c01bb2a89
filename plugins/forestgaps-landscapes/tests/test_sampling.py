from __future__ import annotations

import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forestgaps_core.config.converter import structure
from forestgaps_core.data.class_balance import ClassBalance
from forestgaps_core.errors import ConfigError, DataError
from forestgaps_core.runtime.rng import random_numbers
from forestgaps_core.testing import check_config, check_data
from forestgaps_landscapes.data import Landscapes
from forestgaps_landscapes.sampling import LandscapeStack, find_center_tiles, list_tile_places, measure_tiles

SMALL = {"train": 3, "validation": 1, "test": 1, "size_px": 96, "tile_px": 32, "samples_per_epoch": 20}
GAPS = ClassBalance(balance="gaps", thresholds=(5.0, 10.0), gap_fractions=(0.1, 0.3))


@pytest.mark.parametrize("sampling", [GAPS, ClassBalance(balance="slope", slopes_deg=(5.0, 10.0), evenness=0.5)])
def test_contract(sampling):
    check_data(Landscapes(sampling=sampling, **SMALL))
    check_config(Landscapes(sampling=sampling))


def test_classes_of_gap_fraction_come_equally_often():
    data = Landscapes(sampling=ClassBalance(balance="gaps", thresholds=(5.0,), gap_fractions=(0.1, 0.3)), **SMALL).build()
    strata, places = data.train.strata, data.train.places
    shares = measure_tiles(data.train.landscapes, find_center_tiles(places), 32, GAPS, 1.0)[0]
    kinds = torch.bucketize(shares, torch.tensor([0.1, 0.3], dtype=torch.float64), right=True)
    assert len(strata) == len(kinds.unique())
    numbers = torch.rand((2000, 2), generator=torch.Generator().manual_seed(0)).tolist()
    drawn = kinds[[strata.place(strata.stratum(kind), where) for kind, where in numbers]]
    often = torch.bincount(drawn, minlength=3)[kinds.unique()] / len(numbers)
    assert (often - 1 / len(strata)).abs().max() < 5 * math.sqrt(0.25 / len(numbers))


def test_balanced_tiles_have_more_gaps_than_others_where_gaps_are_rare():
    def share(sampling: ClassBalance) -> float:
        train = Landscapes(gap_fraction=(0.01, 0.03), forest="rainforest", sampling=sampling, **SMALL).build().train
        tiles = [train.read(0, draw) for draw in random_numbers(0, 0, torch.arange(300)).tolist()]
        return torch.stack([(tile.height < 5)[tile.valid].float().mean() for tile in tiles]).mean().item()

    assert share(GAPS) > 1.2 * share(ClassBalance())


@given(begins=st.integers(1, 40), step=st.integers(1, 50))
def test_every_tile_is_in_one_place(begins, step):
    seen = torch.zeros((2, begins, begins))
    for landscape, row, column, rows, columns in list_tile_places(2, begins, step).tolist():
        assert max(rows, columns) <= step
        seen[landscape, row : row + rows, column : column + columns] += 1
    assert (seen == 1).all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), lost=st.sampled_from([0.0, 0.3, 1.0]))
def test_gap_fractions_are_those_counted_tile_by_tile(seed, lost):
    generator = torch.Generator().manual_seed(seed)
    height = torch.rand((2, 24, 24), generator=generator) * 12
    stack = LandscapeStack(height, height, torch.rand(height.shape, generator=generator) >= lost)
    places = find_center_tiles(list_tile_places(2, 17, 5))
    found = measure_tiles(stack, places, 8, GAPS, 1.0)
    for n, (landscape, row, column) in enumerate(places.tolist()):
        tile = stack.tile(landscape, row, column, 8)
        for k, threshold in enumerate(GAPS.thresholds):
            expected = (tile.height < threshold)[tile.valid].double().mean().item()
            assert found[k, n].item() == pytest.approx(expected, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("resolution_m", [0.5, 2.0])
def test_the_slope_of_a_plane_is_its_slope_whatever_stands_on_it(resolution_m):
    x = torch.arange(96.0)[None, :].expand(96, 96) * resolution_m
    height = torch.rand((96, 96), generator=torch.Generator().manual_seed(0)) * 30
    stack = LandscapeStack((500 + x * math.tan(math.radians(25)) + height)[None], height[None], torch.ones(1, 96, 96) > 0)
    slopes = measure_tiles(stack, torch.tensor([[0, 30, 30], [0, 40, 25]]), 32, ClassBalance(balance="slope"), resolution_m)
    assert slopes.tolist() == [[pytest.approx(25.0, abs=0.05)] * 2]


def test_a_fixed_tile_is_of_the_stratum_training_would_put_it_in():
    data = Landscapes(sampling=GAPS, **SMALL).build()
    assert data.validation.strata.shape == (2, len(data.validation))
    for index in range(len(data.validation)):
        tile = data.validation.read(index, 0)
        for k, threshold in enumerate(GAPS.thresholds):
            kind = sum((tile.height < threshold)[tile.valid].double().mean().item() >= border for border in GAPS.gap_fractions)
            assert data.validation.strata[k, index] == data.train.strata.numbers[k, kind]


def test_emphasis_changes_what_is_sampled_and_nothing_else():
    train = Landscapes(sampling=GAPS, **SMALL).build().train
    before = [train.read(0, draw).dsm for draw in range(20)]
    train.strata.emphasize([9.0] + [1.0] * (len(train.strata) - 1))
    after = [train.read(0, draw).dsm for draw in range(20)]
    assert not all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    train.strata.emphasize([1.0] * len(train.strata))
    assert all(torch.equal(one, train.read(0, draw).dsm) for draw, one in enumerate(before))
    assert torch.equal(pickle.loads(pickle.dumps(train)).read(0, 3).dsm, before[3])


def test_one_class_alone_cannot_be_balanced():
    with pytest.raises(DataError, match="'gaps', but all training tiles are of one class"):
        Landscapes(sampling=ClassBalance(balance="gaps", thresholds=(199.0,)), **SMALL).build()


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"balance": "site"}, "expected one of 'none', 'gaps', 'slope'"),
        ({"thresholds": [5, 2]}, "strictly ascending"),
        ({"gap_fractions": [0.5, 20]}, "gap_fractions"),
        ({"slopes_deg": []}, "slopes_deg"),
        ({"evenness": -1}, "evenness"),
    ],
)
def test_mistakes_in_a_run_file_are_told(table, told):
    with pytest.raises(ConfigError, match=told):
        structure({"sampling": table}, Landscapes)
