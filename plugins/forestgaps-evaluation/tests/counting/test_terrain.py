from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from forestgaps_evaluation.counting.terrain import compute_slope_deg


def plane(down, right, size=64, resolution=1.0):
    y = torch.arange(size)[:, None] * resolution
    x = torch.arange(size)[None, :] * resolution
    return (500 + down * y + right * x)[None, None].float()


@given(down=st.floats(-1.5, 1.5), right=st.floats(-1.5, 1.5), resolution=st.sampled_from([0.5, 1.0, 2.0]))
def test_a_plane_has_its_own_slope(down, right, resolution):
    ground = plane(down, right, resolution=resolution)
    found = compute_slope_deg(ground, torch.ones_like(ground, dtype=torch.bool), resolution)
    assert found.item() == pytest.approx(math.degrees(math.atan(math.hypot(down, right))), abs=0.3)


def test_a_few_wrong_ground_points_do_not_matter():
    ground = plane(0.2, 0.0)
    ground[..., ::7, ::5] += 40
    found = compute_slope_deg(ground, torch.ones_like(ground, dtype=torch.bool), 1.0)
    assert found.item() == pytest.approx(math.degrees(math.atan(0.2)), abs=1.5)


def test_invalid_pixels_do_not_matter():
    ground, valid = plane(0.3, 0.1), torch.ones((1, 1, 64, 64), dtype=torch.bool)
    valid[..., 20:40, 10:60] = False
    garbage = torch.where(valid, ground, torch.nan)
    assert compute_slope_deg(garbage, valid, 1.0).item() == pytest.approx(compute_slope_deg(ground, valid, 1.0).item())
    assert compute_slope_deg(garbage, valid, 1.0).item() == pytest.approx(math.degrees(math.atan(math.hypot(0.3, 0.1))), abs=0.3)


@pytest.mark.parametrize(("size", "known"), [(1, True), (64, False)])
def test_where_it_cannot_be_computed_it_is_nan(size, known):
    ground = plane(0.3, 0.1, size=size)
    assert compute_slope_deg(ground, torch.full_like(ground, known, dtype=torch.bool), 1.0).isnan().all()


def test_a_small_tile_is_looked_at_in_smaller_squares():
    ground = plane(0.5, 0.0, size=12)
    found = compute_slope_deg(ground, torch.ones_like(ground, dtype=torch.bool), 1.0)
    assert found.item() == pytest.approx(math.degrees(math.atan(0.5)), abs=0.1)
