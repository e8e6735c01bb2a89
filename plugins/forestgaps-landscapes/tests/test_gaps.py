from __future__ import annotations

import pytest
import torch
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from forestgaps_landscapes.simulation.gaps import (
    Gaps,
    compute_gap_areas,
    compute_mean_area,
    integrate_power,
    render_gap_freshness,
    render_outlines,
)


def exponent_of(areas: torch.Tensor, gaps: Gaps) -> float:
    """Maximum likelihood of the truncated power law, on a fine grid of exponents."""
    grid = torch.linspace(1.05, 4, 2000, dtype=torch.float64)
    mean_log = areas.double().log().mean()
    integral = torch.tensor([integrate_power(gaps.smallest_m2, gaps.largest_m2, -a) for a in grid.tolist()], dtype=torch.float64)
    return grid[(-grid * mean_log - integral.log()).argmax()].item()


@settings(max_examples=15, deadline=None)
@given(st.floats(1.3, 3.0), st.integers(0, 100))
def test_the_exponent_of_gap_areas_is_recovered(exponent, seed):
    gaps = Gaps(exponent=exponent)
    areas = compute_gap_areas(torch.rand(20_000, generator=torch.Generator().manual_seed(seed)), gaps)
    assert areas.min() >= gaps.smallest_m2 * 0.999
    assert areas.max() <= gaps.largest_m2 * 1.001
    assert exponent_of(areas, gaps) == pytest.approx(exponent, abs=0.05)


def test_areas_at_the_ends_and_the_middle_worked_by_hand():
    # Exponent 2 between 10 and 1000: F(a) = (1/10 - 1/a) / (1/10 - 1/1000), so the median is 2 / (1/10 + 1/1000).
    gaps = Gaps(exponent=2.0, smallest_m2=10, largest_m2=1000)
    areas = compute_gap_areas(torch.tensor([0.0, 0.5, 1.0]), gaps)
    assert areas.tolist() == pytest.approx([10.0, 2 / 0.101, 1000.0], rel=1e-5)


@pytest.mark.parametrize("exponent", [1.5, 2.0, 2.7])
def test_the_mean_area_is_that_of_many_samples(exponent):
    gaps = Gaps(exponent=exponent, largest_m2=500)
    evenly = (torch.arange(100_000) + 0.5) / 100_000
    assert compute_gap_areas(evenly, gaps).mean().item() == pytest.approx(compute_mean_area(gaps), rel=0.01)


@settings(max_examples=10, deadline=None)
@given(st.floats(30, 3000), st.integers(0, 1000))
def test_a_ragged_gap_has_exactly_the_area_sampled(area, seed):
    center = torch.tensor([64.0])
    plane = render_outlines(torch.Generator().manual_seed(seed), 256, 0.5, center, center, torch.tensor([area]), torch.ones(1))
    assert (plane == 1).sum().item() * 0.25 == pytest.approx(area, rel=0.05, abs=1.5)


def test_gaps_cover_the_fraction_requested():
    gaps = Gaps(fraction=0.1, largest_m2=300)
    plane = render_gap_freshness(torch.Generator().manual_seed(0), 512, 1.0, gaps)
    assert (plane > -torch.inf).float().mean().item() == pytest.approx(0.1, abs=0.02)


def test_fresh_gaps_are_as_many_as_requested():
    gaps = Gaps(fraction=0.05, largest_m2=100)
    for fresh in (0.0, 0.5, 1.0):
        plane = render_gap_freshness(torch.Generator().manual_seed(0), 512, 1.0, evolve(gaps, fresh=fresh))
        youth = plane[plane > -torch.inf]
        assert ((youth == 1).float().mean() - fresh).abs() < 0.1
        assert youth.min() >= 0


def test_a_gap_fraction_of_0_has_no_gaps():
    assert (render_gap_freshness(torch.Generator().manual_seed(0), 64, 1.0, Gaps(fraction=0.0)) == -torch.inf).all()


def test_the_smallest_gap_must_be_smaller_than_the_largest():
    with pytest.raises(ValueError, match="smallest_m2 = 100 must be below largest_m2 = 50"):
        Gaps(smallest_m2=100, largest_m2=50)
