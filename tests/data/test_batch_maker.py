from __future__ import annotations

import attrs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from forestgaps_core.components import Tiles
from forestgaps_core.config.thresholds import Thresholds
from forestgaps_core.data.batch_maker import BatchMaker, fill_invalid, sample_thresholds
from forestgaps_core.runtime.rng import random_numbers


def tiles(samples=16, size=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    height = torch.rand((samples, 1, size, size), generator=generator) * 30
    ground = torch.rand((samples, 1, size, size), generator=generator) * 5 + 800
    valid = torch.rand((samples, 1, size, size), generator=generator) > 0.2
    index = torch.arange(samples)
    dsm = torch.where(valid, ground + height, torch.nan)
    return Tiles(
        dsm=dsm, height=torch.where(valid, height, torch.nan), valid=valid, index=index, draw=random_numbers(seed, 0, index)
    )


def test_targets_are_heights_below_each_threshold():
    given_tiles = tiles()
    batch = BatchMaker(thresholds=Thresholds(values=(2.0, 5.0, 20.0)))(given_tiles)
    for plane, threshold in enumerate((2.0, 5.0, 20.0)):
        expected = (given_tiles.height[:, 0] < threshold) & given_tiles.valid[:, 0]
        assert torch.equal((batch.target[:, plane] == 1) & given_tiles.valid[:, 0], expected)


def test_a_height_at_the_threshold_is_canopy():
    level = torch.full((1, 1, 2, 2), 5.0)
    made = Tiles(dsm=level, height=level, valid=level > 0, index=torch.tensor([0]), draw=torch.tensor([0]))
    assert BatchMaker(thresholds=Thresholds(values=(5.0,)))(made).target.sum() == 0


def test_invalid_pixels_hold_the_median_of_their_tile():
    given_tiles = tiles()
    filled = fill_invalid(given_tiles.dsm, given_tiles.valid)
    for dsm, valid, plane in zip(given_tiles.dsm, given_tiles.valid, filled, strict=True):
        assert (plane[~valid] == dsm[valid].median()).all()
        assert torch.equal(plane[valid], dsm[valid])


def test_a_tile_without_a_valid_pixel_is_flat():
    dsm = torch.full((1, 1, 4, 4), torch.nan)
    assert torch.equal(fill_invalid(dsm, dsm > 0), torch.zeros_like(dsm))


def test_nothing_is_random_without_augmentation():
    given_tiles = tiles()
    batch = BatchMaker(thresholds=Thresholds())(given_tiles)
    assert torch.equal(batch.dsm[batch.valid], given_tiles.dsm[given_tiles.valid])


@given(st.integers(0, 2**31), st.integers(1, 9))
def test_sampled_thresholds_rise_between_the_ends(seed, count):
    sampled = sample_thresholds(random_numbers(seed, 0, torch.arange(6)), (2.0, 5.0, 30.0), count)
    assert sampled.shape == (6, count)
    assert (sampled >= 2.0 - 1e-5).all()
    assert (sampled <= 30.0 + 1e-4).all()
    assert (sampled.diff(dim=1) >= 0).all()


def test_sampled_thresholds_are_log_uniform():
    sampled = sample_thresholds(random_numbers(0, 0, torch.arange(4000)), (2.0, 32.0), 1)
    share_below_8 = (sampled < 8).double().mean().item()
    assert abs(share_below_8 - 0.5) < 0.03  # 8 m is the middle of 2 and 32 on a log scale


@pytest.mark.parametrize("values", [(), (5.0, 2.0), (2.0, 2.0), (0.0, 2.0), (-1.0,)])
def test_thresholds_that_make_no_sense_are_refused(values):
    with pytest.raises(ValueError, match=r"must|'values'|Length"):
        Thresholds(values=values)


def test_augmentations_are_applied_in_order():
    def add(tiles):
        return attrs.evolve(tiles, dsm=tiles.dsm + 1, height=tiles.height + 1)

    def double(tiles):
        return attrs.evolve(tiles, dsm=tiles.dsm * 2, height=tiles.height * 2)

    given_tiles = tiles()
    for order, expected in (((add, double), (given_tiles.height + 1) * 2), ((double, add), given_tiles.height * 2 + 1)):
        batch = BatchMaker(thresholds=Thresholds(), augmentations=order)(given_tiles)
        assert torch.equal(batch.height[batch.valid], expected[given_tiles.valid])


@pytest.mark.parametrize("sampled", [0, 4])
def test_a_batch_is_made_on_the_device_of_its_tiles_without_a_look_at_them(sampled):
    batch = BatchMaker(thresholds=Thresholds(sampled=sampled))(tiles().to("meta"))  # holds no numbers: reading one from it raises
    made = (batch.dsm, batch.height, batch.valid, batch.thresholds, batch.target, batch.index)
    assert {tensor.device.type for tensor in made} == {"meta"}


def test_further_layers_are_0_at_invalid_pixels_and_for_values_that_are_not_finite():
    given_tiles = tiles()
    colors = torch.rand((16, 3, 8, 8)) + 1
    colors[0, 1, 2, 3] = torch.nan
    batch = BatchMaker(thresholds=Thresholds())(attrs.evolve(given_tiles, layers={"rgb": colors}))
    kept = given_tiles.valid.expand_as(colors) & colors.isfinite()
    assert torch.equal(batch.layers["rgb"][kept], colors[kept])
    assert (batch.layers["rgb"][~kept] == 0).all()
    assert batch.to("cpu").layers["rgb"].shape == colors.shape
