from __future__ import annotations

import math

import pytest
import torch

from forestgaps_landscapes.simulation.terrain import Terrain, add_terraces, compute_slope, make_ground, measure_steepness, smooth


def made(terrain: Terrain, *, seed: int = 0, size: int = 256, resolution_m: float = 1.0) -> torch.Tensor:
    return make_ground(torch.Generator().manual_seed(seed), size, resolution_m, terrain)[0]


@pytest.mark.parametrize("slope_deg", [0.0, 5.0, 25.0, 40.0])
@pytest.mark.parametrize("resolution_m", [0.5, 1.0, 2.0])
def test_95_percent_of_the_ground_is_less_steep_than_requested(slope_deg, resolution_m):
    z = made(Terrain(slope_deg=slope_deg, roads=0, roughness_m=0.0, terraces=0.5), resolution_m=resolution_m)
    assert math.degrees(math.atan(measure_steepness(z, resolution_m).item())) == pytest.approx(slope_deg, abs=0.2)


def test_steep_ground_has_no_cliffs():
    z = made(Terrain(slope_deg=40.0, roads=0, roughness_m=0.0))
    assert torch.rad2deg(torch.atan(compute_slope(z, 1.0))).max() < 70


def test_a_regional_slope_alone_is_a_plane():
    z = made(Terrain(slope_deg=20.0, regional=1.0, roads=0, roughness_m=0.0))
    assert torch.allclose(compute_slope(z, 1.0), torch.tensor(math.tan(math.radians(20))), atol=2e-3)


def test_the_mean_elevation_is_the_one_requested():
    assert made(Terrain(elevation_m=1234.0)).mean().item() == pytest.approx(1234.0, abs=0.01)


def test_bumps_have_the_size_requested():
    plain = made(Terrain(slope_deg=0.0, roads=0, roughness_m=0.2))
    assert plain.std().item() == pytest.approx(0.2, rel=0.05)


def test_a_road_is_gentler_than_the_hillside_it_crosses():
    terrain = Terrain(slope_deg=35.0, roads=2, roughness_m=0.0)
    z, on_road = make_ground(torch.Generator().manual_seed(1), 256, 1.0, terrain)
    steep = compute_slope(z, 1.0)
    assert 0.01 < on_road.mean() < 0.1
    assert steep[on_road > 0].median() < 0.75 * steep[on_road == 0].median()


def test_terraces_turn_an_even_slope_into_flats_and_risers():
    plane = 0.2 * torch.arange(256.0)[None, :].expand(256, 256)
    generator = torch.Generator().manual_seed(0)
    steep = compute_slope(add_terraces(generator, plane, 1.0, 1.0), 1.0) / 0.2
    assert steep.min() < 0.3
    assert steep.max() > 1.7
    assert steep.mean().item() == pytest.approx(1.0, abs=0.05)
    assert torch.equal(add_terraces(generator, plane, 1.0, 0.0), plane)


def test_a_moving_mean_keeps_a_plane():
    plane = torch.arange(20.0)[None, :].expand(20, 20)
    assert torch.allclose(smooth(plane, 5)[:, 3:-3], plane[:, 3:-3])
