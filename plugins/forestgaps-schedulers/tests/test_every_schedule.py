"""What holds for all schedules, whatever their settings."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from forestgaps_core.config.converter import structure_config
from forestgaps_core.errors import ConfigError
from forestgaps_core.testing import build_component, check_scheduler
from forestgaps_schedulers import forestgaps_schedulers
from forestgaps_schedulers.constant import Constant
from forestgaps_schedulers.cosine import Cosine
from forestgaps_schedulers.cosine_restarts import CosineRestarts
from forestgaps_schedulers.cyclic import Cyclic
from forestgaps_schedulers.exponential import Exponential
from forestgaps_schedulers.inverse_square_root import InverseSquareRoot
from forestgaps_schedulers.multistep import MultiStep
from forestgaps_schedulers.one_cycle import OneCycle
from forestgaps_schedulers.plateau import Plateau
from forestgaps_schedulers.polynomial import Polynomial
from forestgaps_schedulers.step import Step
from forestgaps_schedulers.warmup_cosine import WarmupCosine

shares = st.floats(0, 0.4)
spans = shares | st.integers(1, 9).map(float)
some = st.floats(0.01, 0.95)
counts = st.integers(1, 8)
falling: dict[type, dict[str, st.SearchStrategy[Any]]] = {
    Constant: {},
    WarmupCosine: {"floor": some},
    Cosine: {"floor": some},
    Step: {"every": spans.filter(bool), "factor": some},
    MultiStep: {"milestones": st.sets(st.floats(0.5, 0.99), min_size=1, max_size=5).map(sorted).map(tuple), "factor": some},
    Exponential: {"floor": some},
    Polynomial: {"power": st.floats(0.1, 5), "floor": some},
    InverseSquareRoot: {"timescale": spans.filter(bool)},
    Plateau: {"score": st.just("s")},
}
waving: dict[type, dict[str, st.SearchStrategy[Any]]] = {
    CosineRestarts: {"cycles": counts, "growth": st.floats(1, 4), "floor": some},
    Cyclic: {
        "cycles": counts,
        "rise": some,
        "floor": some,
        "peaks": st.sampled_from(["triangular", "triangular2", "exp_range"]),
        "decay": some,
    },
    OneCycle: {
        "rise": st.floats(0, 0.3),
        "tail": st.floats(0, 0.25),
        "start": st.floats(0.01, 0.9),
        "floor": some,
        "curve": st.sampled_from(["cosine", "linear"]),
    },
}
# Spans are of the whole run, warm-up included, so these are not what they would be in a shorter run.
without_spans = {
    kind: fields for kind, fields in (falling | waving).items() if kind not in (Step, MultiStep, OneCycle, InverseSquareRoot)
}


def configs(
    table: dict[type, dict[str, st.SearchStrategy[Any]]], warmup: st.SearchStrategy[float] = spans
) -> st.SearchStrategy[Any]:
    return st.one_of([st.builds(kind, warmup=warmup, **fields) for kind, fields in table.items()])


every = configs(falling | waving)
runs = st.integers(20, 300)


@pytest.mark.parametrize("kind", [*falling, *waving], ids=lambda kind: kind.__name__)
def test_it_keeps_the_contract_with_the_settings_it_has_by_default(kind: type) -> None:
    check_scheduler(kind(score="s") if kind is Plateau else kind())


def test_every_schedule_of_the_package_is_among_those_tested() -> None:
    tested = {kind.__name__ for kind in falling | waving} | {"Warmup"}  # around any schedule, see test_warmup.py
    assert {target.partition(":")[2] for target in forestgaps_schedulers().values()} == tested


@given(config=configs(falling | waving, warmup=shares))  # the contract has a run of one step
def test_it_keeps_the_contract_with_any_settings(config: Any) -> None:
    check_scheduler(config)


@given(config=every, total=runs)
def test_the_factor_is_never_above_the_base_rate_nor_below_zero(config: Any, total: int) -> None:
    schedule = build_component("scheduler", config, total_steps=total)
    assert all(0 <= schedule(step) <= 1 + 1e-15 for step in range(total + 1))


@given(config=every, total=runs, beyond=st.integers(1, 10**9))
def test_after_the_run_it_stays_where_the_run_ended(config: Any, total: int, beyond: int) -> None:
    schedule = build_component("scheduler", config, total_steps=total)
    assert schedule(total + beyond) == schedule(total)


@given(config=configs(falling), total=runs)
def test_after_the_warm_up_it_never_rises_again(config: Any, total: int) -> None:
    schedule = build_component("scheduler", config, total_steps=total)
    rise = schedule.warmup_steps
    factors = [schedule(step) for step in range(rise, total + 1)]
    assert factors == sorted(factors, reverse=True)


@given(config=every, total=runs)
def test_a_warm_up_rises_in_equal_parts_to_where_the_schedule_begins(config: Any, total: int) -> None:
    schedule = build_component("scheduler", config, total_steps=total)
    rise = schedule.warmup_steps
    assert rise == (int(config.warmup) if config.warmup >= 1 else round(config.warmup * total))
    joint = schedule(rise)
    for step in range(rise + 1):
        assert schedule(step) == pytest.approx(joint * (step + 1) / (rise + 1), rel=1e-12)


@given(config=configs(without_spans), total=runs, rise=st.integers(1, 9))
def test_behind_a_warm_up_it_is_the_schedule_of_a_shorter_run(config: Any, total: int, rise: int) -> None:
    warmed = build_component("scheduler", evolve(config, warmup=float(rise)), total_steps=total + rise)
    plain = build_component("scheduler", evolve(config, warmup=0.0), total_steps=total)
    assert all(warmed(rise + step) == plain(step) for step in range(total + 1))


@given(config=configs(falling | waving, warmup=shares), total=st.integers(1, 5))
def test_shares_never_fail_a_short_run(config: Any, total: int) -> None:
    assert build_component("scheduler", config, total_steps=total)(0) > 0


@pytest.mark.parametrize("kind", [*falling, *waving], ids=lambda kind: kind.__name__)
def test_a_warm_up_in_steps_that_fills_the_run_is_refused(kind: type) -> None:
    config = kind(score="s", warmup=100) if kind is Plateau else kind(warmup=100)
    with pytest.raises(ConfigError, match="warmup"):
        build_component("scheduler", config, total_steps=100)
    if kind is not MultiStep and kind is not OneCycle:
        assert build_component("scheduler", config, total_steps=101)(0) > 0


@pytest.mark.parametrize("wrong", [-0.1, 7.5, float("inf"), float("nan")])
@pytest.mark.parametrize("kind", [*falling, *waving], ids=lambda kind: kind.__name__)
def test_a_warm_up_that_is_neither_a_share_nor_whole_steps_is_refused(kind: type, wrong: float) -> None:
    table = {"warmup": wrong} | ({"score": "s"} if kind is Plateau else {})
    config, problems = structure_config(table, kind, ("scheduler",))
    assert config is None
    assert problems[0].startswith("scheduler.warmup: found ")


def test_importing_a_schedule_needs_no_torch() -> None:
    lines = "from forestgaps_schedulers import WarmupCosine, Plateau; import sys; print(*{'torch', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True).stdout.strip() == ""
