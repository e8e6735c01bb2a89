"""The rules for schedules: a factor for each step, whatever was asked before."""

from __future__ import annotations

import math
from typing import Any

from forestgaps_core.testing.building import build_component

TOTAL = 100


def build_schedule(config: Any, arguments: dict[str, Any]) -> Any:
    return build_component("scheduler", config, **{"total_steps": TOTAL, "steps_per_epoch": 10} | arguments)


def check_repeatable(config: Any, **arguments: Any) -> None:
    """The factor depends on the step only."""
    one, other = build_schedule(config, arguments), build_schedule(config, arguments)
    forwards = [one(step) for step in range(TOTAL + 20)]
    backwards = [other(step) for step in reversed(range(TOTAL + 20))][::-1]
    assert forwards == backwards, "the factor depends on more than the step"


def check_factors(config: Any, **arguments: Any) -> None:
    """Factors are finite floats of at least 0, also after the last step, and not all are 0."""
    schedule = build_schedule(config, arguments)
    factors = [schedule(step) for step in range(TOTAL + 20)]
    for step, factor in enumerate(factors):
        assert isinstance(factor, float) and math.isfinite(factor) and factor >= 0, f"the factor at step {step} is {factor!r}"
    assert max(factors) > 0, "the factor is 0 at every step"


def check_run_of_one_step(config: Any, **arguments: Any) -> None:
    """A run of one step has a factor."""
    schedule = build_schedule(config, arguments | {"total_steps": 1, "steps_per_epoch": 1})
    assert schedule(0) >= 0, "a run of one step has no factor"


RULES = (check_repeatable, check_factors, check_run_of_one_step)
