from __future__ import annotations

import pytest
import torch
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from forestgaps_core.errors import ConfigError
from forestgaps_landscapes import Settings, simulate
from forestgaps_landscapes.simulation.gaps import Gaps
from forestgaps_landscapes.simulation.survey import Survey
from forestgaps_landscapes.simulation.terrain import Terrain

PLANES = ("dsm", "dtm", "height", "valid")


def same(one, other) -> bool:
    return all(torch.equal(getattr(one, plane), getattr(other, plane)) for plane in PLANES)


@settings(max_examples=5, deadline=None)
@given(st.integers(-(2**63), 2**63 - 1))
def test_a_landscape_is_a_function_of_its_seed(seed):
    assert same(simulate(seed, 64, 1.0), simulate(seed, 64, 1.0))


def test_other_seeds_give_other_landscapes():
    assert not torch.equal(simulate(1, 64, 1.0).height, simulate(2, 64, 1.0).height)


def test_the_global_generator_is_neither_read_nor_changed():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    one = simulate(5, 64, 1.0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert same(one, simulate(5, 64, 1.0))


@pytest.mark.parametrize("resolution_m", [0.5, 1.0, 2.0])
def test_surface_is_ground_and_canopy(resolution_m):
    made = simulate(3, 128, resolution_m)
    for plane in ("dsm", "dtm", "height"):
        assert getattr(made, plane).shape == (128, 128)
        assert getattr(made, plane).dtype == torch.float32
        assert getattr(made, plane).isfinite().all()
    assert made.valid.dtype == torch.bool
    assert torch.allclose((made.dsm - made.height)[made.valid], made.dtm[made.valid], atol=1e-3)


def test_meters_stay_meters_at_another_resolution():
    def figures(resolution_m: float) -> torch.Tensor:
        made = [simulate(seed, round(384 / resolution_m), resolution_m).height for seed in range(3)]
        return torch.cat([height.flatten()[::7] for height in made]).quantile(torch.tensor([0.25, 0.5, 0.95]))

    fine, coarse = figures(1.0), figures(2.0)
    assert ((fine - coarse).abs() < 3.0).all(), (fine, coarse)


def test_a_setting_of_one_part_leaves_the_others_as_they_were():
    plain = Settings(survey=Survey(noise_m=0.0))
    steep = evolve(plain, terrain=evolve(plain.terrain, slope_deg=40.0))
    assert torch.equal(simulate(4, 96, 1.0, plain).height, simulate(4, 96, 1.0, steep).height)
    torn = evolve(plain, gaps=Gaps(fraction=0.3))
    assert torch.equal(simulate(4, 96, 1.0, plain).dtm, simulate(4, 96, 1.0, torn).dtm)


def test_more_gaps_leave_less_canopy():
    shares = [
        (simulate(6, 256, 1.0, Settings(gaps=Gaps(fraction=share, fresh=1.0))).height < 5).float().mean()
        for share in (0.0, 0.15, 0.4)
    ]
    assert shares[0] < shares[1] - 0.05 < shares[2] - 0.15


def test_roads_are_bare():
    made = simulate(8, 256, 1.0, Settings(terrain=Terrain(roads=4), survey=Survey(noise_m=0.0)))
    without = simulate(8, 256, 1.0, Settings(terrain=Terrain(roads=0), survey=Survey(noise_m=0.0)))
    assert (made.height == 0).float().mean() > (without.height == 0).float().mean() + 0.03


def test_the_smallest_landscape_works():
    assert simulate(0, 16, 0.5).dsm.shape == (16, 16)


@pytest.mark.parametrize(("size", "resolution_m", "told"), [(4, 1.0, "4 pixels"), (64, 0.0, "0 m"), (64, 30.0, "30 m")])
def test_sizes_that_make_no_sense_are_refused(size, resolution_m, told):
    with pytest.raises(ConfigError, match=told):
        simulate(0, size, resolution_m)
