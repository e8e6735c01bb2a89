from __future__ import annotations

import pickle
import re

import pytest
import torch

from forestgaps_core.config.converter import structure
from forestgaps_core.errors import ConfigError
from forestgaps_core.testing import check_data
from forestgaps_landscapes.data import Landscapes
from forestgaps_landscapes.simulation.variety import FORESTS, sample_settings

SMALL = Landscapes(train=3, validation=1, test=1, size_px=96, tile_px=32, samples_per_epoch=20)


def test_contract():
    check_data(SMALL)


def test_splits_share_no_landscape():
    data = SMALL.build()
    planes = [plane for source in (data.train, data.validation, data.test) for plane in source.landscapes.height]
    assert len(planes) == 5
    assert not any(torch.equal(one, other) for n, one in enumerate(planes) for other in planes[:n])


def test_fixed_tiles_cover_each_pixel_once():
    validation = Landscapes(train=1, validation=2, test=1, size_px=100, tile_px=32).build().validation
    assert len(validation) == 2 * 9
    tiles = torch.stack([validation.read(n, 0).dsm for n in range(9)])
    put_together = tiles.view(3, 3, 32, 32).permute(0, 2, 1, 3).reshape(96, 96)
    assert torch.equal(put_together, validation.landscapes.dsm[0, :96, :96])
    assert [validation.block(n) for n in range(18)] == [0] * 9 + [1] * 9


def test_a_crop_is_a_part_of_a_training_landscape_given_by_its_draw():
    train = SMALL.build().train
    windows = train.landscapes.dsm.unfold(1, 32, 1).unfold(2, 32, 1).flatten(0, 2)
    crops = [train.read(0, draw).dsm for draw in range(6)]
    assert all((windows == crop).flatten(1).all(1).any() for crop in crops)
    assert not torch.equal(crops[0], crops[1])
    assert torch.equal(train.read(7, 3).dsm, train.read(0, 3).dsm)


def test_crops_come_from_everywhere():
    train = Landscapes(train=2, validation=1, test=1, size_px=64, tile_px=63).build().train
    wanted = {landscape[row, column].item() for landscape in train.landscapes.dsm for row in (0, 1) for column in (0, 1)}
    assert {train.read(0, draw).dsm[0, 0].item() for draw in range(100)} == wanted


def test_data_can_be_sent_to_a_loader_process():
    train = SMALL.build().train
    assert torch.equal(pickle.loads(pickle.dumps(train)).read(1, 2).dsm, train.read(1, 2).dsm)


def test_another_seed_gives_other_landscapes_and_more_landscapes_keep_the_first():
    few, many = (Landscapes(train=n, size_px=32, tile_px=32).simulate_split("train").dsm for n in (1, 2))
    assert torch.equal(few[0], many[0])
    assert not torch.equal(few[0], Landscapes(train=1, size_px=32, tile_px=32, seed=1).simulate_split("train").dsm[0])


@pytest.mark.parametrize("forest", FORESTS)
def test_every_kind_of_forest_has_settings(forest):
    for seed in range(20):
        drawn = sample_settings(seed, forest, (5.0, 30.0), (0.02, 0.1))
        assert 5.0 <= drawn.terrain.slope_deg <= 30.0
        assert 0.02 <= drawn.gaps.fraction <= 0.1


def test_any_forest_means_all_of_them():
    heights = [sample_settings(seed, "any", (5.0, 30.0), (0.02, 0.1)).stand.height_m for seed in range(60)]
    assert min(heights) < 12 < 30 < max(heights)


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"tile_px": 512}, "tile_px = 512 is more than size_px = 384"),
        ({"slope_deg": [40, 10]}, "the least and the most"),
        ({"slope_deg": [10, 80]}, "60"),
        ({"forest": "broadleaved"}, "did you mean 'broadleaf'"),
        ({"train": 0}, "train"),
        ({"resolution_m": 0.0}, "resolution_m"),
    ],
)
def test_mistakes_in_a_run_file_are_told(table, told):
    with pytest.raises(ConfigError, match=told):
        structure(table, Landscapes)


def test_a_place_is_told_as_it_was_read():
    data = SMALL.build()
    for source in (data.train, data.validation, data.test):
        for index in range(min(len(source), 5)):
            told = re.fullmatch(r"landscape (\d+), rows (\d+)-(\d+), columns (\d+)-(\d+)", source.place(index, 17 * index))
            assert told, source.place(index, 17 * index)
            landscape, top, bottom, left, right = map(int, told.groups())
            window = source.landscapes.dsm[landscape, top:bottom, left:right]
            assert torch.equal(window, source.read(index, 17 * index).dsm)
