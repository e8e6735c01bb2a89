"""A constant rate."""

from __future__ import annotations

from attrs import frozen

from forestgaps_core.components import Scheduler
from forestgaps_schedulers.schedule import Schedule, count_warmup_steps, warmup_field


def constant(step: int) -> float:
    return 1.0


@frozen(kw_only=True)
class Constant:
    """The base rate at every step, by definition, after an optional warm-up.

    Formula: f(t) = 1
    """

    warmup: float = warmup_field()

    def build(self, total_steps: int) -> Scheduler:
        return Schedule(constant, count_warmup_steps(self.warmup, total_steps), total_steps)
