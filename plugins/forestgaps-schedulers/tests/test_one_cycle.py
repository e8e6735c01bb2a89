from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forestgaps_core.config.converter import structure_config
from forestgaps_core.errors import ConfigError
from forestgaps_schedulers.one_cycle import OneCycle


def test_super_convergence_of_the_paper() -> None:
    """From 0.1 to 3 in 5,000 steps and back in 5,000, straight lines (the runs to a rate of 3 of Smith & Topin 2018)."""
    schedule = OneCycle(rise=5000, start=0.1 / 3, floor=0.1 / 3, curve="linear").build(10_000)
    assert [3 * schedule(step) for step in (0, 2500, 5000, 7500, 10_000)] == pytest.approx([0.1, 1.55, 3, 1.55, 0.1])


def test_the_tail_continues_from_the_start_to_the_floor() -> None:
    schedule = OneCycle(rise=0.4, tail=0.2, start=0.2, floor=0.1, curve="linear").build(100)
    assert [schedule(step) for step in (0, 40, 60, 80, 90, 100)] == pytest.approx([0.2, 1, 0.6, 0.2, 0.15, 0.1])


def test_the_momentum_runs_against_the_rate_and_rests_in_the_tail() -> None:
    schedule = OneCycle(rise=0.4, tail=0.2, curve="linear", momentum_low=0.85, momentum_high=0.95).build(100)
    assert [schedule.momentum(step) for step in (0, 20, 40, 60, 80, 100, 500)] == pytest.approx(
        [0.95, 0.9, 0.85, 0.9, 0.95, 0.95, 0.95]
    )


def test_the_momentum_waits_for_the_warm_up() -> None:
    schedule = OneCycle(warmup=10, rise=20).build(100)
    assert {schedule.momentum(step) for step in range(11)} == {0.95}
    assert schedule.momentum(30) == 0.85


@settings(deadline=None)
@given(total=st.integers(1, 300), rise=st.floats(0, 0.5), tail=st.floats(0, 0.4), curve=st.sampled_from(["cosine", "linear"]))
def test_the_momentum_stays_within_its_bounds(total: int, rise: float, tail: float, curve: str) -> None:
    schedule = OneCycle(rise=rise, tail=tail, curve=curve).build(total)
    momenta = [schedule.momentum(step) for step in range(total + 10)]
    assert 0.85 - 1e-12 <= min(momenta) <= max(momenta) <= 0.95 + 1e-12


def test_the_momentum_can_be_left_alone() -> None:
    assert not hasattr(OneCycle(cycle_momentum=False).build(100), "momentum")


def test_phases_that_leave_no_way_down_are_refused() -> None:
    with pytest.raises(ConfigError, match="take 100 of the run's 100 steps"):
        OneCycle(warmup=0.2, rise=50, tail=0.3).build(100)


def test_momenta_the_wrong_way_round_are_refused() -> None:
    config, problems = structure_config({"momentum_low": 0.9, "momentum_high": 0.8}, OneCycle, ("scheduler",))
    assert config is None
    assert "momentum_low 0.9 is above momentum_high 0.8" in problems[0]


def test_however_short_the_run_its_peak_is_reached() -> None:
    """Rounded to whole steps, rise and tail would take both of the two steps."""
    schedule = OneCycle(rise=0.45, tail=0.45, start=0.2, floor=0.1).build(2)
    assert [schedule(step) for step in range(3)] == [0.2, 1.0, 0.1]
