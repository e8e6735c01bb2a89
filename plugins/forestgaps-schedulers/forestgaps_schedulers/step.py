"""Reduce the rate by a factor at equal intervals."""

from __future__ import annotations

from functools import partial

from attrs import field, frozen
from attrs.validators import and_, gt, le

from forestgaps_core.components import Scheduler
from forestgaps_schedulers.schedule import Schedule, count_warmup_steps, warmup_field
from forestgaps_schedulers.spans import count_steps, validate_span


def staircase(step: int, *, every: int, factor: float) -> float:
    return factor ** (step // every)


@frozen(kw_only=True)
class Step:
    """The base rate, multiplied by `factor` after each interval of `every` steps.

    Formula: f(t) = factor^floor(t / every), with t completed steps since the warm-up.

    Source: Ge et al. 2019 (step decay is nearly optimal), arXiv:1904.12838
    """

    warmup: float = warmup_field()
    every: float = field(
        default=0.3,
        validator=and_(gt(0), validate_span),
        metadata={"help": "Interval between reductions: a fraction of all steps if below 1, otherwise a number of steps."},
    )
    factor: float = field(
        default=0.1, validator=and_(gt(0), le(1)), metadata={"help": "Factor on the rate after each interval, above 0, at most 1."}
    )

    def build(self, total_steps: int) -> Scheduler:
        every = max(count_steps(self.every, total_steps), 1)
        warmup_steps = count_warmup_steps(self.warmup, total_steps)
        return Schedule(partial(staircase, every=every, factor=self.factor), warmup_steps, total_steps)
