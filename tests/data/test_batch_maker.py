from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from forestgaps_core.components import Tiles
from forestgaps_core.config.augmentation import Augmentation
from forestgaps_core.config.thresholds import Thresholds
from forestgaps_core.data.batch_maker import (
    HILLS,
    ROUGHNESS,
    WAVELENGTHS_M,
    BatchMaker,
    drawn_thresholds,
    fill_invalid,
    hills,
    stretched,
    tilted,
    turned,
    with_other_canopy,
)
from forestgaps_core.runtime.rng import random_numbers, uniform


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


def test_the_eight_turns_all_come_up_and_keep_layers_together():
    given_tiles = tiles(samples=400, size=3)
    one, other = turned((given_tiles.dsm, given_tiles.dsm * 2), given_tiles.draw)
    assert torch.equal(torch.nan_to_num(one * 2), torch.nan_to_num(other))
    plane = torch.arange(9.0).reshape(1, 1, 3, 3).expand(400, -1, -1, -1)
    (moved,) = turned((plane,), given_tiles.draw)
    kinds, counts = moved.flatten(1).unique(dim=0, return_counts=True)
    slow = {tuple(torch.rot90(p, k).flatten().tolist()) for p in (plane[0, 0], plane[0, 0].T) for k in range(4)}
    assert {tuple(kind.tolist()) for kind in kinds} == slow
    assert counts.min() > 20


def test_tilting_adds_a_plane_and_leaves_heights():
    given_tiles = tiles()
    flat = torch.zeros_like(given_tiles.dsm)
    plane = tilted(flat, given_tiles.draw, tilt=0.3, offset_m=50.0, resolution_m=2.0)
    slope_x, slope_y = plane.diff(dim=-1), plane.diff(dim=-2)
    assert (slope_x - slope_x[..., :1, :1]).abs().max() < 1e-4
    assert (slope_y - slope_y[..., :1, :1]).abs().max() < 1e-4
    assert slope_x.abs().max() <= 0.3 * 2.0 + 1e-4
    assert slope_x[:, 0, 0, 0].std() > 0.1
    assert plane.mean((1, 2, 3)).abs().max() <= 50


def test_augmentation_is_a_function_of_the_draw():
    maker = BatchMaker(thresholds=Thresholds(drawn=4), augmentation=Augmentation(relief_m=20.0, stretch=1.5))
    mixing = BatchMaker(thresholds=Thresholds(), augmentation=Augmentation(exchange=0.5, blend=0.5))
    assert torch.equal(mixing(tiles()).dsm, mixing(tiles()).dsm)
    whole, again = maker(tiles()), maker(tiles())
    assert torch.equal(whole.dsm, again.dsm)
    assert torch.equal(whole.thresholds, again.thresholds)
    part = tiles()
    part = Tiles(part.dsm[3:5], part.height[3:5], part.valid[3:5], part.index[3:5], part.draw[3:5])
    assert torch.equal(maker(part).dsm, whole.dsm[3:5])


def test_another_canopy_stands_on_the_same_ground():
    given_tiles = tiles(samples=200, size=16)
    height = given_tiles.height.nan_to_num(0.0)
    dsm = given_tiles.dsm.nan_to_num(0.0)
    change = Augmentation(exchange=0.5)
    new_dsm, new_height = with_other_canopy(dsm, height, given_tiles.valid, given_tiles.draw, change)
    torch.testing.assert_close(new_dsm - new_height, dsm - height)
    moved = new_height != height
    torch.testing.assert_close(new_height[moved], height.roll(1, 0)[moved])
    assert not moved[~given_tiles.valid].any()
    touched = moved.flatten(1).any(1).double().mean().item()
    assert 0.35 < touched < 0.6  # half of the tiles, less those whose square is too small to hold a pixel
    assert moved.flatten(1).double().mean(1).max() <= 0.6


def test_a_swapped_canopy_is_whole():
    given_tiles = tiles(samples=50)
    height, dsm = given_tiles.height.nan_to_num(0.0), given_tiles.dsm.nan_to_num(0.0)
    new_dsm, new_height = with_other_canopy(dsm, height, given_tiles.valid, given_tiles.draw, Augmentation(swap=1.0))
    both = given_tiles.valid & given_tiles.valid.roll(1, 0)
    torch.testing.assert_close(new_height, torch.where(both, height.roll(1, 0), height))
    torch.testing.assert_close(new_dsm - new_height, dsm - height)


