"""Down by one factor at chosen places of the run."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from attrs import field, frozen
from attrs.validators import and_, deep_iterable, gt, le, min_len

from forestgaps_core.components import Scheduler
from forestgaps_core.errors import ConfigError
from forestgaps_schedulers.schedule import Schedule, count_warmup_steps, warmup_field
from forestgaps_schedulers.spans import count_steps, validate_span


def milestones_passed(step: int, *, milestones: Sequence[int], factor: float) -> float:
    return factor ** bisect_right(milestones, step)


def validate_milestones(instance: Any, attribute: Any, milestones: Sequence[float]) -> None:
    if any(early >= late for early, late in pairwise(milestones)):
        raise ValueError("must rise from one to the next, without repeats")
    if milestones[0] < 1 <= milestones[-1]:
        raise ValueError("must be all shares below 1, or all numbers of steps")


@frozen(kw_only=True)
class MultiStep:
    """The base rate, multiplied by `factor` at each milestone.

    Milestones are places in the run, counted from its first step whether or not it begins with a warm-up.

    Formula: f(s) = factor^n, with n milestones at or before the s steps completed.

    Source: Huang et al. 2017, section 4.2 (a tenth at 50 and 75 % of training), arXiv:1608.06993
    """

    warmup: float = warmup_field()
    milestones: tuple[float, ...] = field(
        default=(0.5, 0.75),
        validator=and_(min_len(1), deep_iterable(and_(gt(0), validate_span)), validate_milestones),
        metadata={"help": "Places in the run, ascending: all below 1, shares of all steps, or all from 1 on, numbers of steps."},
    )
    factor: float = field(
        default=0.1, validator=and_(gt(0), le(1)), metadata={"help": "What each milestone multiplies the rate by, over 0 to 1."}
    )

    def build(self, total_steps: int) -> Scheduler:
        rise = count_warmup_steps(self.warmup, total_steps)
        milestones = [count_steps(milestone, total_steps) for milestone in self.milestones]
        if milestones[0] < rise:
            raise ConfigError(f"scheduler.milestones: the first, step {milestones[0]}, lies in the warm-up of {rise} steps")
        shape = partial(milestones_passed, milestones=tuple(at - rise for at in milestones), factor=self.factor)
        return Schedule(shape, rise, total_steps)
