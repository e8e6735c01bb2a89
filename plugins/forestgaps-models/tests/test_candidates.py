"""What the guesses of the ground are worth where the truth is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from forestgaps_models.candidates import GroundCandidates, compute_slope, compute_support, pool_minima

OPENINGS, OVER_TREND = (12.0, 20.0, 44.0, 60.0, 92.0), (20.0, 44.0, 76.0)


def candidates(resolution_m: float = 1.0) -> GroundCandidates:
    return GroundCandidates(OPENINGS, OVER_TREND, resolution_m)


def forest(ground: Tensor, *, crown_px: int = 12, height_m: float = 20.0) -> Tensor:
    """Square crowns on a ground, with alleys of 4 pixels between."""
    rows, columns = (torch.arange(length) % (crown_px + 4) >= 4 for length in ground.shape[-2:])
    return ground + height_m * (rows[:, None] & columns[None, :])


def test_on_flat_ground_wide_windows_find_it_and_narrow_ones_may_not() -> None:
    dsm = forest(torch.full((1, 1, 128, 128), 700.0), crown_px=24)
    _, grounds, _ = candidates()(dsm, torch.ones_like(dsm, dtype=torch.bool))
    error = (grounds - 700.0).abs().amax((0, 2, 3))
    assert error[2:5].max() < 1e-3  # 44 m and more span a crown
    assert error[0] > 5  # 12 m does not


def test_the_edge_of_the_survey_is_like_the_edge_of_the_raster() -> None:
    """Windows centered beyond it would see a corner of canopy and no ground."""
    dsm = forest(torch.full((1, 1, 64, 64), 300.0))
    everywhere = torch.ones_like(dsm, dtype=torch.bool)
    _, alone, _ = candidates()(dsm, everywhere)
    beyond = (0, 64, 0, 32)
    _, within, _ = candidates()(pad(dsm, beyond), pad(everywhere, beyond))
    plain = slice(0, 5)
    torch.testing.assert_close(within[:, plain, :16, :16], alone[:, plain], atol=1.0, rtol=0)


def test_over_the_trend_a_slope_is_not_taken_for_height() -> None:
    y = torch.arange(256, dtype=torch.float32)[:, None].expand(256, 256)
    ground = (100 + 0.7 * y)[None, None]
    dsm = forest(ground)
    _, grounds, _ = candidates()(dsm, torch.ones_like(dsm, dtype=torch.bool))
    truth = interpolate(ground, scale_factor=0.25, mode="area")
    middle = (..., slice(24, 40), slice(24, 40))
    error = (grounds - truth)[middle].abs().mean((0, 2, 3))
    assert error[6] < 1.0  # 44 m over the trend
    assert error[6] < error[2]


@pytest.mark.parametrize("resolution_m", [0.5, 1.0, 2.0, 4.0])
def test_every_pixel_size_has_planes_and_guesses_of_one_size(resolution_m: float) -> None:
    layer = candidates(resolution_m)
    size = layer.coarse * 16
    dsm = torch.rand(2, 1, size, size) * 20 + 1500
    channels, grounds, _ = layer(dsm, torch.rand_like(dsm) > 0.1)
    assert channels.shape == (2, layer.channel_count, 16, 16)
    assert grounds.shape == (2, layer.count, 16, 16)
    assert channels.isfinite().all() and grounds.isfinite().all()


def test_elevation_changes_nothing_that_is_shown() -> None:
    dsm = torch.rand(1, 1, 64, 64) * 20
    valid = torch.rand_like(dsm) > 0.2
    low, low_grounds, _ = candidates()(dsm, valid)
    high, high_grounds, _ = candidates()(dsm + 2000, valid)
    torch.testing.assert_close(high, low, atol=2e-3, rtol=0)
    torch.testing.assert_close(high_grounds - 2000, low_grounds, atol=5e-3, rtol=0)


def test_what_lies_under_invalid_pixels_is_never_seen() -> None:
    dsm = torch.rand(1, 1, 64, 64) * 20 + 300
    valid = torch.rand_like(dsm) > 0.3
    valid[..., 8:24, 8:24] = False
    expected = candidates()(dsm, valid)
    found = candidates()(torch.where(valid, dsm, -9999.0), valid)
    for channel, same in zip(found, expected, strict=True):
        assert torch.equal(channel, same)


def test_without_a_single_valid_pixel_all_is_finite() -> None:
    dsm = torch.zeros(1, 1, 32, 32)
    for channel in candidates()(dsm, torch.zeros_like(dsm, dtype=torch.bool)):
        assert channel.isfinite().all()


def test_what_lies_beyond_the_reach_changes_nothing() -> None:
    layer = candidates(4.0)
    margin = round(layer.reach_m / 4) + 1
    size = -(-(2 * margin + 2) // layer.coarse) * layer.coarse
    dsm = torch.rand(1, 1, size, size) * 30 + 500
    valid = torch.ones_like(dsm, dtype=torch.bool)
    changed = dsm.clone()
    changed[..., 0, :] += 40
    (before, _, _), (after, _, _) = layer(dsm, valid), layer(changed, valid)
    # Sums are taken from the tile's mean, which moves a little.
    torch.testing.assert_close(
        after[..., margin // layer.coarse + 1 :, :], before[..., margin // layer.coarse + 1 :, :], atol=1e-3, rtol=0
    )


def test_minima_of_four_cells_leave_out_the_unknown() -> None:
    cells = torch.tensor([[[[3.0, -5.0, 1.0, 1.0], [2.0, 7.0, 1.0, 1.0]]]])
    known = torch.tensor([[[[True, False, False, False], [True, True, False, False]]]])
    assert pool_minima(cells, known).tolist() == [[[[2.0, 0.0]]]]


def test_support_is_the_share_of_near_cells() -> None:
    lowest, grounds = torch.zeros(1, 1, 5, 5), torch.zeros(1, 1, 5, 5)
    lowest[..., :2, :] = 3.0
    assert compute_support(lowest, grounds, torch.ones(1, 1, 5, 5, dtype=torch.bool))[0, 0, 2, 2].item() == pytest.approx(15 / 25)


def test_steepness_of_a_plane_is_its_slope() -> None:
    y, x = torch.meshgrid(torch.arange(6.0), torch.arange(7.0), indexing="ij")
    channel = (4 * (0.3 * y + 0.4 * x))[None, None]
    torch.testing.assert_close(
        compute_slope(channel, torch.ones_like(channel, dtype=torch.bool), 4.0)[..., 1:-1, 1:-1], torch.full((1, 1, 4, 5), 0.5)
    )


@pytest.mark.parametrize("shift", [-350.0, 1500.0])
def test_elevation_above_the_sea_changes_nothing_beside_a_hole_in_the_data_either(shift: float) -> None:
    generator = torch.Generator().manual_seed(1)
    dsm = forest(torch.full((1, 1, 256, 256), 400.0)) + torch.rand((1, 1, 256, 256), generator=generator)
    valid = torch.ones_like(dsm, dtype=torch.bool)
    valid[..., 60:188, 90:218] = False
    channels, grounds, _ = candidates()(dsm, valid)
    planes_above, grounds_above, _ = candidates()(dsm + shift, valid)
    torch.testing.assert_close(grounds_above - shift, grounds, rtol=0, atol=5e-3)
    torch.testing.assert_close(planes_above, channels, rtol=0, atol=5e-2)  # shares of cells may flip by a cell