def test_a_stretched_canopy_keeps_its_ground_and_its_shape():
    given_tiles = tiles(samples=100)
    height, dsm = given_tiles.height.nan_to_num(0.0), given_tiles.dsm.nan_to_num(0.0)
    new_dsm, new_height = stretched(dsm, height, given_tiles.draw, most=1.5)
    torch.testing.assert_close(new_dsm - new_height, dsm - height, atol=1e-4, rtol=0)
    factor = new_height.amax((1, 2, 3)) / height.amax((1, 2, 3))
    torch.testing.assert_close(new_height, height * factor[:, None, None, None])
    assert 1 / 1.5 <= factor.min() < 0.75
    assert 1.35 < factor.max() <= 1.5
    assert 0.35 < (factor < 1).double().mean() < 0.65


def test_hills_are_smooth_of_mean_nothing_and_of_the_size_asked_for():
    made = hills(random_numbers(0, 0, torch.arange(200)), 96, 64, relief_m=20.0, resolution_m=2.0)
    assert made.shape == (200, 1, 96, 64)
    assert made.mean((1, 2, 3)).abs().max() < 1e-3
    sizes = made.std((1, 2, 3))
    assert sizes.max() <= 20.1
    assert 4 < sizes.mean() < 9  # a third of the most, on average
    # Neighbors 2 m apart differ by less than a fifth of the hills' size: nothing there looks like canopy.
    steps = torch.maximum(made.diff(dim=-1).abs().mean((1, 2, 3)), made.diff(dim=-2).abs().mean((1, 2, 3)))
    assert (steps / sizes).max() < 0.2


def test_hills_are_waves_added_up_one_by_one():
    draw = random_numbers(3, 0, torch.arange(1))
    turn, length, phase = uniform(draw, "hills", 3 * HILLS)[0].reshape(3, HILLS).tolist()
    waves = torch.zeros(10, 14, dtype=torch.float64)
    for share, far, begin in zip(turn, length, phase, strict=True):
        meters = WAVELENGTHS_M[0] * (WAVELENGTHS_M[1] / WAVELENGTHS_M[0]) ** far
        for y in range(10):
            for x in range(14):
                along = y * math.sin(2 * math.pi * share) + x * math.cos(2 * math.pi * share)
                waves[y, x] += meters**ROUGHNESS * math.cos(2 * math.pi * (along / meters + begin))
    waves -= waves.mean()
    made = hills(draw, 10, 14, relief_m=10.0, resolution_m=1.0)[0, 0].double()
    torch.testing.assert_close(made / made.norm(), waves / waves.norm(), atol=1e-4, rtol=0)


def test_blended_canopies_lie_between_the_two():
    given_tiles = tiles(samples=50)
    height, dsm = given_tiles.height.nan_to_num(0.0), given_tiles.dsm.nan_to_num(0.0)
    _, new_height = with_other_canopy(dsm, height, given_tiles.valid, given_tiles.draw, Augmentation(blend=1.0))
    both = given_tiles.valid & given_tiles.valid.roll(1, 0)
    share = ((new_height - height) / (height.roll(1, 0) - height))[both]
    assert share.min() >= -1e-4
    assert share.max() <= 0.5 + 1e-3
    assert share.std() > 0.1


@given(st.integers(0, 2**31), st.integers(1, 9))
def test_drawn_thresholds_rise_between_the_ends(seed, count):
    drawn = drawn_thresholds(random_numbers(seed, 0, torch.arange(6)), (2.0, 5.0, 30.0), count)
    assert drawn.shape == (6, count)
    assert (drawn >= 2.0 - 1e-5).all()
    assert (drawn <= 30.0 + 1e-4).all()
    assert (drawn.diff(dim=1) >= 0).all()


def test_drawn_thresholds_are_log_uniform():
    drawn = drawn_thresholds(random_numbers(0, 0, torch.arange(4000)), (2.0, 32.0), 1)
    share_below_8 = (drawn < 8).double().mean().item()
    assert abs(share_below_8 - 0.5) < 0.03  # 8 m is the middle of 2 and 32 on a log scale


@pytest.mark.parametrize("values", [(), (5.0, 2.0), (2.0, 2.0), (0.0, 2.0), (-1.0,)])
def test_thresholds_that_make_no_sense_are_refused(values):
    with pytest.raises(ValueError, match=r"must|'values'|Length"):
        Thresholds(values=values)


@pytest.mark.parametrize("drawn", [0, 4])
def test_a_batch_is_made_on_the_device_of_its_tiles_without_a_look_at_them(drawn):
    every = Augmentation(tilt=0.5, relief_m=12, stretch=1.5, swap=0.2, exchange=0.2, blend=0.2)
    maker = BatchMaker(thresholds=Thresholds(drawn=drawn), augmentation=every)
    batch = maker(tiles().to("meta"))  # a device that holds no numbers: reading one from it raises
    made = (batch.dsm, batch.height, batch.valid, batch.thresholds, batch.target, batch.index)
    assert {tensor.device.type for tensor in made} == {"meta"}
