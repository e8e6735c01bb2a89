"""Down by one factor at equal distances."""

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
    """The base rate, multiplied by `factor` after every `every` steps.

    Formula: f(t) = factor^floor(t / every), with t steps since the warm-up completed.

    Source: Ge et al. 2019 (the rule and why it is near the best), arXiv:1904.12838
    """

    warmup: float = warmup_field()
    every: float = field(
        default=0.3,
        validator=and_(gt(0), validate_span),
        metadata={"help": "Length of a stair: below 1 a share of all steps (at least one step), from 1 on a number of steps."},
    )
    factor: float = field(
        default=0.1, validator=and_(gt(0), le(1)), metadata={"help": "What each stair multiplies the rate by, over 0 to 1."}
    )

    def build(self, total_steps: int) -> Scheduler:
        every = max(count_steps(self.every, total_steps), 1)
        rise = count_warmup_steps(self.warmup, total_steps)
        return Schedule(partial(staircase, every=every, factor=self.factor), rise, total_steps)
