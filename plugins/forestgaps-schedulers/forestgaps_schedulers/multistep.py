"""Reduce the rate by a factor at given steps."""

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


def multistep(step: int, *, milestones: Sequence[int], factor: float) -> float:
    return factor ** bisect_right(milestones, step)


def validate_milestones(instance: Any, attribute: Any, milestones: Sequence[float]) -> None:
    if any(early >= late for early, late in pairwise(milestones)):
        raise ValueError("must be strictly ascending")
    if milestones[0] < 1 <= milestones[-1]:
        raise ValueError("must be all fractions below 1, or all numbers of steps")


@frozen(kw_only=True)
class MultiStep:
    """The base rate, multiplied by `factor` at each milestone.

    Milestones are counted from the first step of the run, including the warm-up.

    Formula: f(s) = factor^n, where n milestones are at most the number s of completed steps.

    Source: Huang et al. 2017, section 4.2 (a tenth at 50 and 75 % of training), arXiv:1608.06993
    """

    warmup: float = warmup_field()
    milestones: tuple[float, ...] = field(
        default=(0.5, 0.75),
        validator=and_(min_len(1), deep_iterable(and_(gt(0), validate_span)), validate_milestones),
        metadata={"help": "Steps of the reductions, ascending: all fractions of all steps (below 1), or all numbers of steps."},
    )
    factor: float = field(
        default=0.1, validator=and_(gt(0), le(1)), metadata={"help": "Factor on the rate at each milestone, above 0, at most 1."}
    )

    def build(self, total_steps: int) -> Scheduler:
        warmup_steps = count_warmup_steps(self.warmup, total_steps)
        milestones = [count_steps(milestone, total_steps) for milestone in self.milestones]
        if milestones[0] < warmup_steps:
            raise ConfigError(
                f"scheduler.milestones: the first, step {milestones[0]}, is in the warm-up of {warmup_steps} steps. Reduce the "
                "warm-up, or increase the milestone"
            )
        shape = partial(multistep, milestones=tuple(step - warmup_steps for step in milestones), factor=self.factor)
        return Schedule(shape, warmup_steps, total_steps)
