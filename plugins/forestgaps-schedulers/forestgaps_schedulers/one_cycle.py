"""Once up and once down, with the momentum against it."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from functools import partial
from typing import Literal

from attrs import field, frozen
from attrs.validators import and_, ge, gt, le, lt

from forestgaps_core.components import Scheduler
from forestgaps_core.errors import ConfigError
from forestgaps_schedulers.schedule import Schedule, ScheduleWithMomentum, count_warmup_steps, warmup_field
from forestgaps_schedulers.spans import count_steps, validate_span

Curve = Literal["cosine", "linear"]


def interpolate(step: int, *, joints: Sequence[int], values: Sequence[float], curve: Curve) -> float:
    """The curve through `values` at `joints`, which do not fall and start at 0; after the last, its value."""
    begins = bisect_right(joints, step) - 1
    if begins == len(joints) - 1:
        return values[-1]
    share = (step - joints[begins]) / (joints[begins + 1] - joints[begins])
    if curve == "cosine":
        share = (1 - math.cos(math.pi * share)) / 2
    return values[begins] + (values[begins + 1] - values[begins]) * share


@frozen(kw_only=True)
class OneCycle:
    """Up from `start` to the base rate, which is the largest here, and down to `floor`.

    With a `tail` the way down ends at `start`, and the tail continues from there to `floor` (three phases). The momentum (first
    beta of Adam) runs the other way: from `momentum_high` down to `momentum_low` at the peak of the rate, and up again.

    Formula: f goes through start at 0, 1 at `rise`, with a tail start at T - tail, and floor at T, the steps after the warm-up;
    between them it has gone (1 - cos(pi u)) / 2, or u, of the way, with u the share of the phase completed.

    Source: Smith & Topin 2018, arXiv:1708.07120; the momentum from Smith 2018, section 4.3, arXiv:1803.09820
    """

    warmup: float = warmup_field()
    rise: float = field(
        default=0.3,
        validator=and_(ge(0), validate_span),
        metadata={"help": "Way up to the peak: below 1 a share of all steps, from 1 on a number of steps."},
    )
    tail: float = field(
        default=0.0,
        validator=and_(ge(0), validate_span),
        metadata={"help": "Last phase, from `start` to `floor`, 0 for none: below 1 a share of all steps, from 1 on a number."},
    )
    start: float = field(
        default=0.04, validator=and_(ge(0), le(1)), metadata={"help": "Factor at the start, a share of the base rate."}
    )
    floor: float = field(
        default=0.0, validator=and_(ge(0), lt(1)), metadata={"help": "Factor at the end of the run, a share of the base rate."}
    )
    curve: Curve = field(default="cosine", metadata={"help": "Way between the turning points: half a cosine, or a straight line."})
    cycle_momentum: bool = field(default=True, metadata={"help": "Whether the momentum, or first beta, runs against the rate."})
    momentum_low: float = field(
        default=0.85, validator=and_(ge(0), lt(1)), metadata={"help": "Momentum at the peak of the rate, 0 to below 1."}
    )
    momentum_high: float = field(
        default=0.95, validator=and_(gt(0), lt(1)), metadata={"help": "Momentum at the start and the end, between 0 and 1."}
    )

    def __attrs_post_init__(self) -> None:
        if self.momentum_low > self.momentum_high:
            raise ValueError(f"momentum_low {self.momentum_low} is above momentum_high {self.momentum_high}")

    def build(self, total_steps: int) -> Scheduler:
        asked = sum(span if span >= 1 else span * total_steps for span in (self.warmup, self.rise, self.tail))
        if asked >= total_steps:
            raise ConfigError(
                f"scheduler: warmup, rise and tail take {asked:g} of the run's {total_steps} steps and leave none for the way down"
            )
        warmup = count_warmup_steps(self.warmup, total_steps)
        length = total_steps - warmup
        peak = min(count_steps(self.rise, total_steps), length - 1)  # rounding must not take the last step of the way down
        tail = min(count_steps(self.tail, total_steps), length - 1 - peak)
        last = [length - tail, length] if tail else [length]
        joints = [0, peak, *last]
        values = [self.start, 1.0, self.start, self.floor] if tail else [self.start, 1.0, self.floor]
        against = [self.momentum_high, self.momentum_low, *[self.momentum_high for _ in last]]
        rate = partial(interpolate, joints=joints, values=values, curve=self.curve)
        if not self.cycle_momentum:
            return Schedule(rate, warmup, total_steps)
        momentum = partial(interpolate, joints=joints, values=against, curve=self.curve)
        return ScheduleWithMomentum(rate, warmup, total_steps, momentum)
