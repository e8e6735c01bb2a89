from __future__ import annotations

import pytest
import torch

from forestgaps_landscapes.simulation.survey import Survey, make_valid_mask, simulate_measurement

CLEAR = Survey(noise_m=0.0, foliage_m=0.0, pits=0.0, nodata=0.0, swaths=0)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_a_perfect_survey_changes_nothing():
    height = torch.rand((64, 64), generator=generator()) * 30
    assert torch.equal(simulate_measurement(generator(), height, 1.0, CLEAR), height)
    assert make_valid_mask(generator(), 64, 1.0, CLEAR).all()


def test_bare_ground_shows_the_noise_requested_and_nothing_else():
    seen = simulate_measurement(generator(), torch.zeros(256, 256), 1.0, Survey(noise_m=0.1))
    assert seen.std().item() == pytest.approx(0.1, rel=0.03)
    assert abs(seen.mean().item()) < 0.005


@pytest.mark.parametrize(("resolution_m", "share"), [(0.5, 0.1), (1.0, 0.0125)])
def test_pits_are_as_many_as_requested_and_rarer_in_coarse_pixels(resolution_m, share):
    survey = Survey(noise_m=0.0, foliage_m=0.0, pits=0.1)
    seen = simulate_measurement(generator(), torch.full((512, 512), 20.0), resolution_m, survey)
    assert (seen < 19).float().mean().item() == pytest.approx(share, rel=0.1)


def test_crowns_are_seen_a_little_below_their_top():
    seen = simulate_measurement(generator(), torch.full((256, 256), 20.0), 0.5, Survey(noise_m=0.0, foliage_m=0.8, pits=0.0))
    assert 0.6 < (20 - seen).mean() < 1.3
    assert (seen <= 20).all()


@pytest.mark.parametrize("share", [0.0, 0.02, 0.1])
def test_holes_take_about_the_fraction_requested(share):
    lost = ~make_valid_mask(generator(), 512, 1.0, Survey(nodata=share))
    assert lost.float().mean().item() == pytest.approx(share, rel=0.25)


def test_a_swath_without_data_crosses_the_landscape():
    lost = ~make_valid_mask(generator(), 256, 1.0, Survey(nodata=0.0, swaths=1))
    assert 0.002 < lost.float().mean() < 0.06
